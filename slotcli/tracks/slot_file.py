"""The canonical result: slots, attention, timing and provenance of a clip in one safetensors file.

Schema `slotcli.slots/1`, or `/1.1` of a model whose decoder also reads appearance, or `/1.2` of an
edit, which also has the attention before it, and its history in the metadata. The file is
byte-identical for identical content: the tensors are in safetensors' own order, and all metadata
is ONE key of sorted JSON (the library writes several keys in a random order). A sha256 per tensor
and one of the metadata detect flipped bits, which safetensors itself loads silently.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from jaxtyping import Float, Float16, Float32, Int64, UInt8
from safetensors import SafetensorError, safe_open

from slotcli.errors import DataError, NumericError, printable
from slotcli.files.reading import access_errors
from slotcli.files.writing import whole_file
from slotcli.tracks.transform import Transform
from slotcli.video.timing import LATEST_SECONDS

SCHEMA = "slotcli.slots/1"
# Readers of the first can read these as well.
SCHEMA_WITH_APPEARANCE = "slotcli.slots/1.1"
SCHEMA_OF_EDITS = "slotcli.slots/1.2"
METADATA_KEY = "slotcli"
SECTIONS = ("model", "source", "transform", "sampling", "run", "statistics")
HISTORY = "history"  # a section that only edits have

# In the order of the file: descending size of the dtype, then name. Little endian.
DTYPES = {
    "duration": np.dtype("<i8"),
    "frame_index": np.dtype("<i8"),
    "pts": np.dtype("<i8"),
    "slots": np.dtype("<f4"),
    "appearance": np.dtype("<f2"),
    "attention": np.dtype("<f2"),
    "unedited_attention": np.dtype("<f2"),
    "flags": np.dtype("u1"),
}
OPTIONAL = "appearance"
UNEDITED = "unedited_attention"
_OF_SLOTS = ("slots", "appearance", "attention")
_FLOATS = (*_OF_SLOTS, UNEDITED)
DTYPE_NAMES = {"<i8": "I64", "<f4": "F32", "<f2": "F16", "|u1": "U8"}
RANKS = {
    "slots": 3,
    "appearance": 3,
    "attention": 4,
    "unedited_attention": 4,
    "pts": 1,
    "duration": 1,
    "frame_index": 1,
    "flags": 1,
}
BLOCK_BYTES = 1 << 20
MOST_SECONDS = 2 * LATEST_SECONDS  # repaired times of a damaged clip may exceed its limit
REMAKE = "Make it again with `slotcli decompose`."


@dataclass(frozen=True)
class SlotFile:
    """Contents of a slot file; `metadata` has the sections `SECTIONS`, without schema and hashes.

    `slots` are the un-normalised slots of every frame. `attention` sums to 1 over n, and masks are
    its argmax; for a mixture decoder it is the mixture probabilities. `appearance` is that of
    `SlotTrack`, if the model's decoder reads it. `unedited_attention` is that of the result which
    an edit began with, whose slots are the first m; only edits have it. `pts` and `duration` are in
    ticks of the source's time base, `flags` are those of slotcli.types.
    """

    slots: Float32[np.ndarray, "t n d"]
    attention: Float16[np.ndarray, "t n h w"]
    pts: Int64[np.ndarray, " t"]
    duration: Int64[np.ndarray, " t"]
    frame_index: Int64[np.ndarray, " t"]
    flags: UInt8[np.ndarray, " t"]
    metadata: dict[str, Any]
    appearance: Float16[np.ndarray, "t n c"] | None = None
    unedited_attention: Float16[np.ndarray, "t m h w"] | None = None

    @property
    def transform(self) -> Transform:
        """The crop for the model; raises DataError if the metadata's is impossible."""
        return Transform.from_json(self.metadata["transform"])


