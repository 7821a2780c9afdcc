"""Applies steps to a slot file: its slots, appearance and attention, and the history inside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float16, Float32, Float64

from slotcli import __version__
from slotcli.editing.arrangement import Arrangement, Layer, arrange, placement
from slotcli.editing.steps import Step, recorded_steps
from slotcli.errors import DataError, UsageError, printable
from slotcli.results.reconstruct import (
    find_slot_file,
    recorded_background,
    recorded_history,
    require_ids,
)
from slotcli.tracks.removal import without_slots
from slotcli.tracks.slot_file import HISTORY, REMAKE, SlotFile, read_slot_file
from slotcli.tracks.transform import Transform
from slotcli.types import EXTENT

_Values = Float32[np.ndarray, "t n d"] | Float16[np.ndarray, "t n d"]
_More = Float32[np.ndarray, "t m d"] | Float16[np.ndarray, "t m d"]


@dataclass(frozen=True)
class Foreign:
    """Slots and appearance of an object of another result, in all of its frames."""

    slots: Float32[np.ndarray, "s d"]
    appearance: Float16[np.ndarray, "s c"] | None


def arrangement_of(slot_file: SlotFile) -> Arrangement:
    """The layers of an edited slot file. Raises UsageError for one that `decompose` wrote."""
    history = recorded_history(slot_file)
    unedited = slot_file.unedited_attention
    if not history or unedited is None:
        raise UsageError("This is a result of decompose, not an edit.", "Edit it: slotcli edit.")
    try:
        steps = recorded_steps(history.get("steps", []))
        return _arranged(slot_file, steps, unedited.shape[1])
    except UsageError as error:
        raise DataError(
            f"The slot file's history is damaged: {error.what}",
            "Make the edit again: slotcli edit.",
        ) from error


def edited(slot_file: SlotFile, steps: Sequence[Step], digest: str) -> SlotFile:
    """The slot file after `steps`, with its history; `digest` is the SHA-256 of the file as it is.

    The other results of swaps are read. Edits of an edit begin with the unedited attention again,
    so nothing is resampled twice. Raises UsageError for steps that do not fit the file, DataError
    and its kin for other results.
    """
    history = recorded_history(slot_file)
    before = recorded_steps(history.get("steps", []))
    unedited = slot_file.unedited_attention
    unedited = slot_file.attention if unedited is None else unedited
    everything = [*before, *(_resolved(step) for step in steps)]
    arranged = _arranged(slot_file, everything, unedited.shape[1])
    slots, appearance = slot_file.slots, slot_file.appearance
    grids = _has_grids(slot_file)
    earlier = _arranged(slot_file, before, unedited.shape[1])
    for number, step in enumerate(everything[len(before) :], start=len(before) + 1):
        others = _foreign(slot_file, step) if step.kind == "swap" else None
        slots = _changed(slots, step, slot_file, others and others.slots)
        later = _arranged(slot_file, everything[:number], unedited.shape[1])
        if appearance is not None:
            looks = _changed(appearance, step, slot_file, others and others.appearance)
            if grids and step.kind == "swap":  # the other's look at this one's position
                looks[..., -EXTENT:] = appearance[..., -EXTENT:]
            elif grids:
                _move_grids(looks, step, earlier, later, unedited, slot_file.transform)
            appearance = looks
        earlier = later
    attention = _attention(unedited, arranged, slot_file.transform)
    receiver = _receiver(attention, arranged)
    for values in (slots, appearance):
        if values is not None:
            values[:, arranged.dropped] = values[:, [receiver]]
    metadata = {
        **slot_file.metadata,
        HISTORY: {
            "begun_with": history.get("begun_with", digest),
            "edges": history.get("edges", _edges(slot_file)),
            "steps": [step.as_dict() for step in everything],
            "dropped": [column + 1 for column in arranged.dropped],
            "moves": arranged.moves,
            "version": __version__,
        },
    }
    return replace(
        slot_file,
        slots=slots,
        appearance=appearance,
        attention=attention,
        unedited_attention=unedited,
        metadata=_described(metadata, attention, arranged),
    )


def _arranged(slot_file: SlotFile, steps: Sequence[Step], num_slots: int) -> Arrangement:
    background = tuple(slot for slot in recorded_background(slot_file) if slot < num_slots)
    return arrange(steps, num_slots, slot_file.frame_index.tolist(), background)


def _resolved(step: Step) -> Step:
    """The step, for a swap with the hash of the other result's slot file."""
    if step.other is None:
        return step
    from slotcli.checkpoint import file_sha256

    path = find_slot_file(Path(step.other))
    read_slot_file(path)
    return replace(step, other_sha256=file_sha256(path))


def _foreign(slot_file: SlotFile, step: Step) -> Foreign:
    assert step.other is not None
    assert step.other_id is not None
    other = read_slot_file(find_slot_file(Path(step.other)))
    names = ("weights_sha256", "name")
    if any(other.metadata["model"].get(n) != slot_file.metadata["model"].get(n) for n in names):
        raise UsageError(
            f"--swap {step.ids[0]}={printable(step.other)}: its slots are another model's.",
            "Decompose both clips with the same model.",
        )
    if step.other_id == 0:
        raise UsageError("--swap: the background is no object.", "Name an object's ID, from 1 on.")
    require_ids(other, [step.other_id])
    column = step.other_id - 1
    mine, looks = slot_file.appearance, other.appearance
    if (mine is None) != (looks is None) or (
        mine is not None and looks is not None and mine.shape[2] != looks.shape[2]
    ):
        raise DataError(
            f"{printable(step.other)} does not say how its slots' places look, as this one does.",
            REMAKE,
        )
    return Foreign(other.slots[:, column], None if looks is None else looks[:, column])


