"""The source frames of a result, in order or at random."""

import json
import weakref
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from slotcli.errors import DataError, NoInputError, printable
from slotcli.files.layout import RESULT
from slotcli.files.reading import access_errors
from slotcli.results.frame_sequence import FrameSequence
from slotcli.results.reconstruct import recorded_time_base
from slotcli.tracks.slot_file import SlotFile
from slotcli.types import FLAG_RESET, Size
from slotcli.video.images import ImageFolderReader
from slotcli.video.reader import ClipReader, open_clip
from slotcli.video.source import MAX_PIXELS
from slotcli.video.source_identity import SourceIdentity, source_identity

Frame = UInt8[np.ndarray, "h w 3"]

_NEAR = 32  # frames that are decoded on the way to another, rather than seeking again
_BACK_SECONDS = 10  # a second try from an earlier keyframe, for frames shown before theirs


def open_recorded_source(video: Path, size: Size) -> ClipReader | ImageFolderReader:
    """The opened source of a slot file, whatever its frame size. Raises as the reader."""
    with access_errors(video):
        return open_clip(video, max_pixels=max(MAX_PIXELS, size[0] * size[1]))


def source_pictures(
    slot_file: SlotFile, reader: ClipReader | ImageFolderReader
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The source frames of the slots; raises DataError where the reader lacks one of them."""
    time_base = recorded_time_base(slot_file)
    chunks = reader.chunks(1)
    for number, pts in zip(slot_file.frame_index, slot_file.pts, strict=True):
        chunk = next((chunk for chunk in chunks if chunk.frame_index[0] == number), None)
        if (
            chunk is None
            or reader.info.size != slot_file.transform.source_size
            or int(chunk.pts[0]) * reader.info.time_base != int(pts) * time_base
        ):
            raise another_clip(reader.path)
        yield chunk.frames[0]


def another_clip(video: Path) -> DataError:
    """The error for a video whose frames are not those of the slots."""
    return DataError(
        f"{printable(video)} is not the video that the slots came from.",
        "Name the file that was decomposed, unchanged.",
    )


def recorded_result(slots: Path) -> dict[str, Any] | None:
    """The values of the result.json beside a slot file; None where there is none.

    Raises DataError for one that is no table of values.
    """
    path = slots.parent / RESULT
    try:
        recorded = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(recorded, dict) or not isinstance(recorded.get("source"), dict):
        raise _damaged(path, "it is not a table")
    return recorded


def unchanged_source(slots: Path, recorded: dict[str, Any] | None) -> Path:
    """The source at the path in result.json. Raises NoInputError where there is none any more.

    Raises DataError where its content has changed since: it is hashed again where the file system
    reports a write. Results of old versions have no hash to compare with.
    """
    source = (recorded or {}).get("source", {})
    path, digest, state = (source.get(name) for name in ("path", "sha256", "state"))
    if not isinstance(path, str):
        raise NoInputError(
            f"{printable(slots)} does not tell where its clip is.",
            "Name the clip with --video, or keep result.json beside the slot file.",
        )
    if not Path(path).exists():
        raise NoInputError(
            f"{printable(path)}: the clip is no longer there.", "Name it with --video."
        )
    if isinstance(digest, str):
        known = SourceIdentity(digest, state if isinstance(state, str) else None)
        if source_identity(Path(path), known).digest != digest:
            raise DataError(
                f"{printable(path)} has changed since the slots were made.",
                "Decompose it again, or name an unchanged copy with --video.",
            )
    return Path(path)


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{printable(path)} is damaged: {why}.", "Make it again: slotcli decompose.")


class SourceFrames(FrameSequence):
    """The source frames of a result, uint8 [t, h, w, 3]: upright RGB with square pixels.

    One frame is decoded from the keyframe before it, if the clip was read without damage or
    repairs (`sound`); else from the start, because its times do not identify its frames. Raises
    DataError where the video has other frames than the slots, and as the reader.
    """

    def __init__(self, slot_file: SlotFile, video: Path, *, sound: bool) -> None:
        super().__init__((len(slot_file.pts), *slot_file.transform.source_size, 3))
        self.path = video
        self._slot_file = slot_file
        flagged = (slot_file.flags & ~np.uint8(FLAG_RESET)).any()
        self._seeks = sound and not flagged
        self._reader: ClipReader | ImageFolderReader | None = None
        self._coming: Iterator[Frame] = iter(())  # frames from `_next` on
        self._next = 0
        self._require_source()

    def __iter__(self) -> Iterator[Frame]:
        with open_recorded_source(self.path, self._size) as reader:
            yield from source_pictures(self._slot_file, reader)

    def frame(self, t: int) -> Frame:
        frame, ahead = None, t - self._next
        if 0 <= ahead < (_NEAR if self._seeks else len(self)):
            frame = next(islice(self._coming, ahead, None), None)
        if frame is None and self._seeks:
            frame = self._sought(t)
        if frame is None:
            self._coming = iter(self)
            frame = next(islice(self._coming, t, None))
        self._next = t + 1
        return frame

    @property
    def start_pts(self) -> int:
        """Ticks of the source's first frame, which the slots may begin after."""
        assert self._reader is not None
        return self._reader.info.start_pts

    @property
    def _size(self) -> Size:
        return self._slot_file.transform.source_size

    def _require_source(self) -> None:
        """Opens the source, whose facts are known then. Raises DataError for another clip."""
        self._reader = open_recorded_source(self.path, self._size)
        weakref.finalize(self, self._reader.close)
        info, slot_file = self._reader.info, self._slot_file
        if info.size != self._size or info.time_base != recorded_time_base(slot_file):
            raise another_clip(self.path)

    def _sought(self, t: int) -> Frame | None:
        """The frame without those far before it; None where its time does not lead there."""
        if isinstance(self._reader, ImageFolderReader):
            self._coming = iter(())
            return self._reader.image(int(self._slot_file.frame_index[t]))
        assert self._reader is not None
        for seconds in (0, _BACK_SECONDS):
            self._coming = self._from(t, round(seconds / self._reader.info.time_base))
            if (frame := next(self._coming, None)) is not None:
                return frame
        return None

    def _from(self, t: int, earlier: int) -> Iterator[Frame]:
        """Yields the frames of the rows from `t` on, until one is missing."""
        assert isinstance(self._reader, ClipReader)
        wanted = iter(self._slot_file.pts[t:].tolist())
        pts = next(wanted)
        for picture in self._reader.from_keyframe(pts, earlier):
            if picture.pts is None or picture.pts > pts:
                return
            if picture.pts == pts:
                yield picture.rgb
                pts = next(wanted, None)
                if pts is None:
                    return
