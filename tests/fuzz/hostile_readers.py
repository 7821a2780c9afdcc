"""Reads one hostile file and holds what comes of it to what slotcli promises."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from hostile_inputs import CHECKPOINTS, DEFINITIONS, VIDEOS, codec_spec

from slotcli.build import count_parameters
from slotcli.checkpoint import load_model
from slotcli.definition import load_definition, parse_spec, spec_json
from slotcli.errors import SlotcliError
from slotcli.published import import_published, published_names
from slotcli.tracks.slot_file import DTYPES, OPTIONAL, UNEDITED, read_slot_file
from slotcli.video.reader import open_clip

MAX_PIXELS = 512 * 512  # of a frame: what a mutant may declare and then be given memory for
KNOWN_FLAGS = 1 | 2 | 4


def read(name: str, path: Path, sound: Path) -> str:
    """Reads a mutant: "read" where it gave a valid result, else the exit code it was refused with.

    Raises whatever is no SlotcliError, and AssertionError where a result is not valid.
    """
    try:
        READERS[name](path, sound)
        return "read"
    except SlotcliError as error:
        refusal = error
    assert refusal.exit_code == (78 if name in DEFINITIONS else 65), refusal.exit_code
    assert refusal.what.endswith("."), refusal.what
    assert refusal.advice.endswith("."), refusal.advice
    # An override is repeated as it was typed; of a file only a little is.
    assert len(refusal.what) < 2000 or name == "override", len(refusal.what)
    return f"refused with {refusal.exit_code}"


def clip(path: Path, sound: Path) -> None:
    with open_clip(path, max_pixels=MAX_PIXELS) as reader:
        info, damage = reader.info, reader.damage
        count, last = 0, -math.inf
        for chunk in reader.chunks(3):
            assert 1 <= len(chunk) <= 3
            assert chunk.frames.shape[1:] == (*info.size, 3)
            assert chunk.frames.dtype == np.uint8
            assert last < chunk.pts[0]
            assert (np.diff(chunk.pts) > 0).all()
            assert (chunk.duration > 0).all()
            np.testing.assert_array_equal(chunk.frame_index, np.arange(count, count + len(chunk)))
            assert not (chunk.flags & ~np.uint8(KNOWN_FLAGS)).any()
            count, last = count + len(chunk), int(chunk.pts[-1])
    assert count == damage.decoded > 0
    assert 0 <= damage.corrupt_frames <= count
    assert 0 <= damage.format_changes <= count
    assert 0 <= damage.timing_repaired <= count
    assert damage.packet_errors >= 0
    assert damage.coverage is None or 0 <= damage.coverage <= 1
    assert len(damage.notes) <= 20
    assert max(map(len, damage.notes), default=0) < 1000
    assert 0 < info.size[0] * info.size[1] <= MAX_PIXELS
    assert min(info.time_base, info.sample_aspect) > 0
    assert info.average_rate is None or info.average_rate > 0
    assert info.declared_seconds is None or 0 < info.declared_seconds < math.inf
    assert info.name.isprintable()


def slots(path: Path, sound: Path) -> None:
    found = read_slot_file(path)
    frames, num_slots, _ = found.slots.shape
    for name in DTYPES:
        array = getattr(found, name)
        if array is None:
            assert name in (OPTIONAL, UNEDITED)
            continue
        assert len(array) == frames > 0
        assert np.isfinite(array).all()
    assert found.attention.shape[1] == num_slots > 0
    assert min(found.transform.crop_size) > 0
    assert (np.diff(found.pts) > 0).all()
    assert (found.duration > 0).all()


def same_slots(path: Path, sound: Path) -> None:
    """What is damaged by chance is refused, or what it was."""
    found, original = read_slot_file(path), read_slot_file(sound)
    assert found.metadata == original.metadata
    for name in DTYPES:
        np.testing.assert_array_equal(getattr(found, name), getattr(original, name))


def weights(path: Path, sound: Path) -> None:
    loaded = load_model(str(path))
    assert not loaded.module.training
    for tensor in loaded.module.state_dict().values():
        assert torch.isfinite(tensor).all()
    assert parse_spec(spec_json(loaded.spec), "again") == loaded.spec


def same_weights(path: Path, sound: Path) -> None:
    """What is damaged by chance is refused, or what it was."""
    found, original = load_model(str(path)), load_model(str(sound))
    assert (found.spec, found.step) == (original.spec, original.step)
    tensors = found.module.state_dict()
    for name, tensor in original.module.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


def published(path: Path, sound: Path) -> None:
    spec = codec_spec()
    tensors, report = import_published(path, spec)
    assert tensors.keys() == published_names(spec).keys()
    assert report.mapped == len(tensors)
    for tensor in tensors.values():
        assert tensor.dtype == torch.float32
        assert torch.isfinite(tensor).all()


def definition(path: Path, sound: Path) -> None:
    _check_definition(path, ())


def overrides(path: Path, sound: Path) -> None:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    given = tuple(line for line in text.split("\n") if line)
    _check_definition(sound.parent.parent / "definition/0.toml", given)


def _check_definition(path: Path, given: tuple[str, ...]) -> None:
    spec = load_definition(path, given)
    assert parse_spec(spec_json(spec), "again") == spec
    assert count_parameters(spec) > 0


READERS: dict[str, Callable[[Path, Path], None]] = {
    **dict.fromkeys([*VIDEOS, "images"], clip),
    **dict.fromkeys(CHECKPOINTS, published),
    "slot file": same_slots,
    "forged slot file": slots,
    "weights": same_weights,
    "forged weights": weights,
    "definition": definition,
    "override": overrides,
}
