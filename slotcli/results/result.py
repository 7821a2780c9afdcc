"""A finished result as an object: slots, masks, tracks, the source's frames, exports."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float16, Float32, Float64, Int64

from slotcli.errors import UsageError, printable
from slotcli.files.layout import TRACKS_CSV
from slotcli.report.numbers import NumberPlaces, draw_numbers
from slotcli.report.overlay import OPACITY, overlay_frame
from slotcli.results.export import export_masks
from slotcli.results.facts import result_facts, slot_file_facts
from slotcli.results.find import recorded_source
from slotcli.results.masks import Masks
from slotcli.results.notebook import result_html
from slotcli.results.reconstruct import (
    find_slot_file,
    recorded_ids,
    recorded_labelling,
    recorded_time_base,
)
from slotcli.results.source_frames import SourceFrames, recorded_result, unchanged_source
from slotcli.results.tables import Columns, read_tracks, summaries, table, track_columns
from slotcli.tracks.formats.all_formats import OF_PICTURES, mask_formats
from slotcli.tracks.labelling import Edges, Labelling
from slotcli.tracks.slot_file import SlotFile, read_slot_file
from slotcli.tracks.statistics import TrackStatistics

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL.Image import Image

Progress = Callable[[int, int], None]
_GREY = 128


def _silent(done: int, count: int) -> None:
    pass


def load(path: str | Path, video: str | Path | None = None) -> "Result":
    """The result in a folder of `decompose`, or of a slot file; every hash is checked.

    `video` is the clip, if it is not where result.json says. Raises NoInputError where there is no
    slot file, DataError where one is damaged.
    """
    slots = find_slot_file(Path(path))
    slot_file = read_slot_file(slots)
    return Result(slots, slot_file, recorded_result(slots), None if video is None else Path(video))


class Result:
    """Slots, masks and tracks of a clip: t frames, n slots. Arrays are read-only views of the file.

    Frames are numbered by their row in the result, 0 to t - 1; objects by ID, which is slot + 1,
    and 0 for the background. Slots and attention are in memory; masks and frames are not.
    """

    def __init__(
        self,
        path: Path,
        slot_file: SlotFile,
        recorded: dict[str, Any] | None,
        video: Path | None = None,
    ) -> None:
        self.path = path
        self.slot_file = slot_file
        self._recorded, self._video = recorded, video

    @property
    def slots(self) -> Float32[np.ndarray, "t n d"]:
        """One vector per frame and slot."""
        return _read_only(self.slot_file.slots)

    @property
    def attention(self) -> Float16[np.ndarray, "t n h w"]:
        """Soft masks of the slots on the encoder's grid, 0 to 1; they sum to 1 over n."""
        return _read_only(self.slot_file.attention)

    @cached_property
    def times(self) -> Float64[np.ndarray, " t"]:
        """The time of each frame, in seconds from the clip's first frame.

        A lone slot file of a later part of a clip does not tell when the clip begins: then raises
        as `frames`.
        """
        time_base = recorded_time_base(self.slot_file)
        start = self._start_pts(time_base)
        return np.array([float((int(pts) - start) * time_base) for pts in self.slot_file.pts])

    @property
    def frame_index(self) -> Int64[np.ndarray, " t"]:
        """The number of each frame in the source, from 0."""
        return _read_only(self.slot_file.frame_index)

    @cached_property
    def ids(self) -> list[int]:
        """The ID of each slot in masks and tracks: slot + 1, or 0 for the background."""
        return recorded_ids(self.slot_file)

    @cached_property
    def masks(self) -> Masks:
        """Labels at the source's size, uint8 [t, h, w], each computed when asked for."""
        return Masks(self.slot_file, self.path.parent / "masks", self.frames)

    @property
    def tracks(self) -> "Columns | DataFrame":
        """A row per frame and object, the columns of tracks.csv: a DataFrame, else arrays by name.

        time (seconds), area (pixels), visible_fraction, centroid and box (pixels of the source, the
        box half open), confidence (0 to 1). An absent object has area 0, and NaN for the rest.
        """
        return table(self.track_columns)

    @property
    def objects(self) -> "Columns | DataFrame":
        """A row per object: frames present, first and last second, mean area and confidence."""
        return table(self.object_columns)

    @cached_property
    def track_columns(self) -> Columns:
        """`tracks` as arrays by name, whatever is installed."""
        if self._saved_tracks is not None:
            return self._saved_tracks
        slot_file, masks = self.slot_file, self.masks
        labelling = self._labelling(None)
        statistics = TrackStatistics(slot_file.slots.shape[1], labelling.background)
        colourless = np.zeros((*masks.shape[1:], 3), np.uint8)
        return track_columns(
            row
            for labels, attention, time, index in zip(
                masks, slot_file.attention, self.times, self.frame_index.tolist(), strict=True
            )
            for row in statistics.add(
                labels, colourless, float(time), index, labelling.confidence(attention, labels)
            )
        )

    @cached_property
    def object_columns(self) -> Columns:
        """`objects` as arrays by name, whatever is installed."""
        return summaries(self.track_columns)

    @cached_property
    def info(self) -> dict[str, Any]:
        """Facts as `slotcli info --json` prints them: source, model, options, warnings, ..."""
        if self._recorded is None:
            return slot_file_facts(self.slot_file)
        return result_facts(self.path, self.slot_file, self._recorded)

    @property
    def warnings(self) -> list[str]:
        """Sentences on what was damaged, missing or left out; none for a lone slot file."""
        return list(self.info.get("warnings", ()))

    def frames(self) -> SourceFrames:
        """The clip's frames, uint8 [t, h, w, 3] RGB, each decoded when asked for.

        Raises NoInputError where the clip is gone, DataError where it has changed.
        """
        return self._frames

    def show(self, t: int, *, opacity: float = OPACITY, source: bool = True) -> "Image":
        """An RGB image of frame `t` at the source's size, each object in its colour, with its ID.

        IDs are shown where the longer side has 320 pixels or more. Without `source` the colours are
        on grey, and the clip is not needed. Raises as `frames`.
        """
        from PIL import Image

        labels = self.masks[t]
        under = self.frames()[t] if source else np.full((*labels.shape, 3), _GREY, np.uint8)
        drawn = overlay_frame(under, labels, opacity)
        draw_numbers(drawn, NumberPlaces().next(labels))
        return Image.fromarray(drawn)

    def export(
        self,
        formats: str | Sequence[str],
        out: str | Path | None = None,
        *,
        frames: bool = False,
        edges: Edges | None = None,
        progress: Progress = _silent,
    ) -> list[Path]:
        """Writes the masks in one or several of the formats of `slotcli export`; returns the paths.

        `out` is a folder, by default the slot file's. With `frames` the images that coco.json and
        ytvis.json name are written too, unless they are there. `edges` other than those of the
        result give other masks. Raises UsageError for an unknown format and where there is no clip
        to take pixels from, CannotCreateError where a path exists, and the writers' errors.
        """
        chosen = mask_formats(formats, frames=frames)
        if not chosen:
            raise UsageError("--masks none leaves nothing to export.", "Choose a mask format.")
        needed = OF_PICTURES.intersection(chosen) or self._labelling(edges).needs_frames
        return export_masks(
            self.slot_file,
            self.path.parent if out is None else Path(out),
            chosen,
            self._known_source() if needed else None,
            progress,
            edges=edges,
        )

    def _repr_html_(self) -> str:
        """A few frames with their masks and the table of objects, for notebooks."""
        return result_html(self)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.slot_file.pts)

    def __repr__(self) -> str:
        frames, num_slots, dim = self.slot_file.slots.shape
        return f"<Result {printable(self.path)}: {frames} frames, {num_slots} slots of {dim}>"

    @cached_property
    def _frames(self) -> SourceFrames:
        recorded = self._recorded or {}
        counts = recorded.get("counts", {})
        sound = not any(count for name, count in counts.items() if name != "frames")
        video = self._video or unchanged_source(self.path, self._recorded)
        return SourceFrames(self.slot_file, video, sound=sound)

    def _known_source(self) -> Path | None:
        """The clip that was named, or the recorded one, unchanged; None where that is gone."""
        recorded = recorded_source(self.path)
        if self._video is not None or recorded is None or not recorded.exists():
            return self._video
        return unchanged_source(self.path, self._recorded)

    def _labelling(self, edges: Edges | None) -> Labelling:
        return recorded_labelling(self.slot_file, edges)

    def _start_pts(self, time_base: Fraction) -> int:
        """Ticks of the clip's first frame, which may not be among the result's frames."""
        first = int(self.slot_file.pts[0])
        if self.slot_file.frame_index[0] == 0:
            return first
        if self._saved_tracks is not None:  # they have microseconds, finer than frames
            return first - round(Fraction(float(self._saved_tracks["time"][0])) / time_base)
        return self._frames.start_pts

    @cached_property
    def _saved_tracks(self) -> Columns | None:
        path = self.path.with_name(TRACKS_CSV)
        known = self._recorded is not None and path.is_file()
        return read_tracks(path, len(self)) if known else None


def _read_only(array: np.ndarray) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view
