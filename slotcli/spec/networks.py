"""The networks of a model: backbone, encoder, codec, decoder."""

from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, model_validator

from slotcli.spec.values import Depth, Fraction, Levels, Record, Side, Width

_DECODERS = (
    "latent_diffusion, token_transformer, spatial_broadcast; patch_mlp and slot_mixer, which draw "
    "no frames; or none: masks only."
)
_CODECS = "vqvae (for latent_diffusion) or dvae (for token_transformer)."


class ResNet18Spec(Record):
    """The paper's modified ResNet18: stride-1 stem, three stages, a quarter of the input's size."""

    kind: Literal["resnet18"]


class CompactCnnSpec(Record):
    """A small two-scale network for small models: half of the input's size."""

    kind: Literal["compact_cnn"]
    channels: Width = 32


class EfficientNetLite0Spec(Record):
    """EfficientNet-Lite0 with ImageNet weights, and a pyramid over it: a quarter of the input's."""

    kind: Literal["efficientnet_lite0"]
    channels: Width = 96


class VitSpec(Record):
    """A plain vision transformer, whose tokens of the last of `blocks` are read before any norm.

    `grid` is the number of patches per side that its table of positions has; with
    `positions = "rotary"`, as in DINOv3, there is no table.
    """

    kind: Literal["vit"]
    patch: Annotated[int, Field(gt=0, le=64)]
    width: Width
    heads: Width
    blocks: Depth = 12
    positions: Literal["table", "rotary"] = "table"
    grid: Side | None = None
    layer_scale: bool
    registers: Annotated[int, Field(ge=0, le=64)] = 0

    @model_validator(mode="after")
    def _heads_fit(self) -> "VitSpec":
        if self.width % self.heads:
            raise ValueError("width does not divide into the heads")
        if self.positions == "rotary" and self.width // self.heads % 4:
            raise ValueError("rotary positions need a width of a head that is a multiple of 4")
        if (self.grid is None) != (self.positions == "rotary"):
            raise ValueError("grid is the size of a table of positions: give it with one alone")
        return self


BackboneSpec = Annotated[
    ResNet18Spec | CompactCnnSpec | EfficientNetLite0Spec | VitSpec, Field(discriminator="kind")
]


class PredictorSpec(Record):
    layers: Depth = 2
    identity_start: bool = False
    dropout: Fraction = 0.1


class EncoderSpec(Record):
    backbone: BackboneSpec = Field(
        description=(
            "resnet18 is the paper's; compact_cnn, with channels, a small one; "
            "efficientnet_lite0, with channels, a feature pyramid over a network trained on "
            "ImageNet; vit a vision transformer as DINO, DINOv2 and DINOv3, frozen."
        )
    )
    iterations: Depth = Field(default=2, description="Slot attention iterations per frame.")
    first_iterations: Depth = Field(
        default=2, description="Slot attention iterations in the first frame of a clip."
    )
    predictor: PredictorSpec | None = Field(
        default=None,
        description=(
            "A transformer from each frame's slots to the next frame's; models for images "
            "have none."
        ),
    )
    slot_bias: bool = Field(
        default=False,
        description="Whether a learned scalar is added to each slot's attention logits.",
    )
    positions: bool = Field(
        default=True,
        description="Whether positions are added to the features; those of a vit have them.",
    )
    readout: Width | None = Field(
        default=None, description="Hidden width of the readout. Left out: slot_dim."
    )
    initial_slots: Literal["learned", "gaussian"] = Field(
        default="learned",
        description=(
            "learned: a vector per slot; gaussian: drawn from one distribution, so that a clip "
            "may have any number of slots."
        ),
    )
    initial_deviation: Annotated[float, Field(gt=0, le=1e3)] = Field(
        default=1.0, description="Standard deviation of untrained initial slots."
    )
    warm_up: Annotated[int, Field(ge=0, le=15)] = Field(
        default=0,
        description=(
            "Frames after the first that are read backwards before a clip starts, so that slots "
            "have settled in its first frame; not while training."
        ),
    )
    gru_state: Literal["slots", "normalised"] = Field(
        default="slots",
        description=(
            "State of slot attention's GRU: the slots (Locatello et al.), or their normalised form."
        ),
    )
    read_eps: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=1e-6,
        description=(
            "Added to the attention before it is normalised over positions (Locatello et al.: "
            "1e-6); it decides what a slot without attention reads."
        ),
    )
    slot_mlp: Annotated[int, Field(ge=0, le=16)] = Field(
        default=2, description="Hidden width of slot attention's MLP in slot_dims; 0: no MLP."
    )


