"""Outputs of a frozen encoder and a frozen codec for whole clips, cached at half precision."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from slotcli.data.dataset import Dataset
from slotcli.data.windows import Window
from slotcli.errors import ConfigError
from slotcli.model import SlotModel, normalise
from slotcli.training.tasks.latents import targets_of
from slotcli.types import Layout, SlotTrack

_BYTES = 6 << 30


@dataclass(frozen=True)
class _EncodedClip:
    track: SlotTrack
    targets: Shaped[Tensor, "t *target"]


class EncodedClips:
    """Slots, layouts and targets of frames; a clip is encoded when one of its frames is first used.

    The encoder is recurrent, so each clip is encoded from its first frame on. Raises ConfigError
    where the data set's clips would take more than `bound` bytes.
    """

    def __init__(
        self, model: SlotModel, data: Dataset, device: torch.device, bound: int = _BYTES
    ) -> None:
        self._model = model
        self._data = data
        self._device = device
        self._bound = bound
        self._kept: dict[tuple[int, bool], _EncodedClip] = {}

    def of(
        self, places: Sequence[Window]
    ) -> tuple[Float[Tensor, "b n d"], Layout, Shaped[Tensor, "b *target"]]:
        """Slots, layout and target of the first frame of each window, in float32."""
        clips = [self._clip(place) for place in places]
        frames = [place.start for place in places]
        track = SlotTrack.concatenate(
            [clip.track.frame(frame) for clip, frame in zip(clips, frames, strict=True)]
        )
        targets = [clip.targets[frame] for clip, frame in zip(clips, frames, strict=True)]
        single = track.to(self._device, torch.float32)
        return single.slots[0], single.layout, _single(torch.stack(targets).to(self._device))

    def frames_of(self, places: Sequence[Window]) -> Float[Tensor, "b 3 h w"]:
        """The first frame of each window, in [-1, 1]."""
        frames = [self._data.clip(place.index, place.start, 1).frames[0] for place in places]
        turned = [
            frame.flip(-1) if place.flip else frame
            for frame, place in zip(frames, places, strict=True)
        ]
        return normalise(torch.stack(turned).to(self._device))

    @torch.no_grad()
    def _clip(self, place: Window) -> _EncodedClip:
        key = (place.index, place.flip)
        if key not in self._kept:
            length = self._data.frames(place.index)
            frames = self._data.clip(place.index, 0, length).frames.to(self._device)
            normal = normalise(frames.flip(-1) if place.flip else frames)
            track = self._encoded(normal).to(torch.device("cpu"), torch.float16)
            targets = targets_of(self._model.decoder.target, normal).cpu()
            half = targets.half() if targets.is_floating_point() else targets
            clip = _EncodedClip(track, half)
            if not self._kept:
                self._require_room(clip, 1 + place.flip)
            self._kept[key] = clip
        return self._kept[key]

    def _encoded(self, frames: Float[Tensor, "t 3 h w"]) -> SlotTrack:
        """Encodes in evaluation mode: a cached dropout mask of the predictor would never change."""
        encoder = self._model.encoder
        training = encoder.training
        encoder.eval()
        try:
            return encoder(frames[None])
        finally:
            encoder.train(training)

    def _require_room(self, clip: _EncodedClip, forms: int) -> None:
        track = clip.track
        tensors = [track.slots, track.attention, clip.targets]
        tensors += [] if track.appearance is None else [track.appearance]
        needed = len(self._data) * forms * sum(tensor.nbytes for tensor in tensors)
        if needed > self._bound:
            raise ConfigError(
                f"train.cache_encoder: {len(self._data)} clips would take"
                f" {needed / 2**30:.1f} GiB of memory.",
                f"Give the data fewer clips (clips = N); {self._bound >> 30} GiB are allowed.",
            )


def _single(targets: Shaped[Tensor, "b *target"]) -> Shaped[Tensor, "b *target"]:
    return targets.float() if targets.is_floating_point() else targets
