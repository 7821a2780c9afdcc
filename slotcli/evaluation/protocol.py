"""Scores as the authors of SlotContrast, SlotCurri and VideoSAUR compute them, beside our own.

Zadaianchuk et al. 2023, Manasyan et al. 2025: their metrics, crops and sizes. SlotCurri (2026) is
evaluated as SlotContrast, by cyclic inference. No baseline of theirs is known; those here see the
same squares.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from slotcli.data.kinds import DataKind
from slotcli.encoder.cyclic import scan_cyclically
from slotcli.errors import DataError, UsageError
from slotcli.evaluation.baselines import BASELINES
from slotcli.evaluation.segmentation import confusion, foreground_ari, mean_best_overlap
from slotcli.evaluation.segmenter import FRAMES, require_finite, resize_frames
from slotcli.evaluation.sources import ClipSource
from slotcli.kernels import mask_argmax
from slotcli.model import SlotModel
from slotcli.types import Clip, Size, SlotTrack

ProtocolName = Literal["slotcontrast", "slotcurri", "videosaur"]

# By the name of each score, its title: of a video as a whole, and of each frame alone.
PROTOCOL_SCORES = {
    "video_fg_ari": "video FG-ARI",
    "video_mbo": "video mBO",
    "image_fg_ari": "image FG-ARI",
    "image_mbo": "image mBO",
}
# Their shards of YouTube-VIS have this short side; those for VideoSAUR on DINOv2 the model's own.
_SHORT_SIDE = 320
_VIDEOSAUR_MASKS: Size = (224, 224)
_VIDEOSAUR_CHUNK = 6  # frames of YouTube-VIS that count as a video; what is left over is dropped
_WITHOUT_BACKGROUND = ("ytvis", "davis")

Samples = dict[str, list[float | None]]  # by score: a value per video (or chunk) or per frame


@dataclass(frozen=True)
class Protocol:
    """The preparation and scoring of a data set's clips for a model of square frames.

    `masks` is the size at which labels are compared. `background` says whether the background is a
    true mask: there it is left out of the scores, but a clip or frame with nothing else has an
    FG-ARI of 1, not none.
    """

    name: ProtocolName
    size: Size
    masks: Size
    short_side: int | None
    chunk: int | None
    background: bool
    cyclic: bool

    def videos(self, clip: Clip) -> Iterator[Clip]:
        """The videos to score: the central square of the clip, or of each chunk of it."""
        whole = clip if self.short_side is None else _at_short_side(clip, self.short_side)
        square = central_square(whole)
        if self.chunk is None:
            yield square
            return
        assert square.labels is not None
        for end in range(self.chunk, len(square.frames) + 1, self.chunk):
            part = slice(end - self.chunk, end)
            yield Clip(square.frames[part], square.labels[part])

    def method(self) -> dict[str, object]:
        """The choices that the figures depend on, for the record."""
        return {
            "crop": "central square of the frame",
            "short_side": self.short_side,
            "frames_of_a_video": self.chunk,
            "input": list(self.size),
            "inference": "to the end and back" if self.cyclic else "forwards",
            "resize": "bicubic without antialiasing, clamped",
            "masks": list(self.masks),
            "argmax": "after bilinear upsampling of the soft masks",
            "truth": "nearest-exact",
            "background": "a true mask, left out" if self.background else "unlabelled",
            "video": "time folded into space; mean over videos",
            "image": "each frame alone; mean over the frames of all videos",
            "mbo": "a slot's area includes its pixels on the background",
            "overlaps": "the smaller object is on top; the authors' code stops",
            "ignored": "pixels marked as ignored are not counted; the authors' data has none",
        }


def protocol_for(
    name: ProtocolName, kind: DataKind | None, model: str, size: Size, *, turns_back: bool = True
) -> Protocol:
    """The protocol of a kind of data, None being rendered scenes, for a model of a size.

    Raises UsageError for a model whose frames are not square, and for cyclic inference with one
    that cannot `turn back`.
    """
    if size[0] != size[1]:
        raise UsageError(
            f"--protocol {name} compares squares, and {model} takes {size[1]}x{size[0]}.",
            "Leave out --protocol, or choose another model.",
        )
    cyclic = name == "slotcurri"
    if cyclic and not turns_back:
        raise UsageError(
            f"--protocol {name} scans to the end and back; {model} reads more than slots.",
            "Choose --protocol slotcontrast, which differs in nothing else.",
        )
    films = kind == "ytvis"
    saur = name == "videosaur"
    return Protocol(
        name,
        size,
        masks=_VIDEOSAUR_MASKS if saur else size,
        short_side=(max(_SHORT_SIDE, size[0]) if saur else _SHORT_SIDE) if films else None,
        chunk=_VIDEOSAUR_CHUNK if saur and films else None,
        background=kind not in _WITHOUT_BACKGROUND,
        cyclic=cyclic,
    )


@dataclass(frozen=True)
class ProtocolScorer:
    """Scores a model, and every trivial baseline with as many slots, on clips at their own size."""

    protocol: Protocol
    source: ClipSource
    model: SlotModel
    row: str
    num_slots: int
    device: torch.device

    def __call__(self, number: int) -> dict[str, Samples]:
        """The samples of a clip by row. Raises DataError for one without labels."""
        clip = self.source.load(number)
        if clip.labels is None:
            raise DataError("The clip has no labels.", "Use slotcli audit, which needs none.")
        rows: dict[str, Samples] = {
            row: {score: [] for score in PROTOCOL_SCORES} for row in (self.row, *BASELINES)
        }
        for video in self.protocol.videos(clip):
            assert video.labels is not None
            truth = nearest_exact(video.labels, self.protocol.masks).numpy()
            seen = resize_frames(video.frames, self.protocol.masks)
            for row, samples in rows.items():
                if row == self.row:
                    labels = self._labels(video.frames)
                else:
                    labels = BASELINES[row](seen, self.num_slots, number)
                found = video_samples(truth, labels, background=self.protocol.background)
                for score, values in found.items():
                    samples[score].extend(values)
        return rows

    @torch.inference_mode()
    def _labels(self, frames: UInt8[Tensor, "t 3 h w"]) -> UInt8[np.ndarray, "t i j"]:
        parts = []
        for number, track in self._tracks(frames):
            require_finite(track, number)
            masks = self.model.soft_masks(track).flatten(0, 1)
            parts.append(mask_argmax(masks, self.protocol.masks).cpu().numpy())
        return np.concatenate(parts[::-1] if self.protocol.cyclic else parts)

    def _tracks(self, frames: UInt8[Tensor, "t 3 h w"]) -> Iterator[tuple[int, SlotTrack]]:
        """Tracks of parts of a video, each with the number of its first frame."""
        batches = (
            (2 * bicubic(part, self.protocol.size) - 1)[None].to(self.device)
            for part in frames.split(FRAMES)
        )
        if self.protocol.cyclic:
            numbers = reversed(range(len(frames)))
            yield from zip(numbers, scan_cyclically(self.model.encoder, batches), strict=True)
            return
        state = None
        for number, batch in zip(range(0, len(frames), FRAMES), batches, strict=True):
            track = self.model.encoder(batch, state)
            state = track.slots[:, -1]
            yield number, track


def video_samples(
    truth: UInt8[np.ndarray, "t h w"], predicted: UInt8[np.ndarray, "t h w"], *, background: bool
) -> Samples:
    """The four scores of a video: a value for it as a whole, and one for each of its frames."""
    whole = confusion(truth, predicted)
    frames = [confusion(truth[[t]], predicted[[t]]) for t in range(len(truth))]
    return {
        "video_fg_ari": [_fg_ari(whole, background)],
        "video_mbo": [mean_best_overlap(whole)],
        "image_fg_ari": [_fg_ari(counts, background) for counts in frames],
        "image_mbo": [mean_best_overlap(counts) for counts in frames],
    }


def _fg_ari(counts: Int64[np.ndarray, "k n"], background: bool) -> float | None:
    """FG-ARI; where the background is a true mask and alone, 1 (their formula for 0/0)."""
    found = foreground_ari(counts)
    return 1.0 if found is None and background and counts.any() else found


def central_square(clip: Clip) -> Clip:
    """The largest central square of a clip; half a pixel rounds to even, as in torchvision."""
    height, width = clip.frames.shape[-2:]
    side = min(height, width)
    top, left = round((height - side) / 2), round((width - side) / 2)
    rows, columns = slice(top, top + side), slice(left, left + side)
    labels = None if clip.labels is None else clip.labels[:, rows, columns]
    return Clip(clip.frames[:, :, rows, columns], labels)


def bicubic(frames: UInt8[Tensor, "t 3 h w"], size: Size) -> Float[Tensor, "t 3 i j"]:
    """Frames in [0, 1] at a size, bicubic without antialiasing."""
    return interpolate(frames.float() / 255, size, mode="bicubic").clamp(0, 1)


def nearest_exact(labels: UInt8[Tensor, "t h w"], size: Size) -> UInt8[Tensor, "t i j"]:
    """Labels at a size: each pixel takes the label at its own centre."""
    return interpolate(labels[:, None], size, mode="nearest-exact")[:, 0]


def _at_short_side(clip: Clip, side: int) -> Clip:
    height, width = clip.frames.shape[-2:]
    short = min(height, width)
    size = int(height / short * side), int(width / short * side)
    labels = None if clip.labels is None else nearest_exact(clip.labels, size)
    return Clip(interpolate(clip.frames, size, mode="nearest-exact"), labels)
