"""Frames to slots: one scan over time, with its state in the arguments. Paper, section 2."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.compute.cuda_graph import CudaGraphs
from slotcli.compute.precision import rounded_for
from slotcli.encoder.backbone import CompactCnn, ResNet18
from slotcli.encoder.efficientnet import FeaturePyramid
from slotcli.encoder.predictor import TransformerPredictor
from slotcli.encoder.slot_attention import SlotAttention
from slotcli.layers import PositionEmbedding
from slotcli.types import Size, SlotTrack

_NOWHERE = 1e-6  # of a place, so that a slot that is nowhere looks like nothing


class SlotEncoder(nn.Module):
    """Backbone, corrector (slot attention) and predictor, scanned over the frames of a clip.

    `size` is that of the frames it is mostly used with; others of its backbone's multiples fit too.
    With `slot_bias` each slot has a learned number that is added to its attention logits; with
    `appearance` it also tells how each slot's place looks.
    """

    def __init__(
        self,
        backbone: ResNet18 | CompactCnn | FeaturePyramid,
        predictor: TransformerPredictor | None,
        *,
        size: Size,
        num_slots: int,
        slot_dim: int,
        iterations: int,
        first_iterations: int,
        slot_bias: bool = False,
        appearance: bool = False,
    ) -> None:
        super().__init__()
        self.grid_size = (size[0] // backbone.stride, size[1] // backbone.stride)
        self.iterations = iterations
        self.first_iterations = first_iterations
        self.backbone = backbone
        self.position = PositionEmbedding(backbone.width, self.grid_size)
        self.readout = nn.Sequential(
            nn.LayerNorm(backbone.width),
            nn.Linear(backbone.width, slot_dim),
            nn.ReLU(),
            nn.Linear(slot_dim, slot_dim),
        )
        self.initial_slots = nn.Parameter(torch.randn(1, num_slots, slot_dim))
        self.slot_bias = nn.Parameter(torch.zeros(num_slots)) if slot_bias else None
        self.corrector = SlotAttention(slot_dim)
        self.predictor = predictor
        self.appearance = appearance
        self._graphs = CudaGraphs("The encoding of a frame")

    @property
    def takes_any_size(self) -> bool:
        """Whether frames of any shape fit, whose sides are multiples of 32."""
        return isinstance(self.backbone, FeaturePyramid)

    def train(self, mode: bool = True) -> "SlotEncoder":
        """As any module's; training has no use for graphs and needs their memory."""
        super().train(mode)
        if mode:
            self._graphs.free()
        return self

    def features(self, frames: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t p d"]:
        """What slot attention reads, for every frame on its own; frames in [-1, 1]."""
        return self._read_out(self._maps(frames)).unflatten(0, frames.shape[:2])

    def forward(
        self, frames: Float[Tensor, "b t 3 h w"], state: Float[Tensor, "b n d"] | None = None
    ) -> SlotTrack:
        """Slots and attention of a clip, or of its next chunk.

        `frames` are in [-1, 1]. `state` is the last frame's slots of the chunk before, None at the
        start of a clip; a clip encoded in chunks equals the clip encoded whole.
        """
        maps = self._maps(frames)
        features = self._read_out(maps).unflatten(0, frames.shape[:2])
        mean, rstd = self.corrector.statistics(features)
        carried_on = self._carried_on
        if not torch.is_grad_enabled():
            carried_on = self._graphs.bind(self, carried_on)
        slots = state
        track: list[tuple[Tensor, Tensor]] = []
        for i, frame in enumerate(features.unbind(1)):
            read = (frame, (mean[:, i], rstd[:, i]))
            if slots is None:
                guess = self.initial_slots.expand(len(frames), -1, -1)
                slots, attention = self.corrector(
                    guess, *read, self.first_iterations, self.slot_bias
                )
            else:
                slots, attention = carried_on(slots, *read)
            track.append((slots, attention))
        attention = torch.stack([attention for _, attention in track], dim=1)
        return SlotTrack(
            slots=torch.stack([slots for slots, _ in track], dim=1),
            attention=attention.unflatten(
                3, tuple(side // self.backbone.stride for side in frames.shape[-2:])
            ),
            appearance=looks(attention, maps, frames) if self.appearance else None,
        )

    def predicted(self, slots: Float[Tensor, "b t n d"]) -> Float[Tensor, "b t n d"]:
        """What each frame's slots are expected to be one frame later; needs a predictor."""
        assert self.predictor is not None
        return self.predictor(slots.flatten(0, 1)).unflatten(0, slots.shape[:2])

    def _maps(self, frames: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "f c i j"]:
        maps = self.backbone(rounded_for(self.backbone, frames.flatten(0, 1)))
        return maps.to(frames.dtype)

    def _read_out(self, maps: Float[Tensor, "f c i j"]) -> Float[Tensor, "f p d"]:
        return self.readout(self.position(maps).flatten(2).transpose(1, 2))

    def _carried_on(
        self,
        slots: Float[Tensor, "b n d"],
        features: Float[Tensor, "b p d"],
        statistics: tuple[Float[Tensor, "b p"], Float[Tensor, "b p"]],
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n p"]]:
        """Slots and attention of a frame, from the slots of the frame before."""
        guess = slots if self.predictor is None else self.predictor(slots)
        return self.corrector(guess, features, statistics, self.iterations, self.slot_bias)


def looks(
    attention: Float[Tensor, "b t n p"],
    maps: Float[Tensor, "f c i j"],
    frames: Float[Tensor, "b t 3 h w"],
) -> Float[Tensor, "b t n e"]:
    """Means over each slot's place: of the backbone's maps of all frames, and of the colours."""
    colours = F.adaptive_avg_pool2d(frames.flatten(0, 1), (maps.shape[-2], maps.shape[-1]))
    seen = torch.cat([maps, colours], dim=1).flatten(2).unflatten(0, frames.shape[:2])
    shares = attention / (attention.sum(-1, keepdim=True) + _NOWHERE)
    return shares @ seen.transpose(-1, -2)
