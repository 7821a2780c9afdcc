"""Training by masks: with every decoder and with none, the ImageNet weights frozen or not."""

from typing import Any

import pytest
import torch

from slotcli.build import build_model
from slotcli.data.rendered import SynthDataset
from slotcli.definition import parse_spec, spec_json
from slotcli.errors import ConfigError
from slotcli.spec import SlotModelSpec, SynthSpec
from slotcli.training.tasks.slots import SlotTask
from slotcli.types import ClipBatch

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clips() -> SynthDataset:
    return SynthDataset(SynthSpec(mix={"A": 1.0}, clips=2, frames=3), (32, 32))


def supervised(spec: SlotModelSpec, **train: Any) -> SlotModelSpec:
    values = spec_json(spec)
    values["train"] |= {"mask_weight": 1.0, **train}
    made = parse_spec(values, "tests")
    assert isinstance(made, SlotModelSpec)
    return made


def masks_only(spec: SlotModelSpec, backbone: dict[str, Any] | None = None) -> SlotModelSpec:
    values = spec_json(spec)
    values["decoder"] = {"kind": "none"}
    values["encoder"]["slot_bias"] = True
    if backbone is not None:
        values["encoder"]["backbone"] = backbone
    values["train"] |= {"mask_weight": 1.0, "codec": None}
    made = parse_spec(values, "tests")
    assert isinstance(made, SlotModelSpec)
    return made


def task_of(spec: SlotModelSpec, clips: SynthDataset) -> SlotTask:
    torch.manual_seed(0)
    frames = torch.stack([clips.clip(index, 0, 2).frames for index in range(2)])
    return SlotTask(spec, build_model(spec), clips, ClipBatch(frames), CPU)


def test_every_system_can_be_supervised(system_spec: SlotModelSpec, clips: SynthDataset) -> None:
    task = task_of(supervised(system_spec), clips)
    with task.batches:
        loss, figures = task.loss(task.batch(0), 0)
    assert figures["denoising"] + figures["mask"] == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    assert task.module.encoder.initial_slots.grad is not None


def test_masks_alone_are_learnt(tiny_slot_spec: SlotModelSpec, clips: SynthDataset) -> None:
    task = task_of(masks_only(tiny_slot_spec), clips)
    groups = task.parameter_groups()
    optimiser = torch.optim.Adam([weight for group in groups for weight in group["params"]], 3e-3)
    losses = []
    with task.batches:
        for _ in range(25):
            loss, _ = task.loss(task.batch(0), 0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]
    bias = task.module.encoder.slot_bias
    assert bias is not None
    assert bias.grad is not None
    assert bias.grad.abs().sum() > 0


@pytest.mark.parametrize("rate", [0.0, 1e-5])
def test_the_trunk_learns_at_its_own_rate_or_not_at_all(
    tiny_slot_spec: SlotModelSpec, clips: SynthDataset, rate: float
) -> None:
    spec = masks_only(tiny_slot_spec, {"kind": "efficientnet_lite0", "channels": 16})
    train = spec.train.model_copy(update={"trunk_learning_rate": rate})
    task = task_of(spec.model_copy(update={"train": train}), clips)
    trunk = {id(weight) for weight in task.module.encoder.backbone.trunk.parameters()}
    groups = {
        group["peak"]: [id(weight) in trunk for weight in group["params"]]
        for group in task.parameter_groups()
    }
    assert not any(groups[spec.train.learning_rate])
    assert list(groups) == [spec.train.learning_rate, *([rate] if rate else [])]
    assert not rate or all(groups[rate])


def test_a_model_that_learns_nothing_is_refused(tiny_slot_spec: SlotModelSpec) -> None:
    values = spec_json(masks_only(tiny_slot_spec))
    values["train"]["mask_weight"] = 0
    with pytest.raises(ConfigError, match="nothing is learnt"):
        parse_spec(values, "tests")
