"""Training at fp16: gradients are scaled; that they overflow is no failure, and resumes are exact.

On a CPU, where the scaler does what it does on a GPU; the networks compute in float32.
"""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from slotcli.build import build_codec
from slotcli.checkpoint import read_tensors
from slotcli.codecs.vqvae import Vqvae
from slotcli.compute.precision import TrainPrecision
from slotcli.data.rendered import SynthDataset
from slotcli.spec import CodecModelSpec, SynthSpec
from slotcli.training.log import read_log
from slotcli.training.loop import train
from slotcli.training.optimiser import Average
from slotcli.training.parallel.peers import ALONE, WHOLE, Part
from slotcli.training.state import RunState
from slotcli.training.tasks.vqvae import CodecTask
from slotcli.training.update import update

pytestmark = pytest.mark.slow


class OverflowingTask(CodecTask):
    """Of a finite loss the gradient is not finite, at some steps."""

    at: tuple[int, ...] = ()

    def loss(self, batch: Tensor, step: int, part: Part = WHOLE) -> tuple[Tensor, dict[str, float]]:
        loss, figures = super().loss(batch, step, part)
        if step in self.at:
            loss.register_hook(lambda gradient: gradient * math.inf)
        return loss, figures


@pytest.fixture
def task(tiny_codec_spec: CodecModelSpec) -> OverflowingTask:
    torch.manual_seed(0)
    clips = SynthDataset(SynthSpec(mix={"A": 1.0}, clips=4, frames=3), (32, 32))
    codec = build_codec(tiny_codec_spec)
    assert isinstance(codec, Vqvae)
    frames = torch.stack([clips.clip(index, 0, 3).frames[0] for index in range(2)])
    return OverflowingTask(tiny_codec_spec, codec, clips, frames, torch.device("cpu"))


def run(
    task: OverflowingTask, spec: CodecModelSpec, out: Path, precision: TrainPrecision = "fp16"
) -> list[str]:
    """Trains from the same weights, or on from the last state; returns what was noticed."""
    torch.manual_seed(0)
    codec = build_codec(spec)
    task.module.load_state_dict(codec.state_dict())
    task.memory["used"].zero_()
    said: list[str] = []
    train(
        spec,
        task,
        out,
        resume=True,
        command=["tests"],
        progress=lambda step, steps, row: None,
        notice=said.append,
        precision=precision,
    )
    return said


def test_a_scale_leaves_no_trace_in_the_weights(
    task: OverflowingTask, tiny_codec_spec: CodecModelSpec, tmp_path: Path
) -> None:
    run(task, tiny_codec_spec, tmp_path / "fp16")
    run(task, tiny_codec_spec, tmp_path / "fp32", "fp32")
    one, other = (read_tensors(tmp_path / p / "weights.safetensors")[0] for p in ("fp16", "fp32"))
    assert all(one[name].equal(other[name]) for name in one)
    assert read_log(tmp_path / "fp16")[-1]["loss_scale"] == 2**16
    assert "loss_scale" not in read_log(tmp_path / "fp32")[-1]


def test_an_overflow_halves_the_scale_and_a_resumed_run_knows_it(
    task: OverflowingTask, tiny_codec_spec: CodecModelSpec, tmp_path: Path
) -> None:
    task.at = (1, 2)
    assert run(task, tiny_codec_spec, tmp_path) == []  # nothing went wrong
    rows = read_log(tmp_path)
    assert [row["loss_scale"] for row in rows] == [2**15, 2**14]
    assert [row["skipped"] for row in rows] == [0, 0]
    last = tmp_path / "state" / "step-00000004"
    undisturbed = {path.name: path.read_bytes() for path in last.iterdir()}
    (last / "COMPLETE").unlink()
    task.at = (2,)
    assert run(task, tiny_codec_spec, tmp_path) == []
    assert {path.name: path.read_bytes() for path in last.iterdir()} == undisturbed


def test_a_gradient_that_overflows_at_any_scale_is_a_failure(
    task: OverflowingTask, tiny_codec_spec: CodecModelSpec
) -> None:
    adam = torch.optim.Adam(task.parameter_groups(), lr=1e-3)
    scaler = GradScaler("cpu", init_scale=4.0)
    state = RunState(task.module, Average(task.module, 0.0), adam, task.memory, scaler)
    task.at = (0, 1, 2)
    before = {name: tensor.clone() for name, tensor in task.module.state_dict().items()}
    with task.batches:
        sound = [update(state, task, [WHOLE], ALONE, 0, 1.0) for _ in range(4)]
        assert sound == [True, True, False, True]
    assert (state.skipped, state.skipped_in_a_row, state.counted) == (1, 0, 1)
    after = task.module.state_dict()
    assert any(not after[name].equal(before[name]) for name in before)


def test_going_on_at_another_precision_is_said(
    task: OverflowingTask, tiny_codec_spec: CodecModelSpec, tmp_path: Path
) -> None:
    run(task, tiny_codec_spec, tmp_path)
    (tmp_path / "state" / "step-00000004" / "COMPLETE").unlink()
    (said,) = run(task, tiny_codec_spec, tmp_path, "bf16")
    assert "bf16" in said
    assert "fp16" in said
    (tmp_path / "state" / "step-00000004" / "COMPLETE").unlink()
    assert run(task, tiny_codec_spec, tmp_path, "bf16") == []
