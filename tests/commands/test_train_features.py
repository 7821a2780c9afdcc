"""train on a frozen transformer, each published objective: the losses fall, stopped runs go on."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from slotcli import faults
from slotcli.build import build_model
from slotcli.checkpoint import read_tensors
from slotcli.definition import definition_text, parse_spec, spec_json
from slotcli.spec import SlotModelSpec

pytestmark = pytest.mark.slow

Cli = Callable[..., tuple[int, str, str]]
SAMPLES = Path(__file__).parents[2] / "samples"
STEPS = 30
# The decoder, what is added to the reconstruction of features, and the terms that are logged.
OBJECTIVES: dict[str, tuple[str, dict[str, float], list[str]]] = {
    "dinosaur": ("patch_mlp", {"contrast_weight": 0.0}, ["loss"]),
    "slotcontrast": ("patch_mlp", {"contrast_weight": 0.5}, ["features", "slot_contrast"]),
    "videosaur": ("slot_mixer", {"similarity_weight": 0.1}, ["features", "similarity"]),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_thirty_steps_on_videos_lower_each_loss_and_resume_to_the_bit(
    name: str,
    cli: Cli,
    feature_specs: dict[str, SlotModelSpec],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder, weights, terms = OBJECTIVES[name]
    monkeypatch.setattr("slotcli.training.loop._LOG_EVERY", 1)
    values: dict[str, Any] = spec_json(feature_specs[decoder])
    rates = {"learning_rate": 5e-3, "decoder_learning_rate": 5e-3}
    short = {"steps": STEPS, "evaluate_every": STEPS, "clip_length": 2}
    values["train"] |= {**short, **rates, **weights}
    spec = parse_spec(values, "tests")
    (tmp_path / "model.toml").write_text(definition_text(spec))
    torch.manual_seed(5)
    backbone = build_model(feature_specs[decoder]).encoder.backbone
    save_file(backbone.state_dict(), tmp_path / "vit.safetensors")
    (tmp_path / "clips").mkdir()
    for clip in ("tier-a.mp4", "tier-c.mp4"):
        shutil.copy(SAMPLES / clip, tmp_path / "clips")

    def run(out: str, fault: str = "") -> int:
        monkeypatch.setattr(faults, "_passes", Counter())
        monkeypatch.setenv("SLOTCLI_FAULT", fault)
        given = ("--config", "model.toml", "--data", "clips", "--device", "cpu", "--threads", 1)
        backbone_file = ("--set", "train.backbone=vit.safetensors")
        return cli("train", *given, *backbone_file, "--out", out)[0]

    assert [run("whole"), run("halves", f"term@step:{STEPS // 2}")] == [0, 143]
    stopped = (tmp_path / "halves/log.jsonl").read_text().splitlines()
    assert len(stopped) < STEPS
    assert run("halves") == 0
    results = []
    for out in ("whole", "halves"):
        tensors, facts = read_tensors(tmp_path / out / "weights.safetensors")
        del facts["provenance"]["command"]
        results.append(({key: value.numpy().tobytes() for key, value in tensors.items()}, facts))
    assert results[0] == results[1]

    rows = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    for term in terms:
        losses = [row[term] for row in rows]
        assert fmean(losses[-5:]) < fmean(losses[:5]), term
    learned = dict(backbone.state_dict())
    tensors, _ = read_tensors(tmp_path / "whole/weights.safetensors")
    frozen = {key.removeprefix("encoder.backbone."): value for key, value in tensors.items()}
    assert all(torch.equal(frozen[key], value) for key, value in learned.items())
