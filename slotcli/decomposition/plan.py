"""Finds the clips of a command line, and the result folder of each."""

import glob
import os
from dataclasses import dataclass, field
from pathlib import Path

from slotcli.errors import NoInputError, SlotcliError, UsageError, printable
from slotcli.files.reading import access_errors
from slotcli.video.finding import TWICE, find_clips, skip_summary
from slotcli.video.folder_contents import (
    HIDDEN,
    NEITHER,
    OWN,
    FolderContents,
    Skipped,
    list_folder,
)
from slotcli.video.own_outputs import is_result


@dataclass(frozen=True)
class PlannedClip:
    """A video file or a folder of images, and its result's folder under the output folder."""

    source: Path
    result: Path


@dataclass
class Plan:
    """`clips` in the order of the command line; `passed_over` with the reasons.

    `failures` are unreadable inputs, which do not affect the other inputs.
    """

    clips: list[PlannedClip] = field(default_factory=list)
    failures: list[tuple[PlannedClip, SlotcliError]] = field(default_factory=list)
    passed_over: list[Skipped] = field(default_factory=list)


def plan(inputs: list[str], out: Path, *, recursive: bool) -> Plan:
    """The clips of files, folders, and patterns that the shell did not expand, in a fixed order.

    A folder means the clips that `find_clips` finds in it, and below it with `recursive`; its
    sub-folders are mirrored. A file that is named is a clip whatever it is. Raises the first
    failure where there is no clip.
    """
    wanted = _Wanted(recursive)
    for text in inputs:
        try:
            wanted.add(text)
        except SlotcliError as error:
            wanted.failures.append((Path(text), error))
    if not wanted.clips:
        if wanted.failures:
            raise wanted.failures[0][1]
        raise NoInputError(
            f"Nothing that was named is a clip. {skip_summary(wanted.passed_over)}",
            "Name videos, or folders of videos or images.",
        )
    names: dict[Path, tuple[Path, Path]] = {}
    for source, relative in wanted.clips:
        first, _ = names.setdefault(source.resolve(), (source, relative))
        if first is not source:
            wanted.passed_over.append(Skipped(source, TWICE, f"the same as {first}"))
    unique = list(names.values())
    failed = [(path, Path(path.name or path.resolve().name)) for path, _ in wanted.failures]
    places = _unique_paths([relative for _, relative in (*unique, *failed)])
    planned = [
        PlannedClip(source, out / place)
        for (source, _), place in zip((*unique, *failed), places, strict=True)
    ]
    errors = [error for _, error in wanted.failures]
    return Plan(
        planned[: len(unique)],
        list(zip(planned[len(unique) :], errors, strict=True)),
        wanted.passed_over,
    )


class _Wanted:
    """Collects the sources of a command line with the names of their results."""

    def __init__(self, recursive: bool) -> None:
        self.clips: list[tuple[Path, Path]] = []
        self.failures: list[tuple[Path, SlotcliError]] = []
        self.passed_over: list[Skipped] = []
        self._recursive = recursive

    def add(self, text: str) -> None:
        """Adds the clips of one argument. Raises NoInputError where there are none, AccessError."""
        path = Path(text)
        # os.path's tests, unlike Path's, return False for a name too long to exist.
        if os.path.isdir(path):
            self._add_folder(path)
        elif os.path.exists(path):
            self.clips.append((path, Path(path.name)))
        elif glob.has_magic(text):
            self._add_pattern(text)
        else:
            raise NoInputError(
                f"{text}: there is no such file.", "Check the path, and the right to read it."
            )

    def _add_folder(self, folder: Path) -> None:
        found = find_clips(folder, recursive=self._recursive)
        self.passed_over += found.passed_over
        self.failures += found.failures.items()
        for path in found.clips:
            name = path.relative_to(folder)
            self.clips.append((path, name if name.parts else Path(folder.resolve().name)))
        reasons = {one.reason for one in found.passed_over}
        if OWN in reasons and reasons <= {OWN, HIDDEN, NEITHER}:
            return  # earlier results among the arguments are no failure
        if not found.clips and not found.failures:
            told = skip_summary(found.passed_over)
            advice = (
                "Check the folder." if self._recursive else "Use --recursive to look below it too."
            )
            raise NoInputError(
                f"{printable(folder)}: holds no video and no images. {told}".rstrip(), advice
            )

    def _add_pattern(self, pattern: str) -> None:
        matches = list(map(Path, sorted(glob.glob(pattern, recursive=True))))
        known: dict[Path, FolderContents] = {}
        before = len(self.clips), len(self.failures), len(self.passed_over)
        for match in matches:
            if (folder := _result_around(match)) is not None:
                self.passed_over.append(Skipped(match, OWN, f"in {folder}"))
            elif match.is_dir():
                try:
                    self._add_folder(match)
                except SlotcliError as error:
                    self.failures.append((match, error))
            else:
                if match.parent not in known:
                    with access_errors(match.parent):
                        known[match.parent] = list_folder(match.parent)
                why = next(
                    (one for one in known[match.parent].passed_over if one.path == match), None
                )
                if why is None:
                    self.clips.append((match, Path(match.name)))
                else:
                    self.passed_over.append(why)
        passed_over = self.passed_over[before[2] :]
        reasons = {one.reason for one in passed_over}
        if (len(self.clips), len(self.failures)) == before[:2] and reasons != {OWN}:
            told = skip_summary(passed_over)
            raise NoInputError(
                f"{pattern}: the pattern matches nothing that is a clip. {told}".rstrip(),
                "Check the pattern.",
            )


def select_shard(clips: list[PlannedClip], shard: str) -> list[PlannedClip]:
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


def _result_around(path: Path) -> Path | None:
    """The result folder that contains a path, or is the path."""
    for folder in (path, *path.parents) if path.is_dir() else path.parents:
        try:
            if is_result(folder, set(os.listdir(folder))):
                return folder
        except OSError:
            continue
    return None


def _unique_paths(wanted: list[Path]) -> list[Path]:
    """The wanted names, with -2, -3, ... where a result's folder would be, or hold, another's.

    The deepest names are assigned first: then only a folder around others has to be renamed.
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
