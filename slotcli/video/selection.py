"""Selects frames of a source: a segment of time, every N-th frame."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from slotcli.types import FrameChunk


@dataclass(frozen=True)
class Selection:
    """Every `stride`-th frame with `start` <= time < `end`; all frames by default.

    Times are in seconds from the source's first frame, whatever the first timestamp in its file.
    """

    start: float = 0.0
    end: float | None = None
    stride: int = 1
    max_frames: int | None = None

    @property
    def is_everything(self) -> bool:
        return self == Selection()


def select_frames(
    chunks: Iterator[FrameChunk], selection: Selection, time_base: Fraction, length: int
) -> Iterator[FrameChunk]:
    """Yields the selected frames, `length` at a time; with a stride each lasts until the next one.

    Timestamps stay those of the source. Every frame is decoded, because that is the only way to
    know its index; reading stops after the last selected one.
    """
    if selection.is_everything:
        yield from chunks
        return
    held: list[FrameChunk] = []
    for frame in _frames(chunks, selection, time_base):
        if len(held) == length:
            yield _joined(held, until=int(frame.pts[0]))
            held = []
        held.append(frame)
    if held:
        yield _joined(held, until=None)


def _frames(
    chunks: Iterator[FrameChunk], selection: Selection, time_base: Fraction
) -> Iterator[FrameChunk]:
    """The selected frames one by one, with their own durations."""
    in_stretch = used = 0
    first: int | None = None
    for chunk in chunks:
        for index, pts in enumerate(chunk.pts.tolist()):
            first = pts if first is None else first
            seconds = float((pts - first) * time_base)
            if selection.end is not None and seconds >= selection.end:
                return
            if seconds < selection.start:
                continue
            if in_stretch % selection.stride == 0:
                if used == selection.max_frames:
                    return
                used += 1
                # A copy, so that the chunk's other frames can be freed.
                yield FrameChunk(
                    frames=chunk.frames[index : index + 1].copy(),
                    pts=chunk.pts[index : index + 1],
                    duration=chunk.duration[index : index + 1],
                    frame_index=chunk.frame_index[index : index + 1],
                    flags=chunk.flags[index : index + 1],
                )
            in_stretch += 1
        if used == selection.max_frames:
            return


def _joined(frames: list[FrameChunk], until: int | None) -> FrameChunk:
    """Joins frames, each lasting until the next one; the last until `until`, if given."""
    pts = np.concatenate([frame.pts for frame in frames])
    last = int(pts[-1] + frames[-1].duration[0]) if until is None else until
    return FrameChunk(
        frames=np.concatenate([frame.frames for frame in frames]),
        pts=pts,
        duration=np.diff(pts, append=last),
        frame_index=np.concatenate([frame.frame_index for frame in frames]),
        flags=np.concatenate([frame.flags for frame in frames]),
    )
