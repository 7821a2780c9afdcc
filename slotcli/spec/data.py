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

    kind: Literal["synth"] = Field(default="synth", description="Rendered scenes with physics.")
    mix: dict[TierName, Fraction] = Field(
        default={"A": 0.2, "C": 0.5, "E": 0.3},
        description=(
            "Fraction of the clips per tier: A plain, C textured, E textured and a moving camera."
        ),
    )
    clips: PositiveInt = Field(default=2000, description="Number of different clips.")
    frames: PositiveInt = Field(default=12, description="Frames per clip, at 12 fps.")
    seed: Seed = Field(
        default=0, description="Seed of the first clip; clip i has the seed `seed` + i."
    )
    cache: Text | None = Field(
        default=None,
        description="Folder that rendered clips are saved to and read from. Left out: none.",
    )


class FolderSpec(Record):
    """Every clip found under a folder, cut into windows."""

    kind: Literal["folder"] = Field(default="folder", description="Videos of a folder.")
    path: Text = Field(description="Folder of videos and image folders, searched with sub-folders.")
    masks: Text | None = Field(
        default=None,
        description="Folder of instance masks, a folder of PNGs or a gray .mkv per clip.",
    )


class PublicSpec(Record):
    """A split of a published data set, in any common layout."""

    kind: Literal["movi", "clevrtex", "celeba", "davis", "ytvis"] = Field(
        description="The data set, which is also its format."
    )
    path: Text = Field(description="Folder of the data set, as it is downloaded.")
    split: SplitName = Field(default="train", description="train, validation or test.")


class SpritesSpec(Record):
    """Clips of moving images with alpha (`objects`) over `photographs`, both folders."""

    kind: Literal["sprites"] = Field(
        default="sprites", description="Images pasted over photographs."
    )
    objects: Text = Field(description="Folder of images with an alpha channel (PNG, WebP).")
    photographs: Text = Field(description="Folder of photographs, for backgrounds and surfaces.")
    clips: PositiveInt = Field(default=1_000_000, description="Number of different clips.")
    frames: PositiveInt = Field(default=24, description="Frames per clip, at 12 fps.")
    seed: Seed = Field(
        default=0, description="Seed of the first clip; clip i has the seed `seed` + i."
    )


SingleSpec = Annotated[
    SynthSpec | FolderSpec | PublicSpec | SpritesSpec, Field(discriminator="kind")
]


class MixturePartSpec(Record):
    """A part of a mixture; a `share` of less than a hundredth would be too inexact."""

    share: Annotated[float, Field(ge=0.01, le=1)] = Field(
        description="Fraction of the clips that are of this part; all parts add up to 1."
    )
    data: SingleSpec = Field(description="A data set of any other kind.")


class MixtureSpec(Record):
    """Several data sets in one run, each with its `share` of the clips."""

    kind: Literal["mixture"] = Field(default="mixture", description="Several data sets in one run.")
    parts: Annotated[tuple[MixturePartSpec, ...], Field(min_length=1, max_length=32)] = Field(
        description="The data sets, each as { share = 0.5, data = { kind = ... } }."
    )

    @model_validator(mode="after")
    def _shares_add_up(self) -> "MixtureSpec":
        total = sum(part.share for part in self.parts)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of a mixture's parts add up to {total:g}, not 1")
        return self


DataSpec = Annotated[
    SynthSpec | FolderSpec | PublicSpec | SpritesSpec | MixtureSpec, Field(discriminator="kind")
]
