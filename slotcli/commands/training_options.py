"""Options that pretrain and train share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from slotcli.commands.computing import Computing
from slotcli.commands.options import COMPUTING, INPUT, MODEL, OUTPUT, TRAINING

Config = Annotated[
    str,
    typer.Option(
        help="A model.toml, or the name of a shipped definition.",
        metavar="MODEL",
        rich_help_panel=MODEL,
    ),
]
RunFolder = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="Folder of the run: log, weights, states.",
        metavar="FOLDER",
        rich_help_panel=OUTPUT,
    ),
]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder of videos or of a published data set, instead of the definition's data.",
        metavar="FOLDER",
        rich_help_panel=INPUT,
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        help="Start from this model's weights instead of random ones.",
        metavar="MODEL",
        rich_help_panel=MODEL,
    ),
]
Resume = Annotated[
    Literal["auto", "never"],
    typer.Option(
        help="Resume from the last saved state at --out (auto), or refuse to.",
        rich_help_panel=TRAINING,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print parameters, memory, steps and data; train nothing.",
        rich_help_panel=TRAINING,
    ),
]
Tensorboard = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        help="Log to TensorBoard too (pip install 'slotcli[log]').",
        rich_help_panel=OUTPUT,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        help="Data loader processes; 0: a thread of this one. Batches do not depend on it.",
        min=0,
        metavar="N",
        rich_help_panel=COMPUTING,
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        help="Train one run per seed, as 0,1,2, and choose the least degenerate without labels.",
        metavar="SEEDS",
        rich_help_panel=TRAINING,
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """Options of a run besides its definition and its folder."""

    init: str | None
    resume: str
    tensorboard: bool
    computing: Computing
    workers: int = 0
