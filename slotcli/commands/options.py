"""Options that several commands have, said once."""

from enum import StrEnum
from typing import Annotated, Literal

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Threads = Annotated[
    int | None,
    typer.Option(
        help="CPU threads; by default all cores, or one for models of frames up to 64x64.", min=1
    ),
]
Precision = Literal["auto", "fp32", "bf16"]
Kernels = Annotated[
    Literal["auto", "reference", "triton"],
    typer.Option(help="Fused kernels where they can run, never, or nothing else."),
]
Model = Annotated[
    str, typer.Option(help="A model's name, folder or weights file (slotcli models list).")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key.path=value, over the definition. Repeatable.")
]


class MaskFile(StrEnum):
    """A list of choices has to be an enumeration: typer takes no list of literals."""

    png = "png"
    objects = "objects"
    ffv1 = "ffv1"
    ytvis = "ytvis"
    coco = "coco"
    mots = "mots"
    npz = "npz"
    alpha = "alpha"
    none = "none"


Masks = Annotated[
    list[MaskFile] | None,
    typer.Option(help="Mask files; palette PNGs by default. Repeatable."),
]