def write_slot_file(path: Path, slot_file: SlotFile) -> None:
    """Write a slot file from memory, with the same bytes as `Journal.finish` for the same content.

    Raises: NumericError naming the first frame with NaN or infinity; OutputError and its kin.
    """
    tensors = {}
    for name, dtype in DTYPES.items():
        values = getattr(slot_file, name)
        if values is None:
            continue
        array = np.ascontiguousarray(values, dtype=dtype)
        if name in _FLOATS:
            require_finite(array, slot_file.frame_index, name)
        data = array.data.cast("B") if array.size else memoryview(b"")
        tensors[name] = TensorSource(array.shape, hashlib.sha256(data).hexdigest(), [data])
    assemble(path, tensors, slot_file.metadata)


def read_slot_file(path: Path) -> SlotFile:
    """Read and verify a slot file: schema, presence, types, shapes, times, finiteness, every hash.

    Raises: NoInputError, AccessError, and DataError if anything in it is wrong.
    """
    shown = printable(path)
    try:
        # safetensors rejects false sizes; dtypes and shapes are checked before anything is loaded.
        with access_errors(path), safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            if text is None:
                raise DataError(f"{shown} holds tensors, but is no slot file.", "Check the path.")
            names = file.keys()
            _require_tensors(shown, {name: file.get_slice(name) for name in names})
            arrays = {name: file.get_tensor(name) for name in DTYPES if name in names}
    except (SafetensorError, ValueError) as error:
        if path.suffix != ".safetensors":
            raise DataError(
                f"{shown} is not a slot file.",
                "Give a result folder or its clip.slots.safetensors; slotcli decompose makes them.",
            ) from error
        reason = shorten(str(error), 200)
        raise DataError(f"{shown} is damaged or no slot file: {reason}.", REMAKE) from error
    metadata = _parse_metadata(shown, text, arrays)
    for name in _FLOATS:
        if name in arrays and not np.isfinite(arrays[name]).all():
            raise DataError(f"{shown} holds NaN or infinity in {name!r}.", REMAKE)
    _require_times(shown, arrays["pts"], arrays["duration"], metadata["source"].get("time_base"))
    return SlotFile(**arrays, metadata=metadata)


@dataclass(frozen=True)
class TensorSource:
    """One tensor of a new slot file; its bytes come in blocks, so it need not fit in memory."""

    shape: tuple[int, ...]
    digest: str
    blocks: Iterable[bytes | memoryview]


def assemble(path: Path, tensors: dict[str, TensorSource], metadata: Mapping[str, Any]) -> None:
    """Writes a slot file of the tensors of `DTYPES`; `metadata` has the keys `SECTIONS`.

    Implements the safetensors format, because the library needs whole tensors in memory.
    """
    if not set(SECTIONS) <= set(metadata):
        raise ValueError(f"metadata must have the keys {SECTIONS}, not {tuple(metadata)}")
    Transform.from_json(metadata["transform"])
    schema = SCHEMA_WITH_APPEARANCE if OPTIONAL in tensors else SCHEMA
    schema = SCHEMA_OF_EDITS if UNEDITED in tensors else schema
    described = {"schema": schema, **metadata}
    hashes = {name: tensor.digest for name, tensor in tensors.items()}
    hashes["metadata"] = _digest_of_json(described)
    text = _canonical_json({**described, "sha256": hashes})
    header: dict[str, Any] = {"__metadata__": {METADATA_KEY: text}}
    end = 0
    for name, dtype in DTYPES.items():
        if name not in tensors:
            continue
        shape = tensors[name].shape
        begin, end = end, end + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        header[name] = {
            "dtype": DTYPE_NAMES[dtype.str],
            "shape": list(shape),
            "data_offsets": [begin, end],
        }
    head = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    with whole_file(path) as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name in DTYPES:
            for block in tensors[name].blocks if name in tensors else ():
                file.write(block)


