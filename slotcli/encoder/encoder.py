"""Frames to slots: one scan over time, with its state in the arguments. Paper, section 2."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.encoder.backbone import CompactCnn, ResNet18
from slotcli.encoder.efficientnet import FeaturePyramid
from slotcli.encoder.predictor import TransformerPredictor
from slotcli.encoder.slot_attention import SlotAttention
from slotcli.kernels.cuda_graph import CudaGraphs
from slotcli.kernels.position import PositionEmbedding
from slotcli.kernels.precision import rounded_for
from slotcli.types import Size, SlotTrack


class SlotEncoder(nn.Module):
    """Backbone, corrector (slot attention) and predictor, scanned over the frames of a clip.

    `size` is that of the frames it is mostly used with; others of its backbone's multiples fit too.
    With `slot_bias` each slot has a learned number that is added to its attention logits.
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
        maps = self.backbone(rounded_for(self.backbone, frames.flatten(0, 1))).to(frames.dtype)
        maps = self.position(maps)
        return self.readout(maps.flatten(2).transpose(1, 2)).unflatten(0, frames.shape[:2])

    def forward(
        self, frames: Float[Tensor, "b t 3 h w"], state: Float[Tensor, "b n d"] | None = None
    ) -> SlotTrack:
        """Slots and attention of a clip, or of its next chunk.

        `frames` are in [-1, 1]. `state` is the last frame's slots of the chunk before, None at the
        start of a clip; a clip encoded in chunks equals the clip encoded whole.
        """
        features = self.features(frames)
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
        return SlotTrack(
            slots=torch.stack([slots for slots, _ in track], dim=1),
            attention=torch.stack([attention for _, attention in track], dim=1).unflatten(
                3, tuple(side // self.backbone.stride for side in frames.shape[-2:])
            ),
        )

    def predicted(self, slots: Float[Tensor, "b t n d"]) -> Float[Tensor, "b t n d"]:
        """What each frame's slots are expected to be one frame later; needs a predictor."""
        assert self.predictor is not None
        return self.predictor(slots.flatten(0, 1)).unflatten(0, slots.shape[:2])

    def _carried_on(
        self,
        slots: Float[Tensor, "b n d"],
        features: Float[Tensor, "b p d"],
        statistics: tuple[Float[Tensor, "b p"], Float[Tensor, "b p"]],
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n p"]]:
        """Slots and attention of a frame, from the slots of the frame before."""
        guess = slots if self.predictor is None else self.predictor(slots)
        return self.corrector(guess, features, statistics, self.iterations, self.slot_bias)
