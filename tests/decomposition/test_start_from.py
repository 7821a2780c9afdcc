"""A clip's slots start from a corrected frame, whose masks are the corrected ones."""

import json
from contextlib import ExitStack
from fractions import Fraction

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from slotcli.build import build_model
from slotcli.decomposition.clip_encoder import ClipEncoder, ClipState, Start, model_input
from slotcli.decomposition.correction import Correction, permitted_slots, read_correction
from slotcli.decomposition.resets import Reset
from slotcli.encoder import slot_attention
from slotcli.errors import DataError, NoInputError, UsageError
from slotcli.kernels import slot_read
from slotcli.kernels.reference import READ_EPS
from slotcli.tracks.fitting import fit_transform
from slotcli.tracks.formats.all_formats import PLACES, open_mask_writers
from slotcli.tracks.formats.masked_clip import MaskedClip
from slotcli.types import FLAG_RESET, FrameChunk

SIZE = (40, 48)
TRANSFORM = fit_transform(SIZE, (32, 32), "squeeze")
FRAMES = np.random.default_rng(0).integers(0, 256, (10, *SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def model(tiny_slot_spec):
    torch.manual_seed(0)
    return build_model(tiny_slot_spec).eval()


def labels() -> np.ndarray:
    """Object 3 at the left, 1 at the right, unknown below, background between."""
    drawn = np.zeros(SIZE, np.uint8)
    drawn[:, :12], drawn[:, 36:], drawn[36:] = 3, 1, 255
    return drawn


def grid_of(model) -> tuple[int, int]:
    return model.encoder.grid_size


def chunk_of(rows: np.ndarray) -> FrameChunk:
    return FrameChunk(FRAMES[rows], rows, rows * 0 + 1, rows, np.zeros(len(rows), np.uint8))


def encoded(model, length: int, frame: int, replayed: int = 0):
    permitted = permitted_slots(Correction(labels(), frame), TRANSFORM, grid_of(model), 3, None)
    start = Start(model_input(TRANSFORM, chunk_of(np.arange(frame + 1))), permitted)
    state, encoder = ClipState(TRANSFORM, Reset(), start), ClipEncoder(model, torch.device("cpu"))
    found = []
    for first in range(0, len(FRAMES), length):
        rows = np.arange(first, min(first + length, len(FRAMES)))
        chunk = chunk_of(rows)
        if first < replayed:  # as the journal of a stopped run does
            state.resets(chunk)
            state.resume_from(np.asarray(encoded(model, length, frame)[0])[: rows[-1] + 1])
        else:
            found.append(encoder.encode(state, chunk))
    flags = np.concatenate([one.flags for one in found])
    return torch.cat([one.slots for one in found]), torch.cat([o.attention for o in found]), flags


@pytest.mark.parametrize("frame", [0, 4])
def test_chunks_change_nothing_and_masks_are_the_corrected_ones(model, frame) -> None:
    slots, attention, flags = encoded(model, 11, frame)
    assert np.flatnonzero(flags & FLAG_RESET).tolist() == [frame]
    others = encoded(model, 3, frame)
    torch.testing.assert_close(others[0], slots, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(others[2], flags)
    rows, columns = attention.shape[2:]
    inner = attention[frame, :, : rows * 3 // 4]
    assert (inner[2, :, : columns // 4] == 1).all()
    assert (inner[0, :, columns * 3 // 4 :] == 1).all()
    assert (inner[1, :, columns // 4 + 1 : columns * 3 // 4 - 1] == 1).all()


def test_frames_before_are_the_clip_backwards_and_later_ones_follow(model) -> None:
    slots, _, _ = encoded(model, 11, 4)
    small = model_input(TRANSFORM, chunk_of(np.arange(len(FRAMES))))
    before = model.encode(small[:4].flip(0)[None], slots[None, 4]).slots[0].flip(0)
    torch.testing.assert_close(slots[:4], before, atol=1e-5, rtol=0)
    after = model.encode(small[None, 5:], slots[None, 4]).slots[0]
    torch.testing.assert_close(slots[5:], after, atol=1e-5, rtol=0)


@pytest.mark.parametrize("replayed", [9])
def test_a_stopped_run_resumes_to_the_same_slots(model, replayed) -> None:
    whole, _, _ = encoded(model, 3, 4)
    rest, _, _ = encoded(model, 3, 4, replayed)
    torch.testing.assert_close(rest, whole[-len(rest) :], atol=1e-5, rtol=0)


def test_all_permitted_is_the_usual_read() -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Float[Tensor, "..."]:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    features, queries, bias = drawn(2, 9, 6), drawn(2, 4, 6), drawn(2, 4)
    mean, rstd = features.mean(-1), 1 / (features.var(-1, correction=0) + 1e-5).sqrt()
    usual = slot_read(features, mean, rstd, queries, bias, with_attention=True)
    everything = torch.full((2, 4, 9), 0.7, dtype=torch.float64)
    ours = slot_attention._permitted_read(
        features, (mean, rstd), queries, bias, everything, READ_EPS
    )
    for one, other in zip(usual, ours, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["png", "npz", "coco", "ffv1"])
def test_formats_that_slotcli_writes_are_read(tmp_path, name) -> None:
    drawn = [np.where(labels() == 255, 0, labels()).astype(np.uint8) for _ in range(3)]
    drawn[1][5, 5] = 2
    with ExitStack() as files:
        clip = MaskedClip("clip", SIZE, Fraction(1, 25))
        (writer,) = open_mask_writers([name], tmp_path, clip, files)
        for index, frame in enumerate(drawn):
            writer.write(frame, index, 1)
    found = read_correction(f"{tmp_path / PLACES[name]}@1")
    assert found.frame == 1
    np.testing.assert_array_equal(found.labels, drawn[1])
    with pytest.raises((UsageError, NoInputError)):
        read_correction(f"{tmp_path / PLACES[name]}@3")
    if name == "png":
        assert read_correction(str(tmp_path / "masks/00002.png")).frame == 2


def test_wrong_corrections(tmp_path, model) -> None:
    (tmp_path / "x.npz").write_bytes(b"no archive")
    (tmp_path / "x.json").write_text(json.dumps({"images": [{"frame": 1}]}))
    (tmp_path / "x.png").write_text("no image")
    for text in ("x.npz@1", "x.json@1", "x.png@1"):
        with pytest.raises(DataError):
            read_correction(str(tmp_path / text))
    with pytest.raises(NoInputError):
        read_correction(str(tmp_path / "absent.png@1"))
    for text in ("x.npz", "x.png", "x@y"):
        with pytest.raises(UsageError):
            read_correction(str(tmp_path / text))
    for wrong, background in ((labels()[1:], None), (labels() + 7, None), (labels(), 0)):
        with pytest.raises(DataError):
            permitted_slots(Correction(wrong, 1), TRANSFORM, (8, 8), 3, background)
