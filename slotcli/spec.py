"""Every parameter of a model and of its training, as frozen, checked records.

No torch here: `definition.py` reads these records from TOML, `build.py` turns them into networks.
Defaults are the paper's values; a parameter exists only where two published or shipped models differ
in it.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)


def _unicode(text: str) -> str:
    """Bytes of a command line that are no text would not fit into the JSON that specs travel in."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not Unicode; rename what it stands for") from None
    return text


# The upper limits are far beyond any model. They keep a definition from elsewhere from asking for
# networks that take hours to put together, or sizes that do not fit into 64 bits.
PositiveInt = Annotated[int, Field(gt=0, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Side = Annotated[int, Field(gt=0, le=4096)]
Width = Annotated[int, Field(gt=0, le=2**16)]
Depth = Annotated[int, Field(gt=0, le=64)]
Levels = Annotated[tuple[Depth, ...], Field(min_length=1, max_length=8)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, AfterValidator(_unicode)]
TierName = Literal["A", "C", "E"]
SplitName = Literal["train", "validation", "test"]


class Record(BaseModel):
    # JSON, in which specs travel, knows neither infinity nor NaN.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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


BackboneSpec = Annotated[
    ResNet18Spec | CompactCnnSpec | EfficientNetLite0Spec, Field(discriminator="kind")
]


class PredictorSpec(Record):
    layers: Depth = 2
    identity_start: bool = False


class EncoderSpec(Record):
    backbone: BackboneSpec
    iterations: Depth = 2
    first_iterations: Depth = 2
    predictor: PredictorSpec | None = None
    slot_bias: bool = False


class VqvaeSpec(Record):
    kind: Literal["vqvae"] = "vqvae"
    channels: Width = 64
    multipliers: Levels = (1, 2, 4)
    res_blocks: Depth = 2
    latent_channels: Width = 3
    num_codes: Width = 4096
    shortcuts: bool = False

    @property
    def downsampling(self) -> int:
        return 2 ** (len(self.multipliers) - 1)


class DvaeSpec(Record):
    """The discrete VAE of SLATE and STEVE: one token for each 4x4 block of pixels."""

    kind: Literal["dvae"] = "dvae"
    channels: Width = 64
    num_codes: Width = 4096

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


def _vqvae_unless_said(value: object) -> object:
    return {"kind": "vqvae"} | cast(dict[str, Any], value) if isinstance(value, dict) else value


class SpatialBroadcastSpec(Record):
    """Draws frames, or with a `codec` its latents, as SAVi's twin of SlotDiffusion."""

    kind: Literal["spatial_broadcast"]
    channels: Width = 64
    codec: VqvaeSpec | None = None


class TokenTransformerSpec(Record):
    kind: Literal["token_transformer"]
    codec: DvaeSpec = DvaeSpec()
    blocks: Depth = 8
    heads: Width = 4


class LatentDiffusionSpec(Record):
    kind: Literal["latent_diffusion"]
    codec: Annotated[
        VqvaeSpec | PixelsSpec,
        Field(discriminator="kind"),
        BeforeValidator(_vqvae_unless_said),
    ] = VqvaeSpec()
    channels: Width = 128
    multipliers: Levels = (1, 2, 3, 4)
    res_blocks: Depth = 2
    target: Literal["eps", "x0", "v"] = "eps"
    positions: bool = False
    layout: Annotated[int, Field(ge=0, le=2**16)] = 0
    appearance: bool = False
    patch: Annotated[int, Field(gt=0, le=64)] = 1
    null_tokens: Annotated[int, Field(ge=0, le=2**16)] = 0
    latent_scale: Annotated[float, Field(gt=0)] = 1.0
    noise_scale: Annotated[float, Field(ge=0)] = 1.0
    evaluations: Annotated[int, Field(gt=0, le=1000)] = 20

    @property
    def reads_frames(self) -> bool:
        """Whether slots alone are not enough to draw from."""
        return self.appearance or self.layout > 0


class MasksOnlySpec(Record):
    """No decoder: only `train.mask_weight` is there to learn from."""

    kind: Literal["none"]


class SynthSpec(Record):
    """Clips from the scene generator; `mix` gives each tier's share, `clips` how many are made.

    With a `cache`, a folder, rendered clips are kept there and read again by later runs.
    """

    kind: Literal["synth"] = "synth"
    mix: dict[TierName, Fraction] = {"A": 0.2, "C": 0.5, "E": 0.3}
    clips: PositiveInt = 2000
    frames: PositiveInt = 12
    seed: Seed = 0
    cache: Text | None = None


class FolderSpec(Record):
    """Every clip found under a folder, cut into windows."""

    kind: Literal["folder"] = "folder"
    path: Text


class PublicSpec(Record):
    """A split of a published data set, in any layout that is in use for it."""

    kind: Literal["movi", "clevrtex", "celeba", "davis", "ytvis"]
    path: Text
    split: SplitName = "train"


class SpritesSpec(Record):
    """Clips of moving pictures with alpha (`objects`) over `photographs`, both folders."""

    kind: Literal["sprites"] = "sprites"
    objects: Text
    photographs: Text
    clips: PositiveInt = 1_000_000
    frames: PositiveInt = 24
    seed: Seed = 0


SingleSpec = Annotated[
    SynthSpec | FolderSpec | PublicSpec | SpritesSpec, Field(discriminator="kind")
]


class MixturePartSpec(Record):
    """A share of the clips; below a hundredth it would not be kept to exactly enough."""

    share: Annotated[float, Field(ge=0.01, le=1)]
    data: SingleSpec


class MixtureSpec(Record):
    """Several kinds of data in one run, each with its share of the clips."""

    kind: Literal["mixture"] = "mixture"
    parts: Annotated[tuple[MixturePartSpec, ...], Field(min_length=1, max_length=32)]

    @model_validator(mode="after")
    def _shares_add_up(self) -> "MixtureSpec":
        total = sum(part.share for part in self.parts)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of a mixture's parts add up to {total:g}, not 1")
        return self


DataSpec = Annotated[
    SynthSpec | FolderSpec | PublicSpec | SpritesSpec | MixtureSpec, Field(discriminator="kind")
]


class OptimiserSpec(Record):
    """A batch is taken in `accumulate` parts, one after the other, and by all processes together.

    Of the states that a run is saved in, the last `keep_last`, the best, and those of every
    `keep_every`-th step are kept. With a `patience` the start is evaluated too, and the run ends
    after so many evaluations without a better score; 0 has neither.
    """

    steps: PositiveInt
    batch_size: PositiveInt
    accumulate: PositiveInt = 1
    learning_rate: Annotated[float, Field(gt=0)]
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    warmup: Fraction = 0.05
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    evaluate_every: PositiveInt = 1000
    patience: Annotated[int, Field(ge=0, lt=2**31)] = 0
    keep_last: PositiveInt = 2
    keep_every: Annotated[int, Field(ge=0, lt=2**31)] = 0
    flip: bool = False
    seed: Seed = 0


class CodecTrainSpec(OptimiserSpec):
    """The weights are of a VQ-VAE's terms beside L1; the published ones have a perceptual one.

    A batch has `frames_per_clip` frames in a row of each of its clips, and with a `crop` a square
    of so many pixels of each frame, each from another place; 0 takes frames as they are.
    """

    data: DataSpec = SynthSpec()
    frames_per_clip: PositiveInt = 1
    crop: Annotated[int, Field(ge=0, le=4096)] = 0
    perceptual_weight: Annotated[float, Field(ge=0)] = 0.0
    gradient_weight: Annotated[float, Field(ge=0)] = 0.0
    chroma_weight: Annotated[float, Field(ge=0)] = 0.0
    quantise_from: Fraction = 0.0


class SlotTrainSpec(OptimiserSpec):
    """`codec` is the trained codec of the decoder, None for a decoder that works without one.

    `mask_weight` is that of the loss between attention and the data's instance masks, which it then
    needs. With `sizes`, each step has frames of one of these, not of the model's size.
    `trunk_learning_rate` is that of a backbone's ImageNet weights; 0 leaves them as they are.

    The term of `coherence_weight` asks slots to be of one colour, or of one moving thing. It falls
    to 0 over a share `coherence_until` of the steps, if given.
    """

    codec: Text | None = None
    data: DataSpec = SynthSpec()
    decoder_learning_rate: Annotated[float, Field(gt=0)]
    trunk_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    mask_weight: Annotated[float, Field(ge=0)] = 0.0
    sizes: tuple[tuple[Side, Side], ...] = ()
    clip_length: PositiveInt = 3
    clip_stride: PositiveInt = 1
    timesteps: Literal["uniform", "mid"] = "uniform"
    coherence_weight: Annotated[float, Field(ge=0)] = 0.0
    coherence_of: Literal["colour", "motion"] = "colour"
    coherence_until: Annotated[float, Field(gt=0, le=1)] | None = None
    contrast_weight: Annotated[float, Field(ge=0)] = 0.0
    next_frame: Fraction = 0.0
    freeze_encoder: bool = False
    cache_latents: bool = True
    cache_encoder: bool = False


class CodecModelSpec(Record):
    kind: Literal["codec"]
    name: Text
    size: tuple[Side, Side] = (128, 128)
    codec: Annotated[
        VqvaeSpec | DvaeSpec, Field(discriminator="kind"), BeforeValidator(_vqvae_unless_said)
    ] = VqvaeSpec()
    train: CodecTrainSpec

    @model_validator(mode="after")
    def _training_fits_the_codec(self) -> "CodecModelSpec":
        train = self.train
        if isinstance(self.codec, DvaeSpec) and (
            train.perceptual_weight
            or train.gradient_weight
            or train.chroma_weight
            or train.quantise_from
        ):
            raise ValueError(
                "train.perceptual_weight, gradient_weight, chroma_weight and quantise_from are for"
                " a VQ-VAE; a dVAE learns from squared errors alone"
            )
        if train.crop > min(self.size):
            raise ValueError(f"train.crop: {train.crop} pixels are more than a frame has")
        if train.crop % self.codec.downsampling:
            raise ValueError(f"train.crop: does not divide by {self.codec.downsampling}")
        if train.batch_size % train.frames_per_clip:
            raise ValueError("train.frames_per_clip: does not divide train.batch_size")
        return self


DecoderSpec = Annotated[
    SpatialBroadcastSpec | TokenTransformerSpec | LatentDiffusionSpec | MasksOnlySpec,
    Field(discriminator="kind"),
]


class SlotModelSpec(Record):
    kind: Literal["slot_model"]
    name: Text
    size: tuple[Side, Side] = (128, 128)
    num_slots: Width
    slot_dim: Width = 192
    encoder: EncoderSpec
    decoder: DecoderSpec
    train: SlotTrainSpec

    @property
    def background_slot(self) -> int | None:
        """The slot that training made the background, None where it made none."""
        return 0 if self.train.mask_weight else None

    @property
    def codec(self) -> VqvaeSpec | DvaeSpec | None:
        """The codec that has to be trained before the model, if it has one."""
        codec = getattr(self.decoder, "codec", None)
        return codec if isinstance(codec, VqvaeSpec | DvaeSpec) else None

    @model_validator(mode="after")
    def _codec_is_named(self) -> "SlotModelSpec":
        if self.codec is not None and self.train.codec is None:
            raise ValueError("train.codec is missing: this decoder needs a trained codec")
        if self.codec is None and self.train.codec is not None:
            raise ValueError("train.codec is given, but this decoder works without a codec")
        return self

    @model_validator(mode="after")
    def _something_is_learnt(self) -> "SlotModelSpec":
        train = self.train
        if isinstance(self.decoder, MasksOnlySpec):
            if not train.mask_weight:
                raise ValueError("train.mask_weight is 0: without a decoder nothing is learnt")
            if train.next_frame:
                raise ValueError("train.next_frame needs a decoder")
        elif train.sizes:
            raise ValueError("train.sizes: only a model without a decoder learns from several")
        if train.trunk_learning_rate and not isinstance(
            self.encoder.backbone, EfficientNetLite0Spec
        ):
            raise ValueError("train.trunk_learning_rate: this backbone has no ImageNet weights")
        return self

    @model_validator(mode="after")
    def _time_is_there(self) -> "SlotModelSpec":
        train = self.train
        if (train.contrast_weight or train.next_frame) and train.clip_length < 2:
            raise ValueError("train.contrast_weight and next_frame need a train.clip_length of 2")
        if train.next_frame and self.encoder.predictor is None:
            raise ValueError("train.next_frame needs an encoder.predictor")
        return self

    @model_validator(mode="after")
    def _decoder_can_be_drawn_from(self) -> "SlotModelSpec":
        train = self.train
        if train.next_frame and getattr(self.decoder, "reads_frames", False):
            raise ValueError("train.next_frame: nobody knows the layout of a frame to come")
        if train.cache_encoder:
            if not train.freeze_encoder:
                raise ValueError("train.cache_encoder needs train.freeze_encoder")
            if isinstance(self.decoder, MasksOnlySpec):
                raise ValueError("train.cache_encoder needs a decoder, which alone is trained")
            if train.coherence_weight or train.contrast_weight or train.next_frame:
                raise ValueError(
                    "train.coherence_weight, contrast_weight and next_frame are for an encoder"
                    " that learns, which train.cache_encoder excludes"
                )
        return self


ModelSpec = Annotated[CodecModelSpec | SlotModelSpec, Field(discriminator="kind")]