class VqvaeSpec(Record):
    kind: Literal["vqvae"] = Field(default="vqvae", description=_CODECS)
    channels: Width = Field(default=64, description="Channels at full resolution.")
    multipliers: Levels = Field(
        default=(1, 2, 4),
        description="Channel multiplier of each level; each level halves the resolution.",
    )
    res_blocks: Depth = Field(default=2, description="Residual blocks per level.")
    latent_channels: Width = Field(default=3, description="Channels of the latents.")
    num_codes: Width = Field(default=4096, description="Entries of the codebook.")
    shortcuts: bool = Field(
        default=False,
        description="Whether colour has a linear path past the networks (the published: no).",
    )

    @property
    def downsampling(self) -> int:
        return 2 ** (len(self.multipliers) - 1)


class DvaeSpec(Record):
    """The discrete VAE of SLATE and STEVE: one token for each 4x4 block of pixels."""

    kind: Literal["dvae"] = Field(default="dvae", description=_CODECS)
    channels: Width = Field(default=64, description="Channels at full resolution.")
    num_codes: Width = Field(default=4096, description="Entries of the codebook.")

    @property
    def downsampling(self) -> int:
        return 4


class PixelsSpec(Record):
    """No codec: latents are the pixels themselves, and there is nothing to train beforehand."""

    kind: Literal["pixels"]

    @property
    def downsampling(self) -> int:
        return 1

    @property
    def latent_channels(self) -> int:
        return 3


def vqvae_by_default(value: object) -> object:
    return {"kind": "vqvae"} | cast(dict[str, Any], value) if isinstance(value, dict) else value


class SpatialBroadcastSpec(Record):
    """Decodes frames, or with a `codec` its latents, as SAVi's twin of SlotDiffusion."""

    kind: Literal["spatial_broadcast"] = Field(description=_DECODERS)
    channels: Width = Field(
        default=64,
        description="Channels at full resolution; the other levels have multiples of it.",
    )
    codec: VqvaeSpec | None = Field(
        default=None, description="Has to equal the codec that train.codec defines."
    )


class TokenTransformerSpec(Record):
    kind: Literal["token_transformer"] = Field(description=_DECODERS)
    codec: DvaeSpec = Field(
        default=DvaeSpec(), description="Has to equal the codec that train.codec defines."
    )
    blocks: Depth = Field(default=8, description="Transformer blocks.")
    heads: Width = Field(default=4, description="Attention heads.")


