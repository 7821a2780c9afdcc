"""The parameters of training."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from slotcli.spec.data import DataSpec, SynthSpec
from slotcli.spec.values import Fraction, PositiveInt, Record, Seed, Side, Text


class OptimiserSpec(Record):
    """A batch is processed in `accumulate` parts, one after the other, by all processes together.

    Of the saved states of a run, the last `keep_last`, the best, and those of every `keep_every`-th
    step are kept. With a `patience` the start is evaluated too, and the run ends after `patience`
    evaluations without a better score; 0 disables both.
    """

    steps: PositiveInt = Field(description="Optimiser steps.")
    batch_size: PositiveInt = Field(description="Clips (for a codec: frames) per step.")
    accumulate: PositiveInt = Field(
        default=1, description="Gradient accumulation: parts per batch, to save memory."
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        description="Adam's peak learning rate; the decay follows the warm-up."
    )
    decay: Literal["cosine", "exponential"] = Field(
        default="cosine",
        description=(
            "How the rate falls after the warm-up: by a cosine, or by the same factor each step."
        ),
    )
    final_learning_rate: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Learning rate at the last step."
    )
    warmup: Fraction = Field(
        default=0.05, description="Share of the steps in which the learning rate rises from 0."
    )
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Gradients are clipped to this norm. Left out: no clipping."
    )
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Decay of the moving average of the weights, which is saved and used; 0: none.",
    )
    evaluate_every: PositiveInt = Field(
        default=1000,
        description="Steps between evaluations on held-out clips; each saves a state too.",
    )
    patience: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=0,
        description=(
            "Early stopping: evaluations in a row without a better score after which the "
            "run ends; the start is then evaluated too. 0: none."
        ),
    )
    keep_last: PositiveInt = Field(
        default=2, description="How many of the latest saved states are kept."
    )
    keep_every: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=0, description="The state of every N-th step is kept too; 0: none of these."
    )
    flip: bool = Field(default=False, description="Whether clips are mirrored at random.")
    seed: Seed = Field(
        default=0,
        description="Seed of weights, batches and noise. Degenerate runs happen: try several.",
    )

    @model_validator(mode="after")
    def _decay_ends_above_nothing(self) -> "OptimiserSpec":
        if self.decay == "exponential" and not self.final_learning_rate:
            raise ValueError("final_learning_rate: an exponential decay never reaches 0")
        return self


class CodecTrainSpec(OptimiserSpec):
    """The weights are of a VQ-VAE's terms beside L1; the published ones have a perceptual one.

    A batch has `frames_per_clip` consecutive frames of each of its clips, and with a `crop` a
    square with sides of `crop` pixels at a random position of each frame; 0 uses whole frames.
    """

    data: DataSpec = Field(
        default=SynthSpec(),
        description=(
            'Also: { kind = "folder", path = "clips" }, or movi, clevrtex, celeba, davis, '
            "ytvis, each with path and split. `train --data FOLDER` replaces it."
        ),
    )
    frames_per_clip: PositiveInt = Field(
        default=1, description="Consecutive frames of each clip in a codec's batch."
    )
    crop: Annotated[int, Field(ge=0, le=4096)] = Field(
        default=0,
        description="Side of the random square crop a codec is trained on; 0: whole frames.",
    )
    perceptual_weight: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Weight of LPIPS in a VQ-VAE's loss; it needs VGG16's weights."
    )
    gradient_weight: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Weight of the difference of image gradients in a VQ-VAE's loss."
    )
    chroma_weight: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="Weight of the difference of colours, brightness apart, in that loss.",
    )
    quantise_from: Fraction = Field(
        default=0.0, description="Share of the steps after which a VQ-VAE's latents are quantised."
    )


class SlotTrainSpec(OptimiserSpec):
    """`codec` is the trained codec of the decoder, None for a decoder that works without one.

    `mask_weight` is that of the loss between attention and the data's instance masks, which are
    then required. With `sizes`, each step has frames of one of these, not of the model's size.
    `trunk_learning_rate` is that of a backbone's ImageNet weights; 0 freezes them.

    `grouping_weight` is that of the auxiliary grouping loss, which makes slots uniform in colour,
    or in motion. It falls to 0 over the fraction `grouping_until` of the steps, if given.
    """

    codec: Text | None = Field(
        default=None,
        description="The trained codec: a model's name, its folder or its weights file.",
    )
    data: DataSpec = Field(
        default=SynthSpec(),
        description=(
            'Also: { kind = "folder", path = "clips" }, or movi, clevrtex, celeba, davis, '
            "ytvis, each with path and split. `train --data FOLDER` replaces it."
        ),
    )
    decoder_learning_rate: Annotated[float, Field(gt=0)] = Field(
        description="Peak learning rate of the decoder."
    )
    trunk_learning_rate: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="Peak learning rate of the backbone's ImageNet weights; 0 keeps them frozen.",
    )
    mask_weight: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="Weight of the loss on instance masks, which the data must then have.",
    )
    sizes: tuple[tuple[Side, Side], ...] = Field(
        default=(),
        description="Frame sizes that steps draw from, for a model without a decoder; []: `size`.",
    )
    clip_length: PositiveInt = Field(default=3, description="Frames per training window.")
    clip_stride: PositiveInt = Field(
        default=1, description="Distance between two frames of a window, in frames of the clip."
    )
    timesteps: Literal["uniform", "mid"] = Field(
        default="uniform",
        description=(
            "How diffusion timesteps are sampled: uniform (the paper), or mid: fewer extremes."
        ),
    )
    grouping_weight: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Weight of the auxiliary grouping loss; 0 in the published models."
    )
    grouping_by: Literal["colour", "motion"] = Field(
        default="colour",
        description="Feature that loss groups pixels by: colour, or motion (for still cameras).",
    )
    grouping_until: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Fraction of the steps over which that weight falls to 0. Left out: constant.",
    )
    contrast_weight: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="Weight of a contrastive loss: distinct slots that persist over time.",
    )
    similarity_weight: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description=(
            "Weight of the loss that predicts which patches of the next frame have similar "
            "features (VideoSAUR); for slot_mixer."
        ),
    )
    similarity_temperature: Annotated[float, Field(gt=0)] = Field(
        default=0.075, description="Temperature of those similarities."
    )
    backbone: Text | None = Field(
        default=None,
        description=(
            "Weights of a vit backbone: a file as timm or Meta publish it (.pth, .safetensors), or "
            "the name of a fetched one (slotcli models fetch)."
        ),
    )
    next_frame: Fraction = Field(
        default=0.0,
        description="Share of the steps that decode the next frame, from predicted slots.",
    )
    freeze_encoder: bool = Field(default=False, description="Whether to train the decoder only.")
    cache_latents: bool = Field(
        default=True,
        description="Whether to keep the codec's latents of frames in memory, up to 2 GiB.",
    )
    cache_encoder: bool = Field(
        default=False,
        description=(
            "Whether to keep a frozen encoder's outputs for whole clips in memory; batches "
            "are then of frames."
        ),
    )
    deblocking_frames: PositiveInt = Field(
        default=512,
        description="Training frames that decoder.deblocking is fitted to, before each evaluation.",
    )
