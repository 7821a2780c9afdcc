"""Eight clips by heart: the loss of every system, and of both codecs, falls by half."""

from statistics import fmean

import pytest
import torch

from slotcli.build import build_codec, build_model
from slotcli.codecs.dvae import Dvae
from slotcli.data.rendered import SynthDataset
from slotcli.spec import CodecModelSpec, SlotModelSpec, SynthSpec
from slotcli.training.tasks.dvae import DvaeTask
from slotcli.training.tasks.slots import SlotTask
from slotcli.training.tasks.task import Task
from slotcli.training.tasks.vqvae import CodecTask
from slotcli.types import ClipBatch

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def eight_clips() -> SynthDataset:
    return SynthDataset(SynthSpec(mix={"A": 1.0}, clips=8, frames=2), (32, 32))


def steps_to_half(task: Task, at_most: int) -> int | None:
    """The step at which the mean of the last 8 losses is below half of the first 4's."""
    module = task.module.train()
    parameters = [p for group in task.parameter_groups() for p in group["params"]]
    adam = torch.optim.Adam(parameters, lr=3e-3)
    losses: list[float] = []
    for step in range(at_most):
        torch.manual_seed(step)
        loss, _ = task.loss(task.batch(step), step)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        losses.append(loss.item())
        if step > 12 and fmean(losses[-8:]) < fmean(losses[:4]) / 2:
            return step
    assert module.training
    return None


def test_a_slot_model_learns_eight_clips(
    system_spec: SlotModelSpec, eight_clips: SynthDataset
) -> None:
    torch.manual_seed(0)
    task = SlotTask(system_spec, build_model(system_spec), eight_clips, held_out(eight_clips), CPU)
    assert steps_to_half(task, 150) is not None


@pytest.mark.parametrize("codec", ["tiny_codec_spec", "tiny_dvae_spec"])
def test_a_codec_learns_eight_clips(
    codec: str, eight_clips: SynthDataset, request: pytest.FixtureRequest
) -> None:
    spec: CodecModelSpec = request.getfixturevalue(codec)
    torch.manual_seed(0)
    module = build_codec(spec)
    frames = held_out(eight_clips).frames[:, 0]
    task: Task = (
        DvaeTask(spec, module, eight_clips, frames, CPU)
        if isinstance(module, Dvae)
        else CodecTask(spec, module, eight_clips, frames, CPU)
    )
    assert steps_to_half(task, 150) is not None


def held_out(data: SynthDataset) -> ClipBatch:
    return ClipBatch(data.clip(0, 0, 2).frames[None])
