"""A whole definition: a codec's or a slot model's, and the constraints between its parts."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from slotcli.spec.networks import (
    DecoderSpec,
    DvaeSpec,
    EfficientNetLite0Spec,
    EncoderSpec,
    MasksOnlySpec,
    PatchMlpSpec,
    SlotMixerSpec,
    VitSpec,
    VqvaeSpec,
    vqvae_by_default,
)
from slotcli.spec.training import CodecTrainSpec, SlotTrainSpec
from slotcli.spec.values import Record, Side, Text, Width


class CodecModelSpec(Record):
    kind: Literal["codec"] = Field(
        description="slot_model, or codec, which a slot model is trained on."
    )
    name: Text = Field(description="Free to choose; results name the model by it.")
    size: tuple[Side, Side] = Field(
        default=(128, 128),
        description=(
            "Height and width of the frames the model sees, in pixels; others are resized to it."
        ),
    )
    codec: Annotated[
        VqvaeSpec | DvaeSpec, Field(discriminator="kind"), BeforeValidator(vqvae_by_default)
    ] = Field(
        default=VqvaeSpec(),
        description="From frames to latents and back; frozen while a slot model is trained on it.",
    )
    train: CodecTrainSpec = Field(
        description="Each key can be changed for one run: --set train.steps=100"
    )

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


class SlotModelSpec(Record):
    kind: Literal["slot_model"] = Field(
        description="slot_model, or codec, which a slot model is trained on."
    )
    name: Text = Field(description="Free to choose; results name the model by it.")
    size: tuple[Side, Side] = Field(
        default=(128, 128),
        description=(
            "Height and width of the frames the model sees, in pixels; others are resized to it."
        ),
    )
    num_slots: Width = Field(description="Number of slots per frame, the background's included.")
    slot_dim: Width = Field(default=192, description="Dimensions per slot.")
    encoder: EncoderSpec = Field(description="From frames to slots.")
    decoder: DecoderSpec = Field(description="From slots to frames.")
    train: SlotTrainSpec = Field(
        description="Each key can be changed for one run: --set train.steps=100"
    )

    @property
    def background_slot(self) -> int | None:
        """The slot that training made the background; None if there is none."""
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
            self.encoder.backbone, EfficientNetLite0Spec | VitSpec
        ):
            raise ValueError("train.trunk_learning_rate: this backbone has no pretrained weights")
        if train.backbone is not None and not isinstance(self.encoder.backbone, VitSpec):
            raise ValueError("train.backbone: only a vit backbone has its weights in a file")
        return self

    @model_validator(mode="after")
    def _time_is_there(self) -> "SlotModelSpec":
        train = self.train
        if (
            train.contrast_weight or train.similarity_weight or train.next_frame
        ) and train.clip_length < 2:
            raise ValueError(
                "train.contrast_weight, similarity_weight and next_frame need a train.clip_length"
                " of 2"
            )
        if train.next_frame and self.encoder.predictor is None:
            raise ValueError("train.next_frame needs an encoder.predictor")
        return self

    @model_validator(mode="after")
    def _features_are_there(self) -> "SlotModelSpec":
        train, decoder = self.train, self.decoder
        if train.similarity_weight and not isinstance(decoder, SlotMixerSpec):
            raise ValueError("train.similarity_weight is for the decoder slot_mixer")
        if not isinstance(decoder, PatchMlpSpec | SlotMixerSpec):
            return self
        if not isinstance(self.encoder.backbone, VitSpec):
            raise ValueError("decoder: patch_mlp and slot_mixer decode the features of a vit")
        if train.next_frame or train.cache_encoder:
            raise ValueError("train.next_frame and cache_encoder are for decoders of frames")
        if isinstance(decoder, SlotMixerSpec) and not (decoder.features or train.similarity_weight):
            raise ValueError("decoder.features is off and train.similarity_weight is 0")
        return self

    @model_validator(mode="after")
    def _slots_can_be_drawn(self) -> "SlotModelSpec":
        if self.encoder.initial_slots == "gaussian" and (
            self.encoder.slot_bias or self.train.mask_weight
        ):
            raise ValueError("encoder.initial_slots: slots that are drawn have no number")
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
            if train.grouping_weight or train.contrast_weight or train.next_frame:
                raise ValueError(
                    "train.grouping_weight, contrast_weight and next_frame are for an encoder"
                    " that learns, which train.cache_encoder excludes"
                )
        return self


ModelSpec = Annotated[CodecModelSpec | SlotModelSpec, Field(discriminator="kind")]
