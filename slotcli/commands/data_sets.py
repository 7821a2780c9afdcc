"""slotcli data index, check and convert: data sets in the formats they are published in."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slotcli.commands import console
from slotcli.commands.passed_over import tell_passed_over
from slotcli.errors import DataError, LossError, SlotcliError

if TYPE_CHECKING:
    from slotcli.data.recognise import DataKind
    from slotcli.runs.open_splits import OpenedSplit
    from slotcli.spec import SplitName

DataFolder = Annotated[Path, typer.Argument(help="Folder of a data set, in any known format.")]
Kind = Annotated[
    Literal["synth", "movi", "clevrtex", "celeba", "davis", "ytvis", "folder"] | None,
    typer.Option(help="What it is, if that is not to be recognised."),
]
Split = Annotated[
    Literal["train", "validation", "test"] | None, typer.Option(help="Only this one.")
]


def index(folder: DataFolder, kind: Kind = None, split: Split = None) -> None:
    """Say what a data set holds, and note where it is slow to find out, for the next time."""
    from slotcli.runs.index_data import describe_split, write_index

    opened = _open(folder, kind, split)
    rows: list[list[str]] = []
    for part in opened:
        if part.dataset is None:
            continue
        with console.progress(f"{part.name} of {folder}") as meter:
            found = describe_split(part.dataset, meter.update)
        noted = write_index(part.dataset)
        size = "x".join(map(str, found.size))
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
            console.note(f"Noted in {noted}.")
    if not console.wants_json():
        columns = ["split", "clips", "frames", "size", "labels", "layout"]
        console.table(f"{folder}: {opened[0].kind}", columns, rows)
    _raise_first(opened)


def check(folder: DataFolder, kind: Kind = None, split: Split = None) -> None:
    """Decode all of a data set, and list what is broken; exit code 65 if anything is."""
    from slotcli.runs.check import check_clips

    clips = 0
    broken: dict[str, SlotcliError] = {}
    for part in _open(folder, kind, split):
        if part.dataset is None:
            assert part.error is not None
            found = {part.name: part.error}
        else:
            clips += len(part.dataset)
            with console.progress(f"{part.name} of {folder}") as meter:
                found = check_clips(part.dataset, meter.update)
        for name, error in found.items():
            console.record({"split": part.name, "clip": name, "broken": error.what})
        _warn_of(found)
        broken |= {f"{part.name}/{name}": error for name, error in found.items()}
    console.record({"folder": str(folder), "clips": clips, "broken": len(broken)})
    if broken:
        raise DataError(
            f"{folder}: {len(broken)} of {clips} clips are broken.",
            "Fetch the files that are named above again.",
        )
    if not console.wants_json():
        console.result(f"{folder}: all of {clips} clips are sound.")


def convert(
    folder: DataFolder,
    out: Annotated[Path, typer.Argument(help="Folder for SPLIT/CLIP/000000.png and masks.")],
    kind: Kind = None,
    split: Split = None,
    to: Annotated[
        Literal["frames"], typer.Option(help="Lossless folders of frames, the one format.")
    ] = "frames",
    keep_going: Annotated[
        bool, typer.Option(help="Leave broken clips out, list them, and exit with code 3.")
    ] = False,
) -> None:
    """Turn any data set into lossless folders of frames; the same command again goes on."""
    from slotcli.runs.convert import convert_split

    opened = _open(folder, kind, split)
    if not keep_going:
        _raise_first(opened)
    broken: dict[str, SlotcliError] = {}
    for part in opened:
        if part.dataset is None:
            assert part.error is not None
            found = {part.name: part.error}
        else:
            with console.progress(f"{part.name} of {folder}") as meter:
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
                    f"{out / part.name}: {done.written} clips written, {done.there} were there."
                )
        _warn_of(found)
        broken |= {f"{part.name}/{name}": error for name, error in found.items()}
    if broken:
        raise LossError(
            f"{len(broken)} clips are broken and were left out.",
            "Fetch the files that are named above again, and run the same command.",
        )


def _open(folder: Path, kind: "DataKind | None", split: "SplitName | None") -> "list[OpenedSplit]":
    from slotcli.data.datasets import VideoFolder, remarks
    from slotcli.data.recognise import recognise
    from slotcli.runs.open_splits import open_splits

    opened = open_splits(folder, kind or recognise(folder), split)
    for remark in dict.fromkeys(text for part in opened for text in remarks(part.dataset)):
        console.warn(remark)
    for part in opened:
        if isinstance(part.dataset, VideoFolder):
            tell_passed_over(part.dataset.passed_over)
    return opened


def _raise_first(opened: "list[OpenedSplit]") -> None:
    """Ends with the reason why a split could not be opened, if there is one."""
    for part in opened:
        if part.error is not None:
            raise part.error


def _warn_of(broken: dict[str, SlotcliError]) -> None:
    for name, error in broken.items():
        console.warn(f"{name}: {error.what}")
