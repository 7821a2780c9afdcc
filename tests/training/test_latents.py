"""Latents that are kept: to the bit those that would be made anew, and bounded."""

import pytest
import torch
from torch import Tensor

from slotcli.build import build_model
from slotcli.data.rendered import SynthDataset
from slotcli.spec import SlotModelSpec, SynthSpec
from slotcli.training.tasks.latents import FrameKey, LatentCache
from slotcli.training.tasks.slots import SlotTask
from slotcli.types import ClipBatch

pytestmark = pytest.mark.slow


class Doubling:
    """An encoder that counts the frames it sees."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, frames: Tensor) -> Tensor:
        self.seen += len(frames)
        return 2 * frames[:, 0]


def test_each_frame_is_encoded_once_and_never_mistaken_for_another() -> None:
    encode = Doubling()
    latents = LatentCache(encode)
    every = [FrameKey(c, f, m) for c in range(2) for f in range(2) for m in (False, True)]
    frames = {place: torch.randn(3, 4, 4) for place in every}
    for places in (every[:3], every[1:6], every[::-1], [every[0], every[7], every[0]]):
        found = latents.of(places, torch.stack([frames[place] for place in places]))
        assert found.equal(torch.stack([2 * frames[place][0] for place in places]))
    assert encode.seen == len(every)
    assert latents.bytes == len(every) * 16 * 4


def test_beyond_the_bound_nothing_more_is_kept() -> None:
    encode = Doubling()
    latents = LatentCache(encode, bound=2 * 64)
    places = [FrameKey(0, frame, False) for frame in range(3)]
    frames = torch.randn(3, 3, 4, 4)
    for _ in range(4):
        assert latents.of(places, frames).equal(2 * frames[:, 0])
    assert latents.bytes == 2 * 64
    assert encode.seen == 3 + 3 * 1


def test_losses_and_gradients_are_the_same_to_the_bit(
    tiny_slot_spec: SlotModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = SynthDataset(SynthSpec(mix={"A": 1.0}, clips=4, frames=4), (32, 32))
    held_out = ClipBatch(torch.zeros(2, 2, 3, 32, 32, dtype=torch.uint8))
    found = dict[bool, list[Tensor]]()
    encoded = dict[bool, int]()
    for kept in (True, False):
        train = tiny_slot_spec.train.model_copy(
            update={"cache_latents": kept, "steps": 12, "clip_stride": 2}
        )
        spec = tiny_slot_spec.model_copy(update={"train": train})
        torch.manual_seed(0)
        model = build_model(spec)
        encoded[kept] = 0

        def count(module: object, given: object, own: bool = kept) -> None:
            encoded[own] += 1

        model.decoder.codec.encoder.register_forward_pre_hook(count)
        task = SlotTask(spec, model, clips, held_out, torch.device("cpu"))
        found[kept] = []
        with task.batches:
            for step in range(12):
                torch.manual_seed(step)
                loss, _ = task.loss(task.batch(step), step)
                loss.backward()
                found[kept].append(loss.detach())
        found[kept] += [p.grad for p in task.module.parameters() if p.grad is not None]
    assert all(a.equal(b) for a, b in zip(found[True], found[False], strict=True))
    assert encoded[True] < encoded[False]
