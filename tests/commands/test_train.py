"""pretrain and train through the command line, on the generator and on a folder of videos."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from slotcli.checkpoint import load_model

pytestmark = pytest.mark.slow

SMALL = (
    "train.steps=2",
    'train.data={kind="synth", mix={A=1.0}, clips=2, frames=3}',
    "train.evaluate_every=2",
    "train.batch_size=2",
)


def sets(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def write_definition(folder: Path, model: Path, **train: object) -> Path:
    """The definition of a model file as TOML."""
    spec = load_model(str(model)).spec
    values = json.loads(spec.model_dump_json(exclude_none=True))
    values["train"] |= train

    def toml(value: object) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
        return json.dumps(value)

    path = folder / "model.toml"
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in values.items()))
    return path


def test_pretrain_then_train_then_go_on(cli, tmp_path: Path, tiny_codec: Path, tiny_model: Path):
    codec_toml = write_definition(tmp_path, tiny_codec)
    arguments = ("--config", codec_toml, "--out", tmp_path / "codec", "--threads", 1)
    code, _, err = cli("pretrain", *arguments, *sets(*SMALL))
    assert code == 0, err
    run = tmp_path / "run"
    model_toml = write_definition(tmp_path, tiny_model, codec=str(tmp_path / "codec"))
    arguments = ("--config", model_toml, "--out", run, "--threads", 1)
    code, out, err = cli("--json", "train", *arguments, *sets(*SMALL))
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[-1]["step"] == 2
    assert {"loss", "steps_per_second", "slot_information"} <= rows[-1].keys()
    assert (run / "log.csv").read_text().count("\n") == 2  # a header and one row
    code, _, err = cli("train", *arguments, *sets(*SMALL, "train.steps=4"))
    assert code == 0, err
    assert load_model(str(run)).step == 4
    code, _, err = cli("train", *arguments, *sets(*SMALL, "train.steps=5"), "--resume", "never")
    assert code == 73
    started = tmp_path / "from"
    arguments = ("--config", model_toml, "--out", started, "--threads", 1, "--init", run)
    code, _, err = cli("train", *arguments, *sets(*SMALL, "train.freeze_encoder=true"))
    assert code == 0, err
    old, new = (load_model(str(path)).module.state_dict() for path in (run, started))
    same = [torch.equal(old[name], new[name]) for name in old if name.startswith("encoder")]
    assert all(same)


def test_train_on_a_folder_leaves_out_what_cannot_be_read(
    cli, tmp_path: Path, tiny_codec: Path, tiny_model: Path
):
    code, _, err = cli(
        "data", "synth", tmp_path / "made", "--clips", 2, "--frames", 4, "--size", 32
    )
    assert code == 0, err
    videos = tmp_path / "made" / "videos"
    (videos / "broken.mp4").write_text("not a video")
    model_toml = write_definition(tmp_path, tiny_model, codec=str(tiny_codec))
    code, _, err = cli(
        *("train", "--config", model_toml, "--out", tmp_path / "run", "--data", videos),
        *sets("train.steps=1", "train.evaluate_every=1", "train.batch_size=2"),
    )
    assert code == 0, err
    assert "broken.mp4" in err
    assert (tmp_path / "run" / "weights.safetensors").is_file()


def test_a_codec_that_is_missing_or_another_is_an_error(
    cli, tmp_path: Path, tiny_codec: Path, tiny_model: Path
):
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(write_definition(tmp_path, tiny_codec), empty / "model.toml")
    for codec, expected in ((empty, 69), (tmp_path / "nowhere", 66), (tiny_model, 65)):
        model_toml = write_definition(tmp_path, tiny_model, codec=str(codec))
        code, _, err = cli(
            "train", "--config", model_toml, "--out", tmp_path / "run", *sets(*SMALL)
        )
        assert code == expected, err
        assert "Traceback" not in err
        assert not (tmp_path / "run").exists()


def test_a_wrong_key_is_named(cli, tmp_path: Path):
    code, _, err = cli("train", "--config", "tiny-64", "--out", "run", "--set", "train.stepz=3")
    assert code == 78
    assert "train.stepz" in err
    code, _, err = cli("train", "--config", "vqvae-tiny-64", "--out", "run")
    assert code == 78
    assert "pretrain" in err
