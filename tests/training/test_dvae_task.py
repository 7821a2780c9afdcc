"""A dVAE learns, hardens on schedule, and goes on as if it had never been stopped."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from slotcli.build import build_codec
from slotcli.checkpoint import WEIGHTS, load_model
from slotcli.codecs.dvae import Dvae
from slotcli.data.rendered import SynthDataset
from slotcli.spec import CodecModelSpec, SynthSpec
from slotcli.training.loop import train
from slotcli.training.tasks.dvae import DvaeTask, temperature
from slotcli.types import Clip

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clips() -> SynthDataset:
    return SynthDataset(SynthSpec(mix={"A": 1.0}, clips=4, frames=3), (32, 32))


def run(spec: CodecModelSpec, clips: SynthDataset, out: Path, *, resume: bool = False) -> None:
    torch.manual_seed(spec.train.seed)
    codec = build_codec(spec)
    assert isinstance(codec, Dvae)
    held_out = torch.cat([clips.clip(index, 0, 1).frames for index in range(4)])
    task = DvaeTask(spec, codec, clips, held_out, CPU)

    def progress(step: int, steps: int, row: dict[str, Any]) -> None:
        assert set(task.figures) <= row.keys()

    train(spec, task, out, resume=resume, command=["tests"], progress=progress)


def test_the_temperature_falls_over_the_first_part_of_training() -> None:
    assert temperature(0, 1000) == 1.0
    assert temperature(75, 1000) == pytest.approx(0.55)
    assert temperature(150, 1000) == pytest.approx(0.1)
    assert temperature(999, 1000) == pytest.approx(0.1)
    falling = [temperature(step, 1000) for step in range(151)]
    assert falling == sorted(falling, reverse=True)


def random_blocks(index: int, start: int, length: int, stride: int = 1) -> Clip:
    """4x4 blocks, red or cyan: without tokens, nothing but their mean could be drawn."""
    generator = torch.Generator().manual_seed(10 * index + start)
    colours = torch.tensor([[230, 30, 30], [30, 200, 230]], dtype=torch.uint8)
    blocks = colours[torch.randint(2, (6, 6), generator=generator)].permute(2, 0, 1)
    return Clip(blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)[None])


def test_a_dvae_learns_to_draw_from_single_tokens(
    clips: SynthDataset,
    tiny_dvae_spec: CodecModelSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clips, "clip", random_blocks)
    options = {"steps": 150, "batch_size": 4, "learning_rate": 2e-2, "evaluate_every": 10}
    training = tiny_dvae_spec.train.model_copy(update=options)
    codec = tiny_dvae_spec.codec.model_copy(update={"channels": 32})
    spec = tiny_dvae_spec.model_copy(update={"train": training, "codec": codec})
    run(spec, clips, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    first = rows[0]
    last = next(row for row in rows if row["step"] == 150)
    # The mean colour alone comes to 10.5 dB.
    assert first["psnr"] < 11
    assert last["psnr"] > 20
    assert last["loss"] < first["loss"] / 10
    assert first["temperature"] > 0.5
    assert last["temperature"] == pytest.approx(0.1)
    assert 2 <= last["codes_used"] <= 16


def test_a_resumed_run_is_the_undisturbed_one(
    clips: SynthDataset, tiny_dvae_spec: CodecModelSpec, tmp_path: Path
) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for out in (whole, halves):
        run(tiny_dvae_spec, clips, out)
    (halves / "state" / "step-00000004" / "COMPLETE").unlink()
    (halves / WEIGHTS).unlink()
    run(tiny_dvae_spec, clips, halves, resume=True)
    assert (halves / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert isinstance(load_model(str(halves)).module, Dvae)
