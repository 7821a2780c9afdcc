"""--precision, --compile and --checkpoint-gradients, through the command line."""

import json
from pathlib import Path

import pytest
from made_clips import make_clip

from slotcli.checkpoint import load_model, read_tensors

DEFINITION = """
kind = "slot_model"
name = "small"
size = [16, 16]
num_slots = 3
slot_dim = 8
encoder = { backbone = { kind = "compact_cnn", channels = 8 }, predictor = { layers = 1 } }
decoder = { kind = "spatial_broadcast", channels = 4 }

[train]
steps = 4
evaluate_every = 4
batch_size = 4
learning_rate = 1e-3
decoder_learning_rate = 1e-3
clip_length = 2
"""


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    for name in ("a", "b", "c"):
        make_clip(tmp_path / "clips" / f"{name}.mp4", 4)
    (tmp_path / "model.toml").write_text(DEFINITION)
    places = ["--config", str(tmp_path / "model.toml"), "--data", str(tmp_path / "clips")]
    return ["train", *places, "--device", "cpu", "--threads", "1"]


def loss_of(folder: Path) -> float:
    return json.loads((folder / "log.jsonl").read_text().splitlines()[-1])["loss"]


def test_half_precision_and_recomputing_on_a_cpu(cli, given, tmp_path):
    for out, options in (
        ("plain", []),
        ("recomputed", ["--checkpoint-gradients"]),
        ("bf16", ["--precision", "bf16"]),
    ):
        code, _, err = cli(*given, "--out", out, *options)
        assert code == 0, err
        assert ("at bf16" in err) == (out == "bf16")
    plain, recomputed, narrow = (
        read_tensors(tmp_path / p / "weights.safetensors")[0]
        for p in ("plain", "recomputed", "bf16")
    )
    assert all(plain[name].equal(recomputed[name]) for name in plain)
    assert not all(plain[name].equal(narrow[name]) for name in plain)
    assert loss_of(tmp_path / "bf16") == pytest.approx(loss_of(tmp_path / "plain"), rel=0.01)
    assert load_model(str(tmp_path / "bf16")).step == 4
    # Resuming at another precision is said, and done.
    code, _, err = cli(*given, "--out", "bf16", "--set", "train.steps=5")
    assert code == 0, err
    assert "Resuming at fp32; so far the run was trained at bf16." in err


def test_a_dry_run_counts_what_recomputed_blocks_keep(cli, given):
    found = []
    for options in ([], ["--checkpoint-gradients", "--compile", "--precision", "bf16"]):
        code, out, err = cli("--json", *given, "--out", "run", "--dry-run", *options)
        assert code == 0, err
        found.append(json.loads(out)["activations_bytes"])
    assert 0 < found[1] < found[0]


@pytest.mark.parametrize(
    ("options", "expected", "said"),
    [
        (["--precision", "fp16"], 2, "--precision fp16"),
        (["--precision", "fp8"], 2, "fp8"),
        (["--compile", "--set", "train.accumulate=2"], 69, "no C++ compiler (no-such-compiler)"),
    ],
)
def test_what_cannot_be_computed_so_is_refused(
    cli, given, tmp_path, monkeypatch, options, expected, said
):
    monkeypatch.setenv("CXX", "no-such-compiler")
    code, _, err = cli(*given, "--out", "run", *options)
    assert code == expected
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
