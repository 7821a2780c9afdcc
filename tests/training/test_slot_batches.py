"""Batches of a slot model: windows with their labels, at one of several sizes, in any process."""

import pytest
import torch

from slotcli.data.batches import Batches
from slotcli.data.dataset import Dataset
from slotcli.data.rendered import SynthDataset
from slotcli.definition import parse_spec, spec_json
from slotcli.errors import ConfigError
from slotcli.spec import SlotModelSpec, SynthSpec
from slotcli.training.parallel.peers import WHOLE, Part
from slotcli.training.tasks.slot_batches import SlotBatches, open_batches
from slotcli.types import Clip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spec(tiny_slot_spec: SlotModelSpec) -> SlotModelSpec:
    """Masks alone, from scenes at two sizes."""
    values = spec_json(tiny_slot_spec)
    values["decoder"] = {"kind": "none"}
    values["train"] |= {"codec": None, "mask_weight": 1.0, "sizes": [[32, 32], [32, 48]]}
    values["train"]["data"] |= {"clips": 2}
    made = parse_spec(values, "tests")
    assert isinstance(made, SlotModelSpec)
    return made


@pytest.fixture(scope="module")
def batches(spec: SlotModelSpec) -> SlotBatches:
    return open_batches(spec)


def test_each_size_comes_up_and_labels_fit_frames(batches: SlotBatches) -> None:
    shapes = set()
    for step in range(12):
        batch = batches(step, WHOLE)
        assert batch.labels is not None
        assert batch.labels.shape == (2, 2, *batch.frames.shape[-2:])
        shapes.add(tuple(batch.frames.shape[-2:]))
    assert shapes == {(32, 32), (32, 48)}


def test_labels_are_mirrored_with_their_frames(spec: SlotModelSpec) -> None:
    class Halves(Dataset):
        labelled = True

        def __len__(self) -> int:
            return 1

        def name(self, index: int) -> str:
            return "halves"

        def frames(self, index: int) -> int:
            return 2

        def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
            labels = torch.zeros(length, 4, 4, dtype=torch.uint8)
            labels[..., 2:] = 1
            return Clip(labels[:, None].expand(-1, 3, -1, -1) * 200, labels)

    made = SlotBatches(spec.train, [Halves()])
    sides = set()
    for step in range(12):
        batch = made(step, WHOLE)
        assert batch.labels is not None
        assert torch.equal(batch.frames[:, :, 0] // 200, batch.labels)
        sides.update(batch.labels[:, 0, 0, 0].tolist())
    assert sides == {0, 1}


def test_parts_are_the_rows_of_the_whole(batches: SlotBatches) -> None:
    whole, parts = batches(3, WHOLE), [batches(3, Part(index, 2)) for index in range(2)]
    assert torch.equal(whole.frames, torch.cat([part.frames for part in parts]))


def test_data_without_masks_is_refused(spec: SlotModelSpec) -> None:
    data = SynthDataset(SynthSpec(clips=2, frames=3), (32, 32))
    data.labelled = False
    with pytest.raises(ConfigError, match="mask_weight"):
        SlotBatches(spec.train, [data])


def test_processes_make_the_batches_of_a_thread(spec: SlotModelSpec, batches: SlotBatches) -> None:
    from functools import partial

    opening = partial(open_batches, spec)
    with Batches.of_processes(opening, steps=3, workers=1) as elsewhere:
        for step in range(3):
            found, wanted = elsewhere.of(step, WHOLE), batches(step, WHOLE)
            assert found.windows == wanted.windows
            assert torch.equal(found.frames, wanted.frames)
            assert wanted.labels is not None
            assert found.labels is not None
            assert torch.equal(found.labels, wanted.labels)
