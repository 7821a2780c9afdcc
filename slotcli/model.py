"""One model class for every system: an encoder of frames and a decoder of slots."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from slotcli.decoders.base import Decoder
from slotcli.encoder.encoder import SlotEncoder
from slotcli.types import Size, SlotTrack


class SlotModel(nn.Module):
    """A slot encoder of clips, and a decoder of slots to frames."""

    def __init__(self, encoder: SlotEncoder, decoder: Decoder, size: Size) -> None:
        super().__init__()
        if not isinstance(decoder, nn.Module):
            raise TypeError("the decoder has to be a module, so that it is saved with the model")
        self.encoder = encoder
        self.decoder = decoder
        self.size = size

    @torch.inference_mode()
    def encode(
        self,
        frames: UInt8[Tensor, "b t 3 h w"],
        state: Float[Tensor, "b n d"] | None = None,
        permitted: Float[Tensor, "b n i j"] | None = None,
    ) -> SlotTrack:
        """Slots and attention of frames at the model's size; the rest as in `SlotEncoder`."""
        if permitted is None:  # which the benches' encoders do not take
            return self.encoder(normalise(frames), state)
        return self.encoder(normalise(frames), state, permitted)

    @torch.inference_mode()
    def soft_masks(self, track: SlotTrack) -> Float[Tensor, "b t n h w"]:
        """Soft masks of a clip or its chunk, as `Decoder.soft_masks`: they sum to 1 over n."""
        frames = track.slots.shape[:2]
        masks = self.decoder.soft_masks(track.slots.flatten(0, 1), track.attention.flatten(0, 1))
        return masks.unflatten(0, frames)


def normalise(frames: UInt8[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
    """Frames from 0..255 to [-1, 1]."""
    return frames.float() / 127.5 - 1


def denormalise(frames: Float[Tensor, "*b 3 h w"]) -> UInt8[Tensor, "*b 3 h w"]:
    """Frames from [-1, 1] to 0..255, rounded to the nearest and clamped."""
    return ((frames.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