class LatentDiffusionSpec(Record):
    kind: Literal["latent_diffusion"] = Field(description=_DECODERS)
    codec: Annotated[
        VqvaeSpec | PixelsSpec,
        Field(discriminator="kind"),
        BeforeValidator(vqvae_by_default),
    ] = Field(default=VqvaeSpec(), description="Has to equal the codec that train.codec defines.")
    channels: Width = Field(
        default=128,
        description="Channels at full resolution; the other levels have multiples of it.",
    )
    multipliers: Levels = Field(
        default=(1, 2, 3, 4),
        description="Channel multiplier of each level; each level halves the resolution.",
    )
    res_blocks: Depth = Field(default=2, description="Residual blocks per level.")
    target: Literal["eps", "x0", "v"] = Field(
        default="eps", description="What the U-Net predicts: eps (the paper), x0 or v."
    )
    positions: bool = Field(
        default=False,
        description="Whether the U-Net has position embeddings (the paper's has none).",
    )
    layout: Annotated[int, Field(ge=0, le=2**16)] = Field(
        default=0,
        description="Channels in which the U-Net sees where slots are; 0, the paper's: none.",
    )
    appearance: bool = Field(
        default=False, description="Whether it also reads how each slot's place looks in the frame."
    )
    colour_grid: Annotated[int, Field(ge=0, le=32)] = Field(
        default=0,
        description=(
            "Points per side of the grid of colours that each slot keeps; 0: its mean colour"
            " only. Requires appearance and layout."
        ),
    )
    fine_layout: bool = Field(
        default=False,
        description=(
            "Whether the U-Net sees where slots are for each latent, not once per patch. Requires"
            " layout."
        ),
    )
    patch: Annotated[int, Field(gt=0, le=64)] = Field(
        default=1,
        description=(
            "Side of the squares of latents that the U-Net takes as one position (1: the paper)."
        ),
    )
    null_tokens: Annotated[int, Field(ge=0, le=2**16)] = Field(
        default=0, description="Null tokens beside the slots, for positions where no slot fits."
    )
    latent_scale: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="Factor on the codec's latents, to give them unit variance."
    )
    noise_scale: Annotated[float, Field(ge=0)] = Field(
        default=1.0,
        description="Standard deviation of the noise that rendering starts from (1: paper).",
    )
    evaluations: Annotated[int, Field(gt=0, le=1000)] = Field(
        default=20, description="Function evaluations a rendered frame takes (20: the paper)."
    )
    quantise: bool = Field(
        default=True,
        description="Whether rendered latents are moved to the codec's codes (the paper: yes).",
    )
    deblocking: bool = Field(
        default=False,
        description=(
            "Whether a linear filter removes the codec's blocks from renderings; training fits it"
            " before each evaluation (the paper: no)."
        ),
    )

    @model_validator(mode="after")
    def _complete(self) -> "LatentDiffusionSpec":
        if self.colour_grid and not (self.appearance and self.layout):
            raise ValueError("colour_grid requires appearance = true and layout above 0")
        if self.fine_layout and not self.layout:
            raise ValueError("fine_layout requires layout above 0")
        return self

    @property
    def reads_frames(self) -> bool:
        """Whether the decoder needs more than the slots."""
        return self.appearance or self.layout > 0


class PatchMlpSpec(Record):
    """A mixture of features, one MLP for all slots and positions (DINOSAUR, SlotContrast)."""

    kind: Literal["patch_mlp"] = Field(description=_DECODERS)
    channels: Width = Field(default=1024, description="Width of the hidden layers.")
    layers: Depth = Field(default=3, description="Hidden layers.")


class SlotMixerSpec(Record):
    """Positions read the slots, then each is rendered once (Sajjadi et al. 2022, VideoSAUR)."""

    kind: Literal["slot_mixer"] = Field(description=_DECODERS)
    blocks: Depth = Field(default=2, description="Blocks that mix slots at each position.")
    channels: Width = Field(default=1024, description="Width of the renderer's layers.")
    layers: Depth = Field(default=3, description="The renderer's layers.")
    features: bool = Field(
        default=True,
        description="Whether features are reconstructed, beside the logits of similarities.",
    )


class MasksOnlySpec(Record):
    """No decoder: `train.mask_weight` is the only loss."""

    kind: Literal["none"] = Field(description=_DECODERS)


DecoderSpec = Annotated[
    SpatialBroadcastSpec
    | TokenTransformerSpec
    | LatentDiffusionSpec
    | PatchMlpSpec
    | SlotMixerSpec
    | MasksOnlySpec,
    Field(discriminator="kind"),
]
