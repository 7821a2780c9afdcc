"""Features of results for rows of labels: slots, and what needs no slots, from the tracks."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from slotcli.errors import NoInputError, SlotcliError, UsageError, printable
from slotcli.evaluation.probe_labels import LabelRow
from slotcli.evaluation.result_audit import StoredResult
from slotcli.files.layout import SLOT_FILE
from slotcli.results.result import Result, load
from slotcli.results.source_frames import recorded_result
from slotcli.results.tables import Columns

OF_OBJECTS, OF_SCENES = "area and centroid", "number and area of objects"
_NAMED = 3  # clips in a message

# Of slots, and of what needs none.
Found = tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, " e"]]


@dataclass(frozen=True)
class RowFeatures:
    """Features of one row of labels; `clip` numbers the results."""

    clip: int
    slots: Float64[np.ndarray, " d"]
    trivial: Float64[np.ndarray, " e"]


@dataclass(frozen=True)
class ProbeFeatures:
    """Features by index of the row, and the reasons for the rows that have none."""

    model: dict[str, Any]  # name, weights_sha256, slot_dim and num_slots, a list
    of_rows: dict[int, RowFeatures]
    left_out: dict[int, str]


def probe_features(
    results: Sequence[StoredResult],
    rows: Sequence[LabelRow],
    *,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> ProbeFeatures:
    """The features of every row whose clip, frame and object a result has.

    One result is in memory at a time. The features of an object are its slot, and its area and
    centroid in pixels and as fractions of the frame; those of a scene are the mean and the maximum
    over the slots that are present, in any order of slots, and the number and area of the objects.
    Over a clip each slot is its mean over the frames in which it is present, which means that its
    mask has pixels there. Raises UsageError for results of several models or slots of several
    widths, and for a name that fits several results; NoInputError if no row has features.
    """
    _require_one_model(results)
    names = _Names(results)
    by_result: dict[int, list[int]] = {}
    left_out: dict[int, str] = {}
    for index, row in enumerate(rows):
        number = names.find(row.clip)
        if number is None:
            left_out[index] = f"{printable(row.clip)}: no such result"
        else:
            by_result.setdefault(number, []).append(index)
    of_rows: dict[int, RowFeatures] = {}
    model: dict[str, Any] = {}
    for done, (number, indices) in enumerate(by_result.items(), start=1):
        path = results[number].slots
        try:
            clip = _Clip(load(path))
        except SlotcliError as error:
            left_out |= dict.fromkeys(indices, error.what)
            continue
        _add_model(model, clip, path)
        for index in indices:
            found = clip.features(rows[index])
            if isinstance(found, str):
                left_out[index] = f"{printable(rows[index].clip)}: {found}"
            else:
                of_rows[index] = RowFeatures(number, *found)
        progress(done, len(by_result))
    if not of_rows:
        [(reason, count), *_] = Counter(left_out.values()).most_common(1)
        raise NoInputError(
            f"No row of the labels fits a result: {reason} ({_rows(count)}).",
            f"Results are named as their folders or clips: {_examples(results)}.",
        )
    return ProbeFeatures(model, of_rows, left_out)


class _Clip:
    """A result whose slots are pooled; `present` [t, n] tells where a slot has pixels."""

    def __init__(self, result: Result) -> None:
        self._slots = result.slots.astype(np.float64)
        self.model = result.slot_file.metadata["model"]
        self._frame_index = result.frame_index
        self._ids = np.array(result.ids)
        self._height, self._width = result.slot_file.transform.source_size
        self._tracks = _by_object(result.track_columns, len(self._frame_index))
        self._objects = [own for own in self._tracks if own != 0]
        absent = np.zeros(len(self._frame_index), bool)
        present = {own: track["area"] > 0 for own, track in self._tracks.items()}
        self._present = np.stack([present.get(own, absent) for own in result.ids], axis=1)

    @property
    def shape(self) -> tuple[int, int]:
        """Number and width of the slots."""
        return self._slots.shape[1], self._slots.shape[2]

    def features(self, row: LabelRow) -> Found | str:
        """The features of the slots and those without slots, or the reason why there are none."""
        chosen = np.ones(len(self._frame_index), bool)
        if row.frame is not None:
            chosen = self._frame_index == row.frame
            if not chosen.any():
                return f"no frame {row.frame}"
        if row.object is None:
            return self._scene(chosen)
        if row.object not in self._tracks or not (self._ids == row.object).any():
            return f"no object {row.object}"
        return self._object(chosen, row.object)

    def _object(self, chosen: Bool[np.ndarray, " t"], own: int) -> Found | str:
        track = self._tracks[own]
        seen = chosen & (track["area"] > 0)
        if not seen.any():
            where = "of the frame" if chosen.sum() == 1 else "of any frame"
            return f"object {own} has no pixel {where}"
        x, y = track["centroid_x"][seen], track["centroid_y"][seen]
        trivial = [track["area"][seen], track["visible_fraction"][seen]]
        trivial += [x, y, x / self._width, y / self._height]
        # The background may have several slots.
        slots = self._slots[seen][:, self._ids == own].mean((0, 1))
        return slots, np.array([each.mean() for each in trivial])

    def _scene(self, chosen: Bool[np.ndarray, " t"]) -> Found | str:
        present = self._present & chosen[:, None]
        times = present.sum(0)
        if not times.any():
            return "no slot has pixels"
        means = np.einsum("tnd,tn->nd", self._slots, present)[times > 0]
        means /= times[times > 0, None]
        tracks = [self._tracks[own] for own in self._objects]
        seen = [(track["area"] > 0) & chosen for track in tracks]
        area = sum(float(track["visible_fraction"][chosen].sum()) for track in tracks)
        count = int(chosen.sum())
        trivial = [
            float(sum(own.any() for own in seen)),
            sum(int(own.sum()) for own in seen) / count,
            area / count,
        ]
        return np.concatenate([means.mean(0), means.max(0)]), np.array(trivial)


class _Names:
    """Finds the result that a name means: of a folder or clip, with as many folders as wanted."""

    def __init__(self, results: Sequence[StoredResult]) -> None:
        self._results = results
        self._whole: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        self._stems: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        for number, result in enumerate(results):
            paths = [result.slots.parent.resolve(), result.source]
            paths += [result.slots] if result.slots.name != SLOT_FILE else []
            for path in paths:
                if path is not None:
                    entry = (path.parent.parts, number)
                    self._whole.setdefault(path.name, []).append(entry)
                    self._stems.setdefault(path.name.split(".")[0], []).append(entry)
                    self._stems.setdefault(path.stem, []).append(entry)

    def find(self, name: str) -> int | None:
        """The number of the result. Raises UsageError for a name that fits several."""
        *above, last = Path(name).parts or ("",)
        for known in (self._whole, self._stems):
            fitting = {
                number
                for parts, number in known.get(last, [])
                if not above or parts[-len(above) :] == tuple(above)
            }
            if len(fitting) > 1:
                paths = sorted(str(self._results[number].slots) for number in fitting)
                raise UsageError(
                    f"{printable(name)} in the labels fits several results: "
                    f"{printable(paths[0])}, {printable(paths[1])}.",
                    "Write more of its path, or give fewer results.",
                )
            if fitting:
                return fitting.pop()
        return None


def _by_object(tracks: Columns, frames: int) -> dict[int, Columns]:
    """The columns of each object, of all frames in their order."""
    found = dict[int, Columns]()
    for own in np.unique(tracks["id"]).tolist():
        rows = np.flatnonzero(tracks["id"] == own)
        if len(rows) == frames:
            found[own] = {name: column[rows] for name, column in tracks.items()}
    return found


def _require_one_model(results: Sequence[StoredResult]) -> None:
    """Raises UsageError if the results' records name several models, labelled or not."""
    first: tuple[str, str] | None = None
    for result in results:
        try:
            model = (recorded_result(result.slots) or {}).get("model")
        except SlotcliError:  # reported for the rows of this result
            continue
        if not isinstance(model, dict):
            continue
        made_by = (str(model.get("name")), str(model.get("weights_sha256")))
        first = first or made_by
        if made_by != first:
            raise _several(result.slots, made_by, first)


