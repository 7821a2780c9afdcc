"""Slots and shares do not depend on chunks, on neighbours, or on how much memory there was."""

import numpy as np
import pytest
import torch

from slotcli.build import build_model
from slotcli.decomposition.clip_encoder import ClipEncoder, ClipState
from slotcli.decomposition.resets import Reset
from slotcli.definition import parse_spec
from slotcli.errors import BusyError, UsageError
from slotcli.tracks.fitting import fit_transform
from slotcli.types import FLAG_RESET, FrameChunk

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SIZE = (40, 48)


@pytest.fixture(scope="module")
def model(tiny_slot_spec):
    torch.manual_seed(0)
    return build_model(tiny_slot_spec).eval()


def clip(seed, count):
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3), np.uint8)


def chunks(frames, length):
    for start in range(0, len(frames), length):
        rows = np.arange(start, min(start + length, len(frames)))
        yield FrameChunk(
            frames=frames[rows],
            pts=rows,
            duration=np.ones(len(rows), np.int64),
            frame_index=rows,
            flags=np.zeros(len(rows), np.uint8),
        )


def new_state(reset="never"):
    return ClipState(fit_transform(SIZE, (32, 32), "squeeze"), Reset.parse(reset))


def encoded(model, frames, length, reset="never", encoder=None):
    encoder = encoder or ClipEncoder(model, CPU)
    state = new_state(reset)
    found = [encoder.encode(state, chunk) for chunk in chunks(frames, length)]
    return (
        torch.cat([one.slots for one in found]),
        torch.cat([one.attention for one in found]),
        np.concatenate([one.flags for one in found]),
    )


def assert_same_winners(left, right):
    """The same slot wins everywhere, but for two that are equal to the last bit of float16."""
    best = right.float().topk(2, dim=1).values
    level = best[:, 0] - best[:, 1] < 1e-3
    assert ((left.argmax(1) == right.argmax(1)) | level).all()


@pytest.mark.parametrize("reset", ["never", "every:5"])
@pytest.mark.parametrize("length", [1, 7, 32])
def test_chunks_change_nothing(model, reset, length):
    frames = clip(0, 33)
    slots, shares, flags = encoded(model, frames, length, reset)
    whole, all_shares, all_flags = encoded(model, frames, 33, reset)
    torch.testing.assert_close(slots, whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(shares, all_shares, atol=1e-3, rtol=0)
    assert_same_winners(shares, all_shares)
    np.testing.assert_array_equal(flags, all_flags)


def test_resets_come_when_due_and_are_flagged(model):
    frames = clip(1, 12)
    _, _, flags = encoded(model, frames, 5, "every:4")
    assert np.flatnonzero(flags & FLAG_RESET).tolist() == [4, 8]
    dark, light = np.full((20, *SIZE, 3), 30, np.uint8), np.full((20, *SIZE, 3), 220, np.uint8)
    _, _, flags = encoded(model, np.concatenate([dark, light]), 7, "scene")
    assert np.flatnonzero(flags & FLAG_RESET).tolist() == [20]


def test_behind_a_reset_stands_a_clip_begun_anew_under_the_old_numbers(model):
    frames = clip(2, 9)
    slots, shares, _ = encoded(model, frames, 9, "every:6")
    anew, anew_shares, _ = encoded(model, frames[6:], 3)
    straight, _, _ = encoded(model, frames, 9)
    torch.testing.assert_close(slots[:6], straight[:6], atol=1e-6, rtol=0)
    orders = [
        order
        for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])
        if torch.allclose(slots[6], anew[0][order], atol=1e-5)
    ]
    assert len(orders) == 1
    torch.testing.assert_close(slots[6:], anew[:, orders[0]], atol=1e-5, rtol=0)
    torch.testing.assert_close(shares[6:], anew_shares[:, orders[0]], atol=1e-3, rtol=0)


