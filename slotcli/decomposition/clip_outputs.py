"""Every file of a clip's result but its slot file, written frame by frame as the clip streams.

The overlay has a thread of its own, because it takes as long as all the others together, and so has
what the page shows of the clip.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float16, UInt8
from torch import Tensor

from slotcli.decomposition.pipeline import BackgroundWorker
from slotcli.decomposition.result_verdict import VerdictSample
from slotcli.errors import UnavailableError, UsageError
from slotcli.files.layout import OVERLAY, PAGE, PAGE_VIDEO, STRIP, TRACKS, TRACKS_CSV
from slotcli.report.clip_view import ClipView, ClipViewRecorder
from slotcli.report.overlay import OPACITY, OverlayWriter
from slotcli.report.strip import StripBuilder
from slotcli.tracks.background import BackgroundVote
from slotcli.tracks.formats.all_formats import MaskFormat, open_mask_writers
from slotcli.tracks.formats.masked_clip import MaskedClip
from slotcli.tracks.labelling import Labelling
from slotcli.tracks.statistics import (
    SlotSummary,
    TracksCsv,
    TrackStatistics,
    object_ids,
    write_tracks_json,
)
from slotcli.types import FrameChunk
from slotcli.video.source import SourceInfo

# D1: the background is determined on these first frames, whatever the chunk size, so that masks
# can be written while the clip streams.
LEAD_IN = 16
_WAITING_FRAMES = 4  # for the overlay, and for the page; they keep their chunk in memory

Background = tuple[int, ...] | Literal["auto", "none"]
_Drawn = tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"], int, int]
_Shown = tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"], float, int]


class ClipOutputs:
    """Masks, overlay, strip, track statistics and view of one clip in `folder`, in constant memory.

    The first chunk added has to hold the first LEAD_IN frames, or all. Used as a context manager.
    The overlay, and the mask videos of an `excerpt`, begin at 0. Times in seconds count from the
    source's first frame, and times in ticks are the source's. A failure of the overlay stops
    nothing: `remarks` reports it, and is complete once `finish` has returned.
    """

    def __init__(
        self,
        folder: Path,
        source: SourceInfo,
        labelling: Labelling,
        num_slots: int,
        masks: tuple[MaskFormat, ...],
        background: Background,
        *,
        overlay: bool,
        excerpt: bool,
        stride: int = 1,
        opacity: float = OPACITY,
    ) -> None:
        self.background: tuple[int, ...] = ()
        self.frames = 0
        self._folder = folder
        self._source = source
        self._labelling = labelling
        self._num_slots = num_slots
        self._mask_formats = masks
        self._wanted_background: Background = background
        self._excerpt = excerpt
        self._wants_overlay = overlay
        self._stride = stride
        self._opacity = opacity
        self._overlay: OverlayWriter | None = None
        self.remarks: list[str] = []
        self.seconds = 0.0  # from the beginning of the first frame to the end of the last
        self._begin: float | None = None
        self._kept_sum = 0.0
        self._last_labels: np.ndarray | None = None
        self._ids: list[int] = []
        self.view: ClipView | None = None
        self._files = ExitStack()

    def __enter__(self) -> "ClipOutputs":
        folder, source = self._folder, self._source
        enter = self._files.enter_context
        with ExitStack() as opened:
            opened.push(self._files)
            clip = MaskedClip(source.name, source.size, source.time_base, self._excerpt)
            self._masks = open_mask_writers(self._mask_formats, folder, clip, self._files)
            self._drawing: BackgroundWorker[_Drawn] | None = None
            if self._wants_overlay:
                self._open_overlay()
                self._drawing = enter(BackgroundWorker(self._draw, _WAITING_FRAMES))
            rate = source.average_rate
            rate = None if rate is None else rate / self._stride
            self._view = enter(ClipViewRecorder(folder / PAGE_VIDEO, source.size, rate))
            self._viewing: BackgroundWorker[_Shown] = enter(
                BackgroundWorker(self._show, _WAITING_FRAMES)
            )
            self._csv = enter(TracksCsv(folder / TRACKS_CSV))
            opened.pop_all()
        self._strip = StripBuilder(self._opacity)
        self._sample = VerdictSample(self._labelling.transform)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.__exit__(kind, error, trace)

    @property
    def drawing_seconds(self) -> float:
        """Seconds spent on the overlay."""
        return self._drawing.busy if self._drawing else 0.0

    @property
    def viewing_seconds(self) -> float:
        """Seconds spent on what the page shows of the clip."""
        return self._viewing.busy

    @property
    def waited_seconds(self) -> float:
        """Seconds for which all other work waited for the overlay and the page."""
        return self._viewing.waited + (self._drawing.waited if self._drawing else 0.0)

    @property
    def kept_pixels(self) -> float | None:
        """The mean fraction of pixels that keep their label from one frame to the next."""
        return None if self.frames < 2 else self._kept_sum / (self.frames - 1)

    def verdict(self) -> dict[str, Any]:
        """The verdict on the frames so far, for result.json."""
        return self._sample.record()

    def add(self, chunk: FrameChunk, attention: Float16[Tensor, "t n h w"]) -> None:
        """Writes the next frames. Raises OutputError and its kin."""
        if self.frames == 0:
            self.background = _settled(self._wanted_background, attention)
            self._labelling = replace(self._labelling, background=self.background)
            self._statistics = TrackStatistics(self._num_slots, self.background)
            self._ids = sorted(set(object_ids(self._num_slots, self.background)))
        for index in range(len(chunk)):
            # Frame by frame: full-size labels of a whole chunk would take much memory.
            soft_masks, frame = attention[index].numpy(), chunk.frames[index]
            labels = self._labelling.labels(soft_masks, frame)
            pts, duration = int(chunk.pts[index]), int(chunk.duration[index])
            for writer in self._masks:
                writer.write(labels, pts, duration, frame)
            if self._drawing is not None:
                self._drawing.put((frame, labels, pts, duration))
            time = self._source.seconds(pts)
            self._begin = time if self._begin is None else self._begin
            self.seconds = self._source.seconds(pts + duration) - self._begin
            self._viewing.put((frame, labels, time, int(chunk.flags[index])))
            self._strip.add(frame, labels)
            self._sample.add(frame, labels)
            self._csv.write(
                self._statistics.add(
                    labels,
                    frame,
                    time,
                    int(chunk.frame_index[index]),
                    self._labelling.confidence(soft_masks, labels),
                )
            )
            if self._last_labels is not None:
                kept = np.count_nonzero(labels == self._last_labels)
                self._kept_sum += kept / labels.size
            self._last_labels = labels
        self.frames += len(chunk)

    def finish(self, facts: dict[str, Any]) -> list[SlotSummary]:
        """Completes every file; tracks.json gets `facts` of the clip. Returns summaries of the
        slots; `view` is set.
        """
        if self._drawing is not None:
            self._drawing.finish()
            self._finish_overlay()
        self._viewing.finish()
        self.view = self._view.finish(self._ids)
        if self._view.remark:
            self.remarks.append(f"{PAGE}: {self._view.remark}")
        self._files.close()
        summaries = self._statistics.summary()
        write_tracks_json(self._folder / TRACKS, summaries, facts)
        self._strip.write(self._folder / STRIP)
        return summaries

    @property
    def has_overlay(self) -> bool:
        """Whether overlay.mp4 is written; it is left out where its encoder refuses it."""
        return self._overlay is not None

    def _open_overlay(self) -> None:
        source = self._source
        try:
            overlay = OverlayWriter(
                self._folder / OVERLAY, source.size, source.time_base, self._opacity
            )
        except UnavailableError as error:
            self._leave_out_overlay(error)
            return
        self._overlay = self._files.enter_context(overlay)

    def _show(self, shown: _Shown) -> None:
        frame, labels, time, flags = shown
        self._view.add(frame, labels, self._ids, time, flags)

    def _draw(self, drawn: _Drawn) -> None:
        if self._overlay is None:
            return
        try:
            self._overlay.write(*drawn)
        except UnavailableError as error:
            self._leave_out_overlay(error)

    def _finish_overlay(self) -> None:
        if self._overlay is None:
            return
        self.remarks += [f"{OVERLAY}: {remark}" for remark in self._overlay.remarks]
        try:
            self._overlay.finish()
        except UnavailableError as error:
            self._leave_out_overlay(error)

    def _leave_out_overlay(self, error: UnavailableError) -> None:
        """Drops the overlay, which is for people only, so that the data is still written."""
        if self._overlay is not None:
            self._overlay.discard(error)
            self._overlay = None
        self.remarks.append(f"{OVERLAY} was left out. {error.what}")


def check_background(background: Background, num_slots: int) -> None:
    """Raises UsageError for a slot that does not exist."""
    if isinstance(background, str):
        return
    if wrong := [slot for slot in background if not 0 <= slot < num_slots]:
        raise UsageError(
            f"--background {wrong[0] + 1}: the model's objects have IDs 1 to {num_slots}.",
            "Choose among them, auto or none.",
        )


def _settled(wanted: Background, attention: Float16[Tensor, "t n h w"]) -> tuple[int, ...]:
    if wanted == "none":
        return ()
    if wanted != "auto":
        return wanted
    vote = BackgroundVote(attention.shape[1])
    vote.add(attention[:LEAD_IN])
    return vote.background()
