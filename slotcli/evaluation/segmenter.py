"""Adapts a slot model to the interface of scores and audit: frames in, labels out."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from slotcli.errors import NumericError
from slotcli.kernels import mask_argmax
from slotcli.model import SlotModel
from slotcli.tracks.fitting import shape_like
from slotcli.tracks.guided import guided_winners
from slotcli.types import Size, SlotTrack
from slotcli.video.pixels import resized

CLIPS = 16  # per batch
FRAMES = 16  # per chunk of a clip

Argmax = Literal["after", "before", "guided"]


class Segmenter:
    """Calls a model on any number of clips of any length, in constant memory on its device.

    Frames of another size than the model's are resized, to `size` or else their `input_size`; the
    labels have the frames' own size. The argmax over slots is taken `after` bilinear upsampling of
    the soft masks (as SlotDiffusion is evaluated), `before` it, on their own grid, which results in
    blocks, or after upsampling `guided` by the frame's edges, as in decompose. Raises NumericError
    if slots are not finite.
    """

    def __init__(
        self,
        model: SlotModel,
        device: torch.device,
        argmax: Argmax = "after",
        *,
        size: Size | None = None,
    ) -> None:
        self._model = model
        self._size = size
        self._device = device
        self._argmax = argmax

    @torch.inference_mode()
    def __call__(self, frames: UInt8[Tensor, "b t 3 h w"]) -> UInt8[np.ndarray, "b t h w"]:
        b, t, _, h, w = frames.shape
        labels = np.empty((b, t, h, w), np.uint8)
        for first in range(0, b, CLIPS):
            clips = slice(first, min(first + CLIPS, b))
            for start, track in self.tracks(frames[clips]):
                rows = slice(start, start + track.slots.shape[1])
                masks = self._model.soft_masks(track)
                labels[clips, rows] = self._winners(masks, frames[clips, rows])
        return labels

    @torch.inference_mode()
    def tracks(self, frames: UInt8[Tensor, "b t 3 h w"]) -> Iterator[tuple[int, SlotTrack]]:
        """Yields slots of some clips in chunks, each with its first frame's index.

        A clip encoded in chunks equals the clip encoded whole.
        """
        state = None
        size = self._size or input_size(self._model, frames)
        for start in range(0, frames.shape[1], FRAMES):
            chunk = resize_frames(frames[:, start : start + FRAMES], size)
            track = self._model.encode(chunk.to(self._device), state)
            require_finite(track, start)
            state = track.slots[:, -1]
            yield start, track

    def _winners(
        self, masks: Float[Tensor, "b t n i j"], frames: UInt8[Tensor, "b t 3 h w"]
    ) -> UInt8[np.ndarray, "b t h w"]:
        size = (frames.shape[-2], frames.shape[-1])
        flat = masks.flatten(0, 1)
        if self._argmax == "guided":
            guide_size = self._size or input_size(self._model, frames)
            images = frames.flatten(0, 1).permute(0, 2, 3, 1).contiguous().numpy()
            # In the precision of slot files, because decompose computes its masks from these.
            soft = flat.half().float().cpu().numpy()
            winners = [guided_winners(*pair, guide_size) for pair in zip(soft, images, strict=True)]
            return np.stack(winners).reshape(*frames.shape[:2], *size)
        if self._argmax == "after":
            labels = mask_argmax(flat, size)
        else:
            coarse = flat.argmax(dim=1, keepdim=True).to(torch.uint8)
            labels = interpolate(coarse, size, mode="nearest-exact")[:, 0]
        return labels.unflatten(0, (-1, masks.shape[1])).cpu().numpy()


def require_finite(track: SlotTrack, start: int) -> None:
    """Raises NumericError unless the slots of a chunk that starts at frame `start` are finite."""
    if not torch.isfinite(track.slots).all():
        raise NumericError(
            f"The model's slots are not finite from frame {start} on.",
            "Its weights do not fit these clips, or its training broke.",
        )


def input_size(model: SlotModel, frames: UInt8[Tensor, "*b 3 h w"]) -> Size:
    """Model input size for frames: the model's area in their aspect ratio, if it takes any size."""
    if not model.encoder.takes_any_size:
        return model.size
    return shape_like((frames.shape[-2], frames.shape[-1]), model.size[0] * model.size[1])


def resize_frames(
    frames: UInt8[Tensor, "*b 3 h w"], size: Size
) -> UInt8[Tensor, "*b 3 height width"]:
    """Frames resized by `resized`, unless they already have that size."""
    h, w = frames.shape[-2:]
    if (h, w) == size:
        return frames
    pictures = frames.reshape(-1, 3, h, w).permute(0, 2, 3, 1).contiguous().numpy()
    scaled = np.stack([resized(picture, size) for picture in pictures])
    return torch.from_numpy(scaled).permute(0, 3, 1, 2).reshape(*frames.shape[:-2], *size)
