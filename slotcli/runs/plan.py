"""Which clips a command line means, and the folder that each result goes to."""

import glob
import os
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from slotcli.errors import NoInputError, UsageError
from slotcli.video.images import IMAGE_SUFFIXES
from slotcli.video.reader import VIDEO_SUFFIXES

SLOT_FILE = "clip.slots.safetensors"
RESULT = "result.json"  # written last: it marks a result as complete


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
        # os.path's tests, unlike Path's, take a name too long to exist for one that does not.
        if os.path.isdir(path):
            found += _in_folder(path, recursive)
        elif os.path.exists(path) or not glob.has_magic(text):
            if len(inputs) == 1 and not os.path.exists(path):
                raise NoInputError(
                    f"{text}: there is no such file.", "Check the path, and the right to read it."
                )
            found.append((path, Path(path.name)))
        else:
            found_by_name = map(Path, sorted(glob.glob(text, recursive=True)))
            matches = [match for match in found_by_name if not _in_result(match.resolve())]
            if not matches:
                raise NoInputError(f"{text}: the pattern matches nothing.", "Check the pattern.")
            for match in matches:
                found += (
                    _in_folder(match, recursive) if match.is_dir() else [(match, Path(match.name))]
                )
    names: dict[Path, tuple[Path, Path]] = {}
    for source, relative in found:
        names.setdefault(source.resolve(), (source, relative))
    unique = list(names.values())
    places = _places([relative for _, relative in unique])
    return [
        PlannedClip(source, out / place) for (source, _), place in zip(unique, places, strict=True)
    ]


def sharded(clips: list[PlannedClip], shard: str) -> list[PlannedClip]:
    """The i-th of n parts of a plan, for `shard` "i/n" with i from 1: every n-th clip.

    Raises UsageError for anything else.
    """
    part, _, parts = shard.partition("/")
    if not (part.isascii() and parts.isascii() and part.isdecimal() and parts.isdecimal()):
        raise UsageError(f"--shard {shard}: not a shard.", "Use 1/4, 2/4, 3/4 and 4/4, say.")
    i, n = int(part), int(parts)
    if not 1 <= i <= n:
        raise UsageError(f"--shard {shard}: there is no such part.", f"Use 1/{max(n, 1)} and on.")
    return clips[i - 1 :: n]


def _in_folder(folder: Path, recursive: bool) -> list[tuple[Path, Path]]:
    everything = [
        path
        for path in sorted(folder.rglob("*") if recursive else folder.iterdir())
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not _in_result(path, below=folder)
    ]
    videos = [
        path for path in everything if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
    ]
    clips = [(path, path.relative_to(folder)) for path in videos]
    images = {path.parent for path in everything if path.suffix.lower() in IMAGE_SUFFIXES}
    for holder in sorted(images):
        name = holder.relative_to(folder)
        clips.append((holder, name if name.parts else Path(folder.resolve().name)))
    if not clips:
        advice = "Check the folder." if recursive else "Use --recursive to look below it too."
        raise NoInputError(f"{folder}: holds no video and no images.", advice)
    return clips


def _in_result(path: Path, below: Path | None = None) -> bool:
    """Whether a path is, or is in, a result: full of videos and images that are no clips."""
    folders = takewhile(lambda folder: folder != below, (path, *path.parents))
    return any((folder / RESULT).is_file() and (folder / SLOT_FILE).is_file() for folder in folders)


def _places(wanted: list[Path]) -> list[Path]:
    """The names wanted, or NAME-2, NAME-3, ... so that no result's folder is, or holds, another's.

    The deepest choose first: then only what stands around others has to give way.
    """
    taken: set[Path] = set()
    places: dict[int, Path] = {}
    for index in sorted(range(len(wanted)), key=lambda index: -len(wanted[index].parts)):
        name, number = wanted[index], 1
        while name in taken:
            number += 1
            name = wanted[index].with_name(f"{wanted[index].name}-{number}")
        taken.update((name, *name.parents))
        places[index] = name
    return [places[index] for index in range(len(wanted))]
