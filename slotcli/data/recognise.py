"""Recognises the kind of data in a folder, by file names; nothing is decoded."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from slotcli.data.formats.celeba import PARTITION, PICTURES
from slotcli.data.formats.davis import find_davis
from slotcli.data.formats.movi import find_movi
from slotcli.data.formats.ytvis import PARTS
from slotcli.data.kinds import DataKind, PublicKind
from slotcli.errors import NoInputError, UsageError, printable
from slotcli.files.reading import access_errors
from slotcli.scenes.folder import INDEX, VIDEOS
from slotcli.video.finding import find_clips, skip_summary

PUBLIC_KINDS: tuple[PublicKind, ...] = get_args(PublicKind)

_SOUGHT = (
    "Looked for: movi_?-SPLIT.tfrecord-?????-of-?????, *-SPLIT-??????.tar and "
    "SPLIT/CLIP/000000.jpg (MOVi), CLEVRTEX_*.png (CLEVRTex), img_align_celeba (CelebA), "
    "JPEGImages/480p or Full-Resolution (DAVIS), train/JPEGImages (YouTube-VIS), index.json (data "
    "synth), videos and images."
)


def recognise(folder: Path) -> DataKind:
    """The one kind of data in a folder.

    Raises NoInputError where it holds none, UsageError where it could be several.
    """
    if not folder.is_dir():
        raise NoInputError(f"{printable(folder)}: there is no such folder.", "Check the path.")
    with access_errors(folder):
        kinds: list[DataKind] = [kind for kind, shows in _SIGNS.items() if shows(folder)]
        found = None if kinds else find_clips(folder)
        if found is not None and (found.clips or found.failures):
            kinds = ["folder"]
    if len(kinds) > 1:
        raise UsageError(
            f"{printable(folder)} could be any of {', '.join(kinds)}.",
            "Say which with --kind, or name a folder further down.",
        )
    if not kinds:
        told = "" if found is None else skip_summary(found.passed_over)
        raise NoInputError(
            f"{printable(folder)} holds no data that is known here." + (f" {told}" if told else ""),
            _SOUGHT,
        )
    return kinds[0]


def _is_synth(folder: Path) -> bool:
    return (folder / INDEX).is_file() and (folder / VIDEOS).is_dir()


def _is_movi(folder: Path) -> bool:
    return find_movi(folder) is not None


def _is_clevrtex(folder: Path) -> bool:
    for path in folder.iterdir():
        if path.name.startswith(("CLEVRTEX_", "clevrtex_")):
            return True
        if path.name.isdecimal() and path.is_dir():
            return any(inside.name.startswith("CLEVRTEX_") for inside in path.iterdir())
    return False


def _is_celeba(folder: Path) -> bool:
    paths = [folder / "celeba" / PICTURES, folder / PICTURES]
    own = folder.name == PICTURES and (folder.parent / PARTITION).is_file()
    return own or any(path.is_dir() for path in paths)


def _is_davis(folder: Path) -> bool:
    return find_davis(folder) is not None


def _is_ytvis(folder: Path) -> bool:
    return any((folder / part / "JPEGImages").is_dir() for part in PARTS)


_SIGNS: dict[DataKind, Callable[[Path], bool]] = {
    "synth": _is_synth,
    "movi": _is_movi,
    "clevrtex": _is_clevrtex,
    "celeba": _is_celeba,
    "davis": _is_davis,
    "ytvis": _is_ytvis,
}