def _changed(values: _Values, step: Step, slot_file: SlotFile, others: np.ndarray | None) -> _More:
    """The values of all slots in time after one step; only the attention shows the others."""
    columns = [own - 1 for own in step.ids]
    changed = values.copy()
    match step.kind:
        case "reverse":
            changed[:, columns or slice(None)] = values[::-1, columns or slice(None)]
        case "hold":
            row = 0 if step.frame is None else slot_file.frame_index.tolist().index(step.frame)
            changed[:, columns] = values[[row]][:, columns]
        case "swap" if others is not None:
            rows = np.minimum(np.arange(len(values)), len(others) - 1)
            changed[:, columns[0]] = others[rows]
        case "copy":
            changed = np.concatenate([values, values[:, columns]], axis=1)
    return changed


def _has_grids(slot_file: SlotFile) -> bool:
    """Whether each slot's appearance ends with the extent of its colour grid."""
    spec = slot_file.metadata["model"].get("spec")
    decoder = spec.get("decoder") if isinstance(spec, dict) else None
    return isinstance(decoder, dict) and bool(decoder.get("colour_grid"))


def _move_grids(
    appearance: Float16[np.ndarray, "t n c"],
    step: Step,
    earlier: Arrangement,
    later: Arrangement,
    unedited: Float16[np.ndarray, "t m i j"],
    transform: Transform,
) -> None:
    """Changes the extents of colour grids as a step changes the layers: `earlier` to `later`."""
    top, left, height, width = transform.crop
    corner, sides = np.array([top, left]) - 0.5, np.array([height, width])
    for column, layer in enumerate(later.layers):
        copied = column - len(earlier.layers)
        before = earlier.layers[column if copied < 0 else step.ids[copied] - 1]
        if (layer.dx, layer.dy, layer.scale) == (before.dx, before.dy, before.scale):
            continue  # where only times change, each row was placed as it is now
        for row in range(len(appearance)):
            was = np.vstack([placement(before, row, unedited, transform), [0, 0, 1]])
            (scale, _, dx), (_, _, dy) = placement(layer, row, unedited, transform) @ np.linalg.inv(
                was
            )
            extent = appearance[row, column, -EXTENT:]
            centre = scale * (corner + extent[:2] * sides) + np.array([dy, dx])
            extent[:2] = (centre - corner) / sides
            extent[2:] *= scale


def _attention(
    unedited: Float16[np.ndarray, "t m i j"], arranged: Arrangement, transform: Transform
) -> Float16[np.ndarray, "t n i j"]:
    """The soft masks of all columns: lifted layers in front of what is left of the others."""
    frames, slots = unedited.shape[:2]
    base = without_slots(unedited[arranged.base_times], set(arranged.holes), arranged.background)
    copies = np.zeros((frames, len(arranged.layers) - slots, *unedited.shape[2:]), np.float32)
    masks = np.concatenate([base, copies], axis=1)
    for column in arranged.order:
        layer = arranged.layers[column]
        for row in range(frames):
            plane = placed_mask(layer, row, unedited, transform)
            masks[row] *= 1 - plane
            masks[row, column] += plane
    return masks.astype(np.float16)


def placed_mask(
    layer: Layer, row: int, unedited: Float16[np.ndarray, "t m i j"], transform: Transform
) -> Float32[np.ndarray, "i j"]:
    """A layer's soft mask in frame `row`, on the grid: resampled at its new position and scale."""
    plane = unedited[layer.times[row], layer.source].astype(np.float32)
    affine = placement(layer, row, unedited, transform)
    rows, columns = plane.shape
    top, left, height, width = transform.crop
    # From the centres of cells to the centres of the source's pixels.
    to_pixels = np.array(
        [
            [width / columns, 0, left + width / columns / 2 - 0.5],
            [0, height / rows, top + height / rows / 2 - 0.5],
            [0, 0, 1],
        ]
    )
    matrix: Float64[np.ndarray, "3 3"] = np.vstack([affine, [0, 0, 1]])
    on_grid = (np.linalg.inv(to_pixels) @ matrix @ to_pixels)[:2]
    warped = cv2.warpAffine(plane, on_grid, (columns, rows), flags=cv2.INTER_LINEAR)
    return np.asarray(warped, np.float32)


def _receiver(attention: Float16[np.ndarray, "t n i j"], arranged: Arrangement) -> int:
    """The column whose vector the dropped ones get: the largest of the background, or of all."""
    area = attention.astype(np.float32).mean(axis=(0, 2, 3))
    area[arranged.dropped] = -1
    among = [slot for slot in arranged.background if slot not in arranged.dropped]
    among = among or list(range(len(area)))
    return max(among, key=lambda column: area[column])


def _edges(slot_file: SlotFile) -> str:
    options = slot_file.metadata["run"].get("options")
    return options.get("edges", "bilinear") if isinstance(options, dict) else "bilinear"


def _described(
    metadata: dict[str, Any], attention: Float16[np.ndarray, "t n i j"], arranged: Arrangement
) -> dict[str, Any]:
    """The metadata, with the statistics of the new masks, and edges that suit them."""
    wins = np.bincount(attention.argmax(axis=1).ravel(), minlength=attention.shape[1])
    used = [slot for slot in np.flatnonzero(wins).tolist()]
    statistics = {**metadata["statistics"], "used_slots": used, "kept_pixels": None}
    run = metadata["run"]
    if arranged.displaced:
        # Masks that moved do not follow the edges of the source's frames.
        options = run.get("options")
        run = {**run, "options": {**(options if isinstance(options, dict) else {})}}
        run["options"]["edges"] = "bilinear"
    return {**metadata, "statistics": statistics, "run": run}