def test_clips_side_by_side_are_what_they_are_alone(model):
    clips = [clip(3, 10), clip(4, 10), clip(5, 7), clip(6, 10)]
    resets = ["never", "never", "never", "every:3"]
    encoder = ClipEncoder(model, CPU)
    states = [new_state(reset) for reset in resets]
    pieces = [list(chunks(frames, 4)) for frames in clips]
    found = [[] for _ in clips]
    for turn in range(3):
        there = [index for index in range(4) if turn < len(pieces[index])]
        for index, one in zip(
            there,
            encoder.encode_together(
                [states[index] for index in there], [pieces[index][turn] for index in there]
            ),
            strict=True,
        ):
            found[index].append(one)
    for index, frames in enumerate(clips):
        slots, shares, flags = encoded(model, frames, 4, resets[index])
        together = torch.cat([one.slots for one in found[index]])
        torch.testing.assert_close(together, slots, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            torch.cat([one.attention for one in found[index]]), shares, atol=1e-3, rtol=0
        )
        np.testing.assert_array_equal(np.concatenate([one.flags for one in found[index]]), flags)


class _Small:
    """A model on a device that has memory for so many frames."""

    def __init__(self, model, most):
        self.most, self.calls, self._model = most, [], model
        self.encoder = model.encoder

    def encode(self, frames, state):
        self.calls.append(frames.shape[0] * frames.shape[1])
        if self.calls[-1] > self.most:
            raise torch.OutOfMemoryError("too much")
        return self._model.encode(frames, state)

    def soft_masks(self, track):
        return self._model.soft_masks(track)


@pytest.mark.parametrize("most", [1, 3, 6])
def test_where_memory_runs_out_chunks_are_halved_and_nothing_else_changes(model, most, monkeypatch):
    small = _Small(model, most)
    encoder = ClipEncoder(model, CPU)
    monkeypatch.setattr(encoder, "_model", small)
    frames = clip(7, 20)
    slots, shares, _ = encoded(model, frames, 10, encoder=encoder)
    whole, all_shares, _ = encoded(model, frames, 10)
    torch.testing.assert_close(slots, whole, atol=1e-5, rtol=0)
    assert_same_winners(shares, all_shares)
    # Remembered: the second chunk does not try what failed for the first.
    assert sum(call > most for call in small.calls) <= 4
    assert small.calls[-1] <= most

    encoder = ClipEncoder(model, CPU)
    monkeypatch.setattr(encoder, "_model", _Small(model, most))
    states = [new_state(), new_state(), new_state()]
    pieces = [next(chunks(clip(seed, 4), 4)) for seed in (1, 2, 3)]
    for one, seed in zip(encoder.encode_together(states, pieces), (1, 2, 3), strict=True):
        torch.testing.assert_close(
            one.slots, encoded(model, clip(seed, 4), 4)[0], atol=1e-5, rtol=0
        )


def test_a_warm_up_is_never_cut_short(tiny_slot_spec, monkeypatch):
    values = tiny_slot_spec.model_dump(exclude_none=True)
    values["encoder"]["warm_up"] = 4
    torch.manual_seed(0)
    model = build_model(parse_spec(values, "tests")).eval()
    frames = clip(7, 20)
    whole, _, _ = encoded(model, frames, 10)
    cold, _, _ = encoded(build_like(model, tiny_slot_spec), frames, 10)
    assert (whole - cold).abs().max() > 1e-3
    for most in (5, 6):  # 10 frames fail, then 5 do not
        encoder = ClipEncoder(model, CPU)
        monkeypatch.setattr(encoder, "_model", _Small(model, most))
        slots, _, _ = encoded(model, frames, 10, encoder=encoder)
        torch.testing.assert_close(slots, whole, atol=1e-5, rtol=0)
    encoder = ClipEncoder(model, CPU)
    monkeypatch.setattr(encoder, "_model", _Small(model, 4))
    with pytest.raises(BusyError, match="5 frames"):
        encoder.encode(new_state(), next(chunks(frames, 10)))


def build_like(model, spec):
    other = build_model(spec).eval()
    other.load_state_dict(model.state_dict())
    return other


def test_memory_for_no_frame_at_all_is_said(model, monkeypatch):
    encoder = ClipEncoder(model, CPU)
    monkeypatch.setattr(encoder, "_model", _Small(model, 0))
    with pytest.raises(BusyError, match="single frame"):
        encoder.encode(new_state(), next(chunks(clip(0, 4), 4)))


@pytest.mark.parametrize(
    "text", ["", "always", "every", "every:", "every:0", "every:-3", "every:x"]
)
def test_rules_that_are_none(text):
    with pytest.raises(UsageError):
        Reset.parse(text)


@pytest.mark.parametrize("text", ["never", "scene", "every:12"])
def test_rules_are_written_as_they_are_read(text):
    assert str(Reset.parse(text)) == text
