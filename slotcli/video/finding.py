"""Finds the clips of a folder, for every command, and reports skipped files with the reasons.

A clip is a video file, an image file of several pages, or a folder of images. Links are followed;
a file or a folder that is reached twice is used once, preferably under its own name.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from slotcli.errors import SlotcliError
from slotcli.files.reading import access_errors
from slotcli.video.folder_contents import (
    MASKS,
    OWN,
    POSTERS,
    Skipped,
    annotation_folders,
    list_folder,
    numbered_sequence,
)
from slotcli.video.own_outputs import describe_own_folder

TWICE = "taken already"
DEEPER = "folders below (--recursive looks into them)"

_Identity = tuple[int, int]


@dataclass
class FoundClips:
    """`clips` in the order of their paths; `failures` are folders that could not be listed."""

    clips: list[Path] = field(default_factory=list)
    passed_over: list[Skipped] = field(default_factory=list)
    failures: dict[Path, SlotcliError] = field(default_factory=dict)


def find_clips(folder: Path, *, recursive: bool = True) -> FoundClips:
    """Find the clips in a folder, with `recursive` also in its subfolders.

    Raises NoInputError, AccessError or DataError if `folder` itself cannot be listed.
    """
    walk = _Walk(folder, recursive)
    walk.look_into(folder)
    while walk.links:
        walk.follow(walk.links.pop(0))
    return walk.found()


def skip_summary(passed_over: list[Skipped]) -> str:
    """One sentence with the number of skipped files by reason; empty if there are none."""
    if not passed_over:
        return ""
    reasons = Counter(one.reason for one in passed_over)
    total = len(passed_over)
    files = "1 file or folder was" if total == 1 else f"{total} files or folders were"
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return f"{files} not taken: {told}."


class _Walk:
    def __init__(self, root: Path, recursive: bool) -> None:
        self.links: list[Path] = []
        self._root = root
        self._recursive = recursive
        self._files: list[Path] = []
        self._taken: dict[_Identity, Path] = {}
        self._image_folders: dict[Path, list[Path]] = {}
        self._result = FoundClips()

    def look_into(self, folder: Path) -> None:
        """Collects the clips in a folder and its subfolders; defers links."""
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            try:
                with access_errors(here):
                    if (same := self._seen(here)) is not None:
                        self._pass_over(here, TWICE, f"the same as {same}")
                        continue
                    found = list_folder(here)
            except SlotcliError as error:
                if here == self._root:
                    raise
                self._result.failures[here] = error
                continue
            self._result.passed_over += found.passed_over
            for path in found.videos:
                self._take(path)
            if found.frames:
                self._image_folders[here] = found.frames
            waiting += reversed(self._folders_to_enter(found.folders))

    def follow(self, link: Path) -> None:
        if link.is_dir():
            self.look_into(link)
        else:
            self._take_once(link)

    def found(self) -> FoundClips:
        """All clips, after every folder was visited."""
        videos = sorted(self._files)
        clips: list[Path] = []
        taken: dict[frozenset[_Identity], Path] = {}
        # A folder of links to images duplicates the folder of the images, not vice versa.
        for folder in sorted(
            self._image_folders, key=lambda f: self._image_folders[f][0].is_symlink()
        ):
            frames = self._image_folders[folder]
            images = frozenset(map(_identity, frames))
            if self._are_posters(folder, frames, videos):
                self._result.passed_over += [Skipped(path, POSTERS) for path in frames]
            elif images in taken:
                self._pass_over(folder, TWICE, f"the same images as {taken[images]}")
            else:
                taken[images] = folder
                clips.append(folder)
        self._result.clips = sorted([*videos, *clips])
        return self._result

    def _are_posters(self, folder: Path, frames: list[Path], videos: list[Path]) -> bool:
        """Whether images belong to videos in subfolders, or have the names of videos beside it."""
        below = any(folder in video.parents for video in videos)
        beside = {video.stem for video in videos if video.parent == folder.parent}
        return (below and not numbered_sequence(frames)) or {path.stem for path in frames} <= beside

    def _folders_to_enter(self, folders: list[Path]) -> list[Path]:
        annotations = annotation_folders(folders)
        entered: list[Path] = []
        for folder in folders:
            if folder in annotations:
                self._pass_over(folder, MASKS, f"of {annotations[folder]}")
            elif (own := self._own(folder)) is not None:
                self._pass_over(folder, OWN, own)
            elif not self._recursive:
                self._pass_over(folder, DEEPER)
            elif folder.is_symlink():
                self.links.append(folder)
            else:
                entered.append(folder)
        return entered

    def _own(self, folder: Path) -> str | None:
        try:
            return describe_own_folder(folder, set(os.listdir(folder)))
        except OSError:
            return None  # visiting it will report the reason

    def _take(self, path: Path) -> None:
        if path.is_symlink():
            self.links.append(path)
        else:
            self._take_once(path)

    def _take_once(self, path: Path) -> None:
        if (same := self._seen(path)) is not None:
            self._pass_over(path, TWICE, f"the same as {same}")
        else:
            self._files.append(path)

    def _seen(self, path: Path) -> Path | None:
        """The earlier path of the same file, None if it is new; registers `path`."""
        identity = _identity(path)
        if identity in self._taken:
            return self._taken[identity]
        self._taken[identity] = path
        return None

    def _pass_over(self, path: Path, reason: str, detail: str = "") -> None:
        self._result.passed_over.append(Skipped(path, reason, detail))


def _identity(path: Path) -> _Identity:
    try:
        state = path.stat()
    except OSError:  # deleted or unreachable: opening it will report that
        return hash(path), -1
    return state.st_dev, state.st_ino
