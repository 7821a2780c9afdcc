"""The data that a model is trained on."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from slotcli.spec.values import Fraction, PositiveInt, Record, Seed, Text

TierName = Literal["A", "C", "E"]


SplitName = Literal["train", "validation", "test"]


class SynthSpec(Record):
    """Clips from the scene generator; `mix` has each tier's fraction, `clips` their number.

    With a `cache`, a folder, rendered clips are saved there and read by later runs.
    """

    kind: Literal["synth"] = "synth"
    mix: dict[TierName, Fraction] = Field(default={"A": 0.2, "C": 0.5, "E": 0.3})
    clips: PositiveInt = 2000
    frames: PositiveInt = 12
    seed: Seed = 0
    cache: Text | None = None


class FolderSpec(Record):
    """Every clip found under a folder, cut into windows."""

    kind: Literal["folder"] = "folder"
    path: Text


class PublicSpec(Record):
    """A split of a published data set, in any common layout."""

    kind: Literal["movi", "clevrtex", "celeba", "davis", "ytvis"]
    path: Text
    split: SplitName = "train"


class SpritesSpec(Record):
    """Clips of moving images with alpha (`objects`) over `photographs`, both folders."""

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
    """A part of a mixture; a `share` of less than a hundredth would be too inexact."""

    share: Annotated[float, Field(ge=0.01, le=1)]
    data: SingleSpec


class MixtureSpec(Record):
    """Several data sets in one run, each with its `share` of the clips."""

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