def _add_model(model: dict[str, Any], clip: _Clip, path: Path) -> None:
    """Completes the facts about the one model. Raises UsageError if this clip's is another."""
    number, width = clip.shape
    made_by = (str(clip.model.get("name")), str(clip.model.get("weights_sha256")))
    if not model:
        model |= {"name": made_by[0], "weights_sha256": made_by[1]}
        model |= {"slot_dim": width, "num_slots": [number]}
    first = (model["name"], model["weights_sha256"])
    if made_by != first:
        raise _several(path, made_by, first)
    if width != model["slot_dim"]:
        raise UsageError(
            f"{printable(path)} has slots of {width} numbers, others have {model['slot_dim']}.",
            "Probe the results of each model by themselves.",
        )
    model["num_slots"] = sorted({*model["num_slots"], number})


def _several(path: Path, made_by: tuple[str, str], first: tuple[str, str]) -> UsageError:
    this, other = (f"{printable(name)} ({weights[:8]})" for name, weights in (made_by, first))
    return UsageError(
        f"{printable(path)} was made by {this}, others by {other}.",
        "Probe the results of each model by themselves.",
    )


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _examples(results: Sequence[StoredResult]) -> str:
    names = [printable(result.slots.parent.name) for result in results[:_NAMED]]
    return ", ".join(names) + (", ..." if len(results) > _NAMED else "")
