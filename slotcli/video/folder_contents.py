"""Direct contents of a folder: videos, the images of one clip, and skipped files."""

import os
import re
import stat
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import av
from av.stream import Disposition
from PIL import Image

from slotcli.video.file_kinds import (
    IMAGE_SUFFIXES,
    PILLOW_SUFFIXES,
    PREVIEW_SUFFIXES,
    SOUND_SUFFIXES,
    UNFINISHED_SUFFIXES,
    VIDEO_SUFFIXES,
    file_kind,
)
from slotcli.video.image_pixels import PILLOW_WARNINGS, has_pages
from slotcli.video.own_outputs import describe_own_folder, is_mask_image, is_own_image, is_own_video

HIDDEN = "hidden"
NEITHER = "not a video or an image"
OWN = "made by slotcli"
MASKS = "masks or annotations"
POSTERS = "beside videos or other images"
_JPEGS = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"))
_SYSTEM = frozenset(
    (
        "@eadir",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
        "__macosx",
        "lost+found",
        "thumbs.db",
        "desktop.ini",
    )
)
_ANNOTATIONS = re.compile(
    r"(annotations?|masks?|labels?|segmentations?|segmentation(class|object)|scribbles|gt|"
    r"ground_?truth|groundtruth|(optical_?)?flow|depth)([_\- ].*)?"
)
_PICTURES = re.compile(r"(jpegimages|images?|imgs?|frames|videos?|rgb|colou?r)([_\- ].*)?")
_MASK_OF = re.compile(r"(.+?)[_\-.](mask|masks|seg|segmentation|label|labels|flat)")
_PADDED = re.compile(r"\.[0-9]{3,}$")
_PAGES = "pages"
_NUMBERED = re.compile(r"(.*?)([0-9]+)([^0-9]*)")


@dataclass(frozen=True)
class Skipped:
    """A skipped file or folder, and the reason; `detail` is specific to this one."""

    path: Path
    reason: str
    detail: str = ""


@dataclass
class FolderContents:
    """`videos` are files that are clips, including images of several pages; `frames` are one clip.

    All are in the order of their names, frames in natural order (2 before 10).
    """

    videos: list[Path] = field(default_factory=list)
    frames: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    passed_over: list[Skipped] = field(default_factory=list)


def list_folder(folder: Path) -> FolderContents:
    """List a folder, following links, without decoding anything. Raises OSError."""
    contents = FolderContents()
    names = set(os.listdir(folder))
    written_by = describe_own_folder(folder, names)
    images: list[Path] = []
    for name in sorted(names):
        path = folder / name
        why = _why_not_looked_at(path)
        if why is None:
            kind = _kind(path, contents)
            if kind == "video":
                contents.videos.append(path)
            elif kind == "image":
                images.append(path)
        else:
            contents.passed_over.append(Skipped(path, why))
    if written_by is not None:
        everything = (*contents.videos, *images, *contents.folders)
        contents.passed_over += [Skipped(path, OWN, written_by) for path in everything]
        contents.videos, contents.folders = [], []
        return contents
    _sort_images(images, names, contents)
    return contents


def is_hidden(name: str) -> bool:
    """Whether a name is that of a hidden file or of a system's file."""
    return name.startswith(".") or name.lower() in _SYSTEM


def annotation_folders(folders: Iterable[Path]) -> dict[Path, str]:
    """Sibling folders with annotations of another folder, each with that folder's name."""
    siblings = list(folders)
    pictures = next((f.name for f in siblings if _PICTURES.fullmatch(f.name.lower())), None)
    if pictures is None:
        return {}
    return {f: pictures for f in siblings if _ANNOTATIONS.fullmatch(f.name.lower())}


def numbered_sequence(images: Iterable[Path], videos: Iterable[Path] = ()) -> list[Path]:
    """The largest set of at least two images whose names differ only by a number.

    Photos that a camera numbers together with `videos` (IMG_1.jpg, IMG_2.mov) are no sequence.
    """
    counted = {match[1] for path in videos if (match := _NUMBERED.fullmatch(path.stem))}
    groups: defaultdict[tuple[str, str, str], list[Path]] = defaultdict(list)
    for path in images:
        match = _NUMBERED.fullmatch(path.stem)
        if match is not None and match[1] not in counted:
            groups[match[1], match[3], path.suffix.lower()].append(path)
    longest = max(groups.values(), key=len, default=[])
    return sorted(longest, key=natural_key) if len(longest) > 1 else []


