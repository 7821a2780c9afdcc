"""Options that several commands have, declared once; the panels that help pages group them by."""

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from slotcli.errors import UsageError
from slotcli.files.layout import DEFAULT_MODEL as DEFAULT_MODEL

INPUT = "Input"
MODEL = "Model"
OUTPUT = "Output"
PART = "Part of the clip"
MANY = "Many clips"
TRAINING = "Training"
COMPUTING = "Computing"

LABEL_FREE_MODEL = "tiny-64"

_DEVICES = "auto, cpu, cuda, or one GPU as cuda:1."
_MODEL_HELP = "A model's name (slotcli models list), folder or weights file."

Device = Annotated[str, typer.Option(help=_DEVICES, metavar="DEVICE", rich_help_panel=COMPUTING)]
Threads = Annotated[
    int | None,
    typer.Option(
        help="CPU threads. Default: all cores; one for models of frames up to 64x64.",
        min=1,
        metavar="N",
        rich_help_panel=COMPUTING,
    ),
]
Precision = Literal["auto", "fp32", "bf16"]
Kernels = Annotated[
    Literal["auto", "reference", "triton"],
    typer.Option(
        help="Use fused Triton kernels where possible (auto), never (reference), or always.",
        rich_help_panel=COMPUTING,
    ),
]
Model = Annotated[str, typer.Option(help=_MODEL_HELP, metavar="MODEL", rich_help_panel=MODEL)]
OptionalModel = Annotated[
    str | None, typer.Option(help=_MODEL_HELP, metavar="MODEL", rich_help_panel=MODEL)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a key of the definition, as train.steps=100. Repeatable.",
        metavar="KEY=VALUE",
        rich_help_panel=MODEL,
    ),
]
Edges = Annotated[
    Literal["guided", "bilinear"] | None,
    typer.Option(
        help="Mask borders: refined along the edges of the frame (guided), or upsampled "
        "smoothly. Default: guided for models of any shape; of an export, as "
        "decomposed.",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what exists at --out.", rich_help_panel=OUTPUT),
]

Opacity = Annotated[
    float | None,
    typer.Option(
        help="Opacity of the mask colours in the overlay, 0 (outlines only) to 1. Default: 0.35.",
        min=0,
        max=1,
        metavar="X",
        rich_help_panel=OUTPUT,
    ),
]
Page = Annotated[
    Literal["single", "linked"] | None,
    typer.Option(
        help="Embed clip and masks in report.html (single, the default), or write them to "
        "files beside it, for small pages (linked).",
        rich_help_panel=OUTPUT,
    ),
]
MaskFile = Literal["png", "objects", "ffv1", "ytvis", "coco", "mots", "npz", "alpha", "none"]
MASK_FILES: tuple[MaskFile, ...] = get_args(MaskFile)

Masks = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Mask files: {', '.join(MASK_FILES)}. Default: png. Repeatable, or a list as "
        "png,coco.",
        metavar="FORMAT",
        rich_help_panel=OUTPUT,
        autocompletion=lambda incomplete: [own for own in MASK_FILES if own.startswith(incomplete)],
    ),
]

Frames = Annotated[
    bool,
    typer.Option(
        "--frames",
        help="Write the frames too, as the JPEG files that coco.json and ytvis.json name.",
        rich_help_panel=OUTPUT,
    ),
]


def split_commas(texts: list[str] | None) -> list[str]:
    """The parts of a repeatable option, each of which may be a list with commas."""
    return [part.strip() for text in texts or [] for part in text.split(",")]


def parse_choices(option: str, texts: list[str] | None, choices: tuple[str, ...]) -> list[str]:
    """The values of a repeatable option, each once. Raises UsageError for any but `choices`."""
    values = list(dict.fromkeys(split_commas(texts)))
    for value in values:
        if value not in choices:
            raise UsageError(
                f"{option} {value or ','.join(texts or [])}: no such choice.",
                f"Choose from {', '.join(choices)}. Write several as {','.join(choices[:2])}.",
            )
    return values


def parse_numbers(option: str, texts: list[str] | None) -> list[int]:
    """The whole numbers from 0 of a repeatable option. Raises UsageError for anything else."""
    for part in split_commas(texts):
        if not (part.isascii() and part.isdecimal()):
            raise UsageError(
                f"{option} {','.join(texts or [])}: {part or 'an empty part'} is not a number from "
                "0.",
                f"Write {option} 1, or several as {option} 1,2.",
            )
    return [int(part) for part in split_commas(texts)]


def output_path(positional: Path | None, out: Path | None, metavar: str) -> Path:
    """The output of a command that takes it as an argument or as --out. Raises UsageError."""
    if (positional is None) == (out is None):
        problem = "is missing" if out is None else "is given twice, as an argument and as --out"
        raise UsageError(f"The output {problem}.", f"Name it once: {metavar}, or --out {metavar}.")
    place = positional or out
    assert place is not None
    return place
