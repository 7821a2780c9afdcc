"""slotcli data index, check and convert: data sets in their published formats."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slotcli.commands import console
from slotcli.commands.command_line import HERE_OR_OUT
from slotcli.commands.options import INPUT, OUTPUT, output_path
from slotcli.commands.skipped import report_skipped
from slotcli.data.kinds import DataKind
from slotcli.errors import DataError, LossError, SlotcliError

if TYPE_CHECKING:
    from slotcli.data.inspection import OpenedSplit
    from slotcli.spec import SplitName

DataFolder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Folder of a data set, in any supported format.")
]
Kind = Annotated[
    DataKind | None,
    typer.Option(help="Its format, if it is not recognised.", rich_help_panel=INPUT),
]
Split = Annotated[
    Literal["train", "validation", "test"] | None,
    typer.Option(help="Only this split. Default: all.", rich_help_panel=INPUT),
]


def index(folder: DataFolder, kind: Kind = None, split: Split = None) -> None:
    """List the splits, clips and frames of a data set; save an index if that was slow.

    Examples:
      slotcli data index movi_e/128x128/1.0.0
      slotcli data index footage
    """
    from slotcli.data.inspection import describe_split, write_index

    opened = _open(folder, kind, split)
    rows: list[list[str]] = []
    indexes: list[Path] = []
    for part in opened:
        if part.dataset is None:
            continue
        with console.progress(f"counting frames of {part.name}", "clips") as meter:
            found = describe_split(part.dataset, meter.update)
        noted = write_index(part.dataset)
        if noted is not None:
            indexes.append(noted)
            console.keeps_finished()
        size = " x ".join(map(str, reversed(found.size)))
        console.record(
            {
                "folder": str(folder),
                "kind": part.kind,
                "layout": found.layout,
                "split": part.name,
                "clips": found.clips,
                "frames": found.frames,
                "size": list(found.size),
                "labelled": found.labelled,
                "broken": {name: error.what for name, error in found.broken.items()},
                "index": None if noted is None else str(noted),
            }
        )
        _warn_of(found.broken)
        rows.append(
            [
                part.name,
                str(found.clips),
                str(found.frames),
                size,
                "yes" if found.labelled else "no",
                found.layout,
            ]
        )
        if noted is not None:
            console.note(f"Index saved: {noted}.")
    if not console.wants_json():
        columns = ["split", "clips", "frames", "size", "labels", "layout"]
        console.table(f"{folder}: {opened[0].kind}", columns, rows)
    for written in indexes:
        console.note(f"Noted in {written}.")
    _raise_first(opened)


def check(folder: DataFolder, kind: Kind = None, split: Split = None) -> None:
    """Decode a whole data set and name every broken clip; exit code 65 if there is one.

    Examples:
      slotcli data check CLEVRTex --split train
    """
    from slotcli.data.inspection import check_clips

    clips = 0
    broken: dict[str, SlotcliError] = {}
    for part in _open(folder, kind, split):
        if part.dataset is None:
            assert part.error is not None
            found = {part.name: part.error}
        else:
            clips += len(part.dataset)
            with console.progress(f"decoding {part.name}", "clips") as meter:
                found = check_clips(part.dataset, meter.update)
        for name, error in found.items():
            console.record({"split": part.name, "clip": name, "broken": error.what})
        _warn_of(found)
        broken |= {f"{part.name}/{name}": error for name, error in found.items()}
    console.record({"folder": str(folder), "clips": clips, "broken": len(broken)})
    if broken:
        raise DataError(
            f"{folder}: {len(broken)} of {clips} clips are broken.",
            "Download the files named above again.",
        )
    if not console.wants_json():
        console.result(f"{folder}: all {clips} clips are sound.")


def convert(
    folder: DataFolder,
    place: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT", help=f"Folder for SPLIT/CLIP/000000.png and masks.  {HERE_OR_OUT}"
        ),
    ] = None,
    kind: Kind = None,
    split: Split = None,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Leave broken clips out, list them, and exit with code 3.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The output folder, if not given as an argument.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    to: Annotated[
        Literal["frames"],
        typer.Option(
            help="The output format: folders of PNG frames, lossless.", rich_help_panel=OUTPUT
        ),
    ] = "frames",
) -> None:
    """Convert a data set to folders of PNG frames and masks, without loss.

    A stopped conversion resumes when you repeat its command.

    Examples:
      slotcli data convert movi_e movi_e-frames --split validation
      slotcli data convert YouTube-VIS -o frames --keep-going
    """
    out = output_path(place, output, "OUT")
    from slotcli.data.convert import convert_split

    opened = _open(folder, kind, split)
    if not keep_going:
        _raise_first(opened)
    broken: dict[str, SlotcliError] = {}
    for part in opened:
        if part.dataset is None:
            assert part.error is not None
            found = {part.name: part.error}
        else:
            console.keeps_finished()
            with console.progress(f"converting {part.name}", "clips") as meter:
                done = convert_split(
                    part.dataset,
                    out,
                    kind=part.kind,
                    source=folder,
                    split=part.name,
                    keep_going=keep_going,
                    progress=meter.update,
                )
            found = done.broken
            console.record(
                {
                    "folder": str(out / part.name),
                    "split": part.name,
                    "written": done.written,
                    "there": done.there,
                    "broken": {name: error.what for name, error in found.items()},
                }
            )
            if not console.wants_json():
                console.result(
                    f"{out / part.name}: {done.written} clips written, {done.there} existed."
                )
        _warn_of(found)
        broken |= {f"{part.name}/{name}": error for name, error in found.items()}
    if broken:
        raise LossError(
            f"{len(broken)} clips are broken and were left out.",
            "Download the files named above again, and repeat the command.",
        )


def _open(folder: Path, kind: DataKind | None, split: "SplitName | None") -> "list[OpenedSplit]":
    console.phase("opening the data set")
    from slotcli.data.inspection import open_splits
    from slotcli.data.recognise import recognise

    opened = open_splits(folder, kind or recognise(folder), split)
    there = [part.dataset for part in opened if part.dataset is not None]
    for remark in dict.fromkeys(text for dataset in there for text in dataset.remarks):
        console.warn(remark)
    for dataset in there:
        report_skipped(dataset.passed_over)
    return opened


def _raise_first(opened: "list[OpenedSplit]") -> None:
    """Raises the first split's error, if one could not be opened."""
    for part in opened:
        if part.error is not None:
            raise part.error


def _warn_of(broken: dict[str, SlotcliError]) -> None:
    for name, error in broken.items():
        console.warn(f"{name}: {error.what}")