def _why_not_looked_at(path: Path) -> str | None:
    if is_hidden(path.name):
        return HIDDEN
    suffix = path.suffix.lower()
    if suffix in SOUND_SUFFIXES:
        return "sound only"
    if suffix in UNFINISHED_SUFFIXES:
        return "unfinished downloads"
    return "previews by a camera" if suffix in PREVIEW_SUFFIXES else None


def _kind(path: Path, contents: FolderContents) -> str | None:
    """The kind of a file, video or image; adds folders and other files to `contents` instead."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        reason = "links to nothing" if path.is_symlink() else "not readable"
        contents.passed_over.append(Skipped(path, reason, str(error.strerror)))
        return None
    if stat.S_ISDIR(mode):
        contents.folders.append(path)
        return None
    if not stat.S_ISREG(mode):
        contents.passed_over.append(Skipped(path, "pipes or devices"))
        return None
    try:
        kind = file_kind(path)
        if kind == "video" and is_own_video(path):
            contents.passed_over.append(Skipped(path, OWN, "an overlay, or masks"))
            return None
    except OSError:
        return "video" if path.suffix.lower() in VIDEO_SUFFIXES else None  # opened later
    known = VIDEO_SUFFIXES | IMAGE_SUFFIXES
    if kind is None or (
        kind == "video" and path.suffix.lower() not in known and not _has_video(path)
    ):
        contents.passed_over.append(Skipped(path, NEITHER))
        return None
    return kind


def _has_video(path: Path) -> bool:
    try:
        options = {"protocol_whitelist": "none"}
        with FileIO(path) as file, av.open(file, "r", options=options) as opened:
            return any(
                not stream.disposition & Disposition.attached_pic for stream in opened.streams.video
            )
    except Exception:  # libraries raise exceptions of any type for files that are no videos
        return False


def _sort_images(images: list[Path], names: set[str], contents: FolderContents) -> None:
    single: list[Path] = []
    paged: list[Path] = []
    stems = {path.stem for path in images}
    for path in images:
        match = _MASK_OF.fullmatch(path.stem)
        if match is not None and match[1] in stems:
            contents.passed_over.append(Skipped(path, MASKS, f"of {match[1]}"))
            continue
        kind = _looked_into(path, names)
        if kind is None:
            single.append(path)
        elif kind == _PAGES:
            paged.append(path)
        else:
            contents.passed_over.append(Skipped(path, kind))
    if contents.videos:
        posters = {path for path in single if _is_thumbnail(path, contents.videos)}
        frames = numbered_sequence(
            (path for path in single if path not in posters), contents.videos
        )
        taken = set(frames if len(frames) > len(contents.videos) else [])
        contents.passed_over += [Skipped(p, POSTERS) for p in single if p not in taken]
        single = [path for path in single if path in taken]
    contents.videos = sorted([*contents.videos, *paged])
    contents.frames = sorted(single, key=natural_key)


def _is_thumbnail(image: Path, videos: list[Path]) -> bool:
    """Whether an image has the name of a video: clip.jpg, clip.mp4.jpg or clip.0.jpg."""
    if _PADDED.search(image.stem):
        return False  # clip.0001.png is a frame
    return any(
        image.stem in (video.stem, video.name) or image.name.startswith(f"{video.stem}.")
        for video in videos
    )


def _looked_into(path: Path, names: set[str]) -> str | None:
    """_PAGES for an image that is a clip by itself, a reason to skip it, or None for a frame."""
    suffix = path.suffix.lower()
    if suffix in _JPEGS or (suffix and suffix not in PILLOW_SUFFIXES):
        return None
    try:
        with PILLOW_WARNINGS, warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            if is_own_image(path, image, names):
                return OWN
            if is_mask_image(image):
                return MASKS
            return _PAGES if has_pages(image) else None
    except Exception:  # an unreadable frame, which its reader will report
        return None


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key that orders numbers in names by value: frame2 before frame10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(p), p) if p[:1].isdecimal() and p.isascii() else (-1, p) for p in parts]
