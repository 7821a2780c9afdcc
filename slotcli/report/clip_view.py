"""The view of a clip on its page: a small video, its labels, and areas and positions of objects."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from slotcli.errors import UnavailableError
from slotcli.report.numbers import NumberPlaces
from slotcli.report.overlay import fit
from slotcli.report.switches import Switch, SwitchFinder
from slotcli.report.thumbnails import Thumbnails
from slotcli.types import OUTSIDE, Size
from slotcli.video.own_outputs import MARK
from slotcli.video.writer import VideoWriter

MAX_SIDE = 512  # pixels of a side on the page
MAX_FRAMES = 4096  # beyond, every other frame is left out, and so on
MAX_BYTES = 7 << 20  # likewise; of all labels, compressed, before base64
_LEVEL = (
    7  # an eighth less than 6 for a twentieth more time; 9 saves a quarter in six times as long
)
_DEFAULT_RATE = Fraction(25)  # frames per second
_SLOWEST, _FASTEST = Fraction(1), Fraction(120)
_COARSE = 128  # pixels of a side, from which on every other one will do for a centroid
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 80)


@dataclass(frozen=True)
class ShownFrame:
    """One frame on the page; `labels` are deflated bytes, row by row.

    `picture` counts the frames of the page's video. `area` is each object's fraction of the frame,
    `centre` its centroid and `number` the position of its number, (x, y) in fractions of the frame;
    NaN for absent objects.
    """

    index: int  # among the decomposed frames
    time: float  # seconds
    picture: int
    labels: bytes
    area: Float32[np.ndarray, " n"]
    centre: Float32[np.ndarray, "n 2"]
    number: Float32[np.ndarray, "n 2"]


@dataclass(frozen=True)
class ClipView:
    """A clip for its page: `size` and `source_size` are (height, width), `ids` the objects'.

    `video` is None where no encoder took its frames. `flags` are (first frame, last frame, flag)
    of runs of frames with one of the flags of `slotcli.types`.
    """

    size: Size
    source_size: Size
    ids: list[int]
    rate: Fraction
    count: int
    frames: list[ShownFrame]
    flags: list[tuple[int, int, int]]
    switches: list[Switch]
    still: bytes  # the first frame, JPEG
    thumbnails: dict[int, bytes]  # JPEG
    video: Path | None


@dataclass
class _Runs:
    """Runs of frames by flag."""

    done: list[tuple[int, int, int]] = field(default_factory=list)
    _open: dict[int, int] = field(default_factory=dict)

    def add(self, frame: int, flags: int) -> None:
        for bit in (1 << position for position in range(8)):
            if flags & bit:
                self._open.setdefault(bit, frame)
            elif bit in self._open:
                self.done.append((self._open.pop(bit), frame - 1, bit))

    def finished(self, count: int) -> list[tuple[int, int, int]]:
        return sorted([*self.done, *((first, count - 1, bit) for bit, first in self._open.items())])


class ClipViewRecorder:
    """Records a clip of any length frame by frame; MAX_FRAMES and MAX_BYTES bound its memory.

    `path` is where the small video is written. Its frames are evenly spaced, whatever their times,
    so that a browser finds each one: at `rate` per second, within what browsers play; None if it is
    not known. Used as a context manager. A failure of the encoder stops nothing: `remark` tells it.
    """

    def __init__(self, path: Path, source_size: Size, rate: Fraction | None) -> None:
        self.remark: str | None = None
        self._path, self._source_size = path, source_size
        self._size = fit(source_size, (MAX_SIDE, MAX_SIDE))
        played = min(max(rate or _DEFAULT_RATE, _SLOWEST), _FASTEST)
        self._rate = played.limit_denominator(1001)
        height, width = self._size
        self._padding = ((0, height % 2), (0, width % 2), (0, 0))
        self._stride = 1
        self._count = self._pictures = self._bytes = 0
        self._frames: list[ShownFrame] = []
        self._still = b""
        self._numbers, self._switches = NumberPlaces(), SwitchFinder()
        self._thumbnails, self._flags = Thumbnails(), _Runs()
        self._video: VideoWriter | None = None

    def __enter__(self) -> "ClipViewRecorder":
        height, width = self._size
        even = (height + height % 2, width + width % 2)
        ticks = 1 / self._rate
        try:
            self._video = VideoWriter(self._path, even, ticks, codec="h264-small", mark=MARK)
        except UnavailableError as error:
            self._leave_out_video(error)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        video, self._video = self._video, None
        if video is not None:
            video.__exit__(kind, error, trace)

    def add(
        self,
        frame: UInt8[np.ndarray, "h w 3"],
        labels: UInt8[np.ndarray, "h w"],
        ids: Sequence[int],
        time: float,
        flags: int,
    ) -> None:
        """Add the next frame, RGB, at `time` in seconds. Raises: OutputError and its kin."""
        picture, small = _small(frame, self._size), _small_labels(labels, self._size)
        number = self._numbers.next(small)
        self._flags.add(self._count, flags)
        self._switches.add(picture, small)
        self._thumbnails.add(frame, small)
        if not self._still:
            self._still = jpeg(picture)
        full = len(self._frames) == MAX_FRAMES or self._bytes > MAX_BYTES
        if full and self._count % self._stride == 0:
            self._frames, self._stride = self._frames[::2], 2 * self._stride
            self._bytes = sum(len(frame.labels) for frame in self._frames)
        if self._count % self._stride == 0:
            places = [number.get(own, (np.nan, np.nan)) for own in ids]
            packed = zlib.compress(small.tobytes(), _LEVEL, -zlib.MAX_WBITS)
            self._bytes += len(packed)
            self._frames.append(
                ShownFrame(
                    self._count,
                    time,
                    self._pictures,
                    packed,
                    *_areas_and_centres(small, ids),
                    np.array(places, np.float32).reshape(-1, 2),
                )
            )
            self._write_picture(picture)
        self._count += 1

    def finish(self, ids: Sequence[int]) -> ClipView:
        """Complete the video and return everything; at least one frame was added."""
        try:
            self.__exit__(None, None, None)
        except UnavailableError as error:
            self._leave_out_video(error)
        return ClipView(
            self._size,
            self._source_size,
            list(ids),
            self._rate,
            self._count,
            self._frames,
            self._flags.finished(self._count),
            self._switches.found,
            self._still,
            self._thumbnails.pictures(),
            None if self.remark else self._path,
        )

    def _write_picture(self, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        if self._video is None:
            return
        padded = np.pad(picture, self._padding, mode="edge") if self._odd else picture
        try:
            self._video.write(padded, self._pictures, 1)
        except UnavailableError as error:
            self._leave_out_video(error)
            return
        self._pictures += 1

    @property
    def _odd(self) -> bool:
        return any(side % 2 for side in self._size)

    def _leave_out_video(self, error: UnavailableError) -> None:
        """Drops the video, which is for people only, so that the rest is still written."""
        if self._video is not None:
            self.__exit__(type(error), error, error.__traceback__)
        self.remark = f"The page shows masks without the clip. {error.what}"


def jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """An RGB image as JPEG."""
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _JPEG)[1].tobytes()


def _small(frame: UInt8[np.ndarray, "h w 3"], size: Size) -> UInt8[np.ndarray, "h2 w2 3"]:
    """A smaller frame: averaged to the largest whole fraction that is not too small, then bilinear.

    Averaging to any size at once takes six times as long.
    """
    height, width = frame.shape[:2]
    times = min(height // size[0], width // size[1])
    if times > 1 and height % times == width % times == 0:
        frame = cv2.resize(frame, (width // times, height // times), interpolation=cv2.INTER_AREA)
    return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR)


def _small_labels(labels: UInt8[np.ndarray, "h w"], size: Size) -> UInt8[np.ndarray, "h2 w2"]:
    return cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def _areas_and_centres(
    labels: UInt8[np.ndarray, "h w"], ids: Sequence[int]
) -> tuple[Float32[np.ndarray, " n"], Float32[np.ndarray, "n 2"]]:
    """Area and centroid of each object, in fractions of the frame.

    Centroids are those of every other pixel in each direction.
    """
    count = OUTSIDE + 1
    area = np.bincount(labels.ravel(), minlength=count)
    own = list(ids)
    step = 2 if min(labels.shape) >= _COARSE else 1
    coarse = labels[::step, ::step]
    height, width = coarse.shape
    rows = np.arange(height, dtype=np.int32)[:, None] * count + coarse
    in_rows = np.bincount(rows.ravel(), minlength=height * count).reshape(height, -1)[:, own]
    columns = np.arange(width, dtype=np.int32) * count + coarse
    in_columns = np.bincount(columns.ravel(), minlength=width * count).reshape(width, -1)[:, own]
    seen = in_rows.sum(0)
    with np.errstate(invalid="ignore"):
        y = (np.arange(height) * step + 0.5) @ in_rows / seen / labels.shape[0]
        x = (np.arange(width) * step + 0.5) @ in_columns / seen / labels.shape[1]
    return (area[own] / labels.size).astype(np.float32), np.stack([x, y], 1).astype(np.float32)