def _require_tensors(shown: str, tensors: dict[str, Any]) -> None:
    """Check presence, types and shapes of safetensors slices."""
    shapes = {name: tuple(tensor.get_shape()) for name, tensor in tensors.items()}
    for name, dtype in DTYPES.items():
        if name not in tensors:
            if name in (OPTIONAL, UNEDITED):
                continue
            raise DataError(f"{shown} lacks the tensor {name!r}.", REMAKE)
        kind, shape = tensors[name].get_dtype(), shapes[name]
        if kind != DTYPE_NAMES[dtype.str] or len(shape) != RANKS[name] or 0 in shape:
            raise DataError(f"The tensor {name!r} of {shown} is {kind} of shape {shape}.", REMAKE)
    ours = [name for name in DTYPES if name in shapes]
    slots = {shapes[name][1] for name in ours if name in _OF_SLOTS}
    grids = {shapes[name][2:] for name in ours if name in ("attention", UNEDITED)}
    counts = {shapes[name][0] for name in ours}
    if max(len(counts), len(slots), len(grids)) > 1 or shapes.get(UNEDITED, (0, 1))[1] > max(slots):
        raise DataError(f"The shapes in {shown} do not agree: {shapes}.", REMAKE)


def _require_times(
    shown: str, pts: Int64[np.ndarray, " t"], duration: Int64[np.ndarray, " t"], time_base: object
) -> None:
    """Check what every writer of videos relies on; the time base itself is theirs to check."""
    if not ((pts[1:] > pts[:-1]).all() and (duration > 0).all()):
        raise DataError(f"The frames of {shown} do not follow each other in time.", REMAKE)
    latest = max(-int(pts[0]), int(pts[-1]), int(duration.max()))
    match time_base:
        case [int(seconds), int(parts)] if parts > 0 and latest * seconds > MOST_SECONDS * parts:
            raise DataError(f"The times of {shown} are beyond any clip's.", REMAKE)


def _parse_metadata(shown: str, text: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Parse the metadata and check everything against its hash."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"The metadata of {shown} is not JSON: {error}.", REMAKE) from error
    schema = metadata.get("schema") if isinstance(metadata, dict) else None
    if not isinstance(schema, str) or not schema.startswith("slotcli.slots/"):
        raise DataError(f"The metadata of {shown} names no schema.", REMAKE)
    if schema.partition("/")[2].partition(".")[0] != SCHEMA.partition("/")[2]:
        raise DataError(
            f"{shown} has the schema {schema!r}; this version reads {SCHEMA!r}.",
            "Use the version of slotcli that wrote it.",
        )
    hashes = metadata.pop("sha256", None)
    if not isinstance(hashes, dict):
        raise DataError(f"{shown} has no hashes.", REMAKE)
    for name, array in arrays.items():
        if hashes.get(name) != hashlib.sha256(array.data).hexdigest():
            raise DataError(f"The tensor {name!r} of {shown} does not match its hash.", REMAKE)
    try:
        digest = _digest_of_json(metadata)
    except (ValueError, RecursionError) as error:
        raise DataError(f"The metadata of {shown} is damaged: {error}.", REMAKE) from error
    if hashes.get("metadata") != digest:
        raise DataError(f"The metadata of {shown} does not match its hash.", REMAKE)
    del metadata["schema"]
    if missing := sorted(set(SECTIONS) - set(metadata)):
        raise DataError(f"The metadata of {shown} lacks {missing[0]!r}.", REMAKE)
    if wrong := [name for name in SECTIONS if not isinstance(metadata[name], dict)]:
        raise DataError(f"{wrong[0]!r} in the metadata of {shown} is not a table.", REMAKE)
    # Rejects an impossible crop before any allocation for it.
    Transform.from_json(metadata["transform"])
    return metadata


def require_finite(
    array: Float[np.ndarray, "t *rest"], frame_index: Int64[np.ndarray, " s"], name: str
) -> None:
    """Raises NumericError naming the first frame of `array` with NaN or infinity."""
    bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if bad.any():
        raise NumericError(
            f"Frame {frame_index[bad.argmax()]}: the {name} are not finite numbers.",
            "Try --device cpu; if it stays, the model does not fit this clip.",
        )


def _canonical_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest_of_json(value: object) -> str:
    return hashlib.sha256(_canonical_json(value).encode()).hexdigest()
