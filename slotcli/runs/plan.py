"""Which clips a command line means, and the folder that each result goes to."""

import glob
from dataclasses import dataclass
from pathlib import Path

from slotcli.data.datasets import VIDEO_SUFFIXES
from slotcli.errors import NoInputError
from slotcli.video.images import SUFFIXES as IMAGE_SUFFIXES


@dataclass(frozen=True)
class PlannedClip:
    """A video file or a folder of images, and its result's folder under the output folder."""

    source: Path
    result: Path


def plan(inputs: list[str], out: Path, *, recursive: bool) -> list[PlannedClip]:
    """The clips of files, folders, and patterns that the shell did not expand, in a fixed order.

    A folder stands for the videos in it, below it too with `recursive`, or for one clip where it
    holds images; its sub-folders are mirrored. One missing file among several is left for its own
    run to fail on. Raises NoInputError where nothing is meant.
    """
    found: list[tuple[Path, Path]] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found += _in_folder(path, recursive)
        elif path.exists() or not glob.has_magic(text):
            if len(inputs) == 1 and not path.exists():
                raise NoInputError(f"{text}: there is no such file.", "Check the path.")
            found.append((path, Path(path.name)))
        else:
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
            if not matches:
                raise NoInputError(f"{text}: the pattern matches nothing.", "Check the pattern.")
            for match in matches:
                found += (
                    _in_folder(match, recursive) if match.is_dir() else [(match, Path(match.name))]
                )
    clips: dict[Path, PlannedClip] = {}
    taken: set[Path] = set()
    for source, relative in found:
        key = source.resolve()
        if key in clips:
            continue
        clips[key] = PlannedClip(source, out / _free(relative, taken))
    return list(clips.values())


def _in_folder(folder: Path, recursive: bool) -> list[tuple[Path, Path]]:
    everything = sorted(folder.rglob("*") if recursive else folder.iterdir())
    videos = [
        path for path in everything if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
    ]
    clips = [(path, path.relative_to(folder)) for path in videos]
    folders = [folder, *(path for path in everything if path.is_dir())] if recursive else [folder]
    for candidate in folders:
        if any(path.suffix.lower() in IMAGE_SUFFIXES for path in candidate.iterdir()):
            name = candidate.relative_to(folder)
            clips.append((candidate, name if name.parts else Path(folder.resolve().name)))
    if not clips:
        advice = "Check the folder." if recursive else "Use --recursive to look below it too."
        raise NoInputError(f"{folder}: holds no video and no images.", advice)
    return clips


def _free(relative: Path, taken: set[Path]) -> Path:
    name, number = relative, 1
    while name in taken:
        number += 1
        name = relative.with_name(f"{relative.name}-{number}")
    taken.add(name)
    return name
