"""Slot encoder: one scan over the frames of a clip, with explicit state. Paper, section 2."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.compute.cuda_graph import CudaGraphs
from slotcli.compute.precision import cast_like
from slotcli.encoder.appearance import Appearance
from slotcli.encoder.backbone import CompactCnn, ResNet18
from slotcli.encoder.efficientnet import EfficientNetLite0, FeaturePyramid
from slotcli.encoder.initial_slots import GaussianSlots
from slotcli.encoder.predictor import TransformerPredictor
from slotcli.encoder.slot_attention import SlotAttention
from slotcli.encoder.vit import Vit
from slotcli.layers import PositionEmbedding
from slotcli.types import Size, SlotTrack


class SlotEncoder(nn.Module):
    """Backbone, corrector (slot attention) and predictor, scanned over the frames of a clip.

    `size` is the frames' usual size; other multiples of the backbone's stride fit too.
    `slot_bias` adds a learned scalar per slot to its attention logits. `appearance` adds to the
    track how each slot's part of the frame looks. `corrector` makes the slot attention, by default
    on `slot_dim`. `readout` is the hidden width of the network before it. `positions` adds an
    embedding of them to the features. With `gaussian`, initial slots are sampled; `num_slots`
    may then be changed. While gradients are computed, `keeps_features` adds what the backbone
    gave to the track.
    """

    def __init__(
        self,
        backbone: ResNet18 | CompactCnn | FeaturePyramid | Vit,
        predictor: TransformerPredictor | None,
        *,
        size: Size,
        num_slots: int,
        slot_dim: int,
        iterations: int,
        first_iterations: int,
        slot_bias: bool = False,
        appearance: Appearance | None = None,
        corrector: Callable[[], SlotAttention] | None = None,
        readout: int | None = None,
        positions: bool = True,
        gaussian: bool = False,
        initial_deviation: float = 1.0,
        warm_up: int = 0,
        keeps_features: bool = False,
    ) -> None:
        super().__init__()
        self.grid_size = (size[0] // backbone.stride, size[1] // backbone.stride)
        self.iterations = iterations
        self.first_iterations = first_iterations
        self.warm_up = warm_up
        self.backbone = backbone
        self.position = (
            PositionEmbedding(backbone.width, self.grid_size) if positions else nn.Identity()
        )
        hidden = readout or slot_dim
        self.readout = nn.Sequential(
            nn.LayerNorm(backbone.width),
            nn.Linear(backbone.width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, slot_dim),
        )
        self.num_slots = num_slots
        self.initial: GaussianSlots | None = None
        if gaussian:
            self.initial = GaussianSlots(slot_dim, initial_deviation)
        else:
            # In place: a product on a meta device would load torch._dynamo.
            start = torch.randn(1, num_slots, slot_dim).mul_(initial_deviation)
            self.initial_slots = nn.Parameter(start)
        self.slot_bias = nn.Parameter(torch.zeros(num_slots)) if slot_bias else None
        # Built in this order, a seed gives the weights that it gave before there were options.
        self.corrector = corrector() if corrector is not None else SlotAttention(slot_dim)
        self.predictor = predictor
        self.appearance = appearance
        self.keeps_features = keeps_features
        self._graphs = CudaGraphs("The encoding of a frame")

    @property
    def takes_any_size(self) -> bool:
        """Whether the encoder takes frames of any shape whose sides are multiples of 32."""
        return isinstance(self.backbone, FeaturePyramid)

    @property
    def trunk(self) -> EfficientNetLite0 | Vit | None:
        """The part of the backbone that has pretrained weights, if any."""
        if isinstance(self.backbone, FeaturePyramid):
            return self.backbone.trunk
        return self.backbone if isinstance(self.backbone, Vit) else None

    def first_guess(self, clips: int) -> Float[Tensor, "b n d"]:
        """Slots from which the first frame of each clip starts."""
        if self.initial is not None:
            return self.initial(clips, self.num_slots)
        return self.initial_slots.expand(clips, -1, -1)

    def train(self, mode: bool = True) -> "SlotEncoder":
        """Sets the training mode; frees the CUDA graphs, for training needs their memory."""
        super().train(mode)
        if mode:
            self._graphs.free()
        return self

    def features(self, frames: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t p d"]:
        """Inputs of slot attention for each frame independently; frames are in [-1, 1]."""
        maps = self._maps(frames)[:, : self.backbone.width]
        return self._inputs(maps).unflatten(0, frames.shape[:2])

    def forward(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        state: Float[Tensor, "b n d"] | None = None,
        permitted: Float[Tensor, "b n i j"] | None = None,
    ) -> SlotTrack:
        """Slots and attention of a clip, or of its next chunk.

        `frames` are in [-1, 1]. `state` is the slots of the previous chunk's last frame, None at
        the start of a clip; a clip encoded in chunks equals the clip encoded whole, if the first
        one holds the frames of the warm-up. `permitted`, as in `SlotAttention`, restricts the
        attention of the first frame at the start of a clip, which then has no warm-up.
        """
        given = self._maps(frames)
        maps = given[:, : self.backbone.width]  # a Vit's keys may follow
        features = self._inputs(maps).unflatten(0, frames.shape[:2])
        if state is None and permitted is None and not torch.is_grad_enabled():
            state = self._warmed_up(features)  # EN8
        slots, attention = self.scan(features, state, permitted)
        return SlotTrack(
            slots=slots,
            attention=attention.unflatten(
                3, tuple(side // self.backbone.stride for side in frames.shape[-2:])
            ),
            appearance=self.appearance and self.appearance(attention, maps, frames),
            **self._kept(given.unflatten(0, frames.shape[:2])),
        )

    def scan(
        self,
        features: Float[Tensor, "b t p d"],
        state: Float[Tensor, "b n d"] | None = None,
        permitted: Float[Tensor, "b n i j"] | None = None,
    ) -> tuple[Float[Tensor, "b t n d"], Float[Tensor, "b t n p"]]:
        """Slots and attention from the features of frames; the rest as in `forward`."""
        mean, rstd = self.corrector.statistics(features)
        step = self._step
        if not torch.is_grad_enabled():
            step = self._graphs.bind(self, step)
        slots = state
        track: list[tuple[Tensor, Tensor]] = []
        for i, frame in enumerate(features.unbind(1)):
            read = (frame, (mean[:, i], rstd[:, i]))
            if slots is None:
                guess = self.first_guess(len(features))
                corrected = () if permitted is None else (permitted.flatten(2),)
                slots, attention = self.corrector(
                    guess, *read, self.first_iterations, self.slot_bias, *corrected
                )
            else:
                slots, attention = step(slots, *read)
            track.append((slots, attention))
        return (
            torch.stack([slots for slots, _ in track], dim=1),
            torch.stack([attention for _, attention in track], dim=1),
        )

    def _warmed_up(self, features: Float[Tensor, "b t p d"]) -> Float[Tensor, "b n d"] | None:
        """Slots of the second frame, after the next ones backwards; None without a warm-up."""
        ahead = features[:, 1 : self.warm_up + 1].flip(1)
        return self.scan(ahead)[0][:, -1] if ahead.shape[1] else None

    def predict_next(self, slots: Float[Tensor, "b t n d"]) -> Float[Tensor, "b t n d"]:
        """Predicts the next frame's slots from each frame's; requires a predictor."""
        assert self.predictor is not None
        return self.predictor(slots.flatten(0, 1)).unflatten(0, slots.shape[:2])

    def _kept(self, given: Float[Tensor, "b t c i j"]) -> dict[str, Tensor]:
        """The training targets of a decoder of features, from the backbone's output."""
        if not self.keeps_features or not torch.is_grad_enabled():
            return {}
        width = self.backbone.width
        kept = {"features": given[:, :, :width]}
        return kept if given.shape[2] == width else kept | {"keys": given[:, :, width:]}

    def _maps(self, frames: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "f c i j"]:
        maps = self.backbone(cast_like(self.backbone, frames.flatten(0, 1)))
        return maps.to(frames.dtype)

    def _inputs(self, maps: Float[Tensor, "f c i j"]) -> Float[Tensor, "f p d"]:
        return self.readout(self.position(maps).flatten(2).transpose(1, 2))

    def _step(
        self,
        slots: Float[Tensor, "b n d"],
        features: Float[Tensor, "b p d"],
        statistics: tuple[Float[Tensor, "b p"], Float[Tensor, "b p"]],
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n p"]]:
        """Slots and attention of a frame, from the slots of the previous frame."""
        guess = slots if self.predictor is None else self.predictor(slots)
        return self.corrector(guess, features, statistics, self.iterations, self.slot_bias)
