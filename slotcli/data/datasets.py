"""Opens the data set of a definition, or of a folder on the command line."""

from collections.abc import Callable
from pathlib import Path

from slotcli.data.dataset import Dataset
from slotcli.data.formats.celeba import Celeba
from slotcli.data.formats.clevrtex import Clevrtex
from slotcli.data.formats.davis import Davis
from slotcli.data.formats.movi import Movi
from slotcli.data.formats.ytvis import YoutubeVis
from slotcli.data.kinds import DataKind, PublicKind
from slotcli.data.masked_videos import MaskedVideos
from slotcli.data.mixture import Mixture
from slotcli.data.rendered import SynthDataset
from slotcli.data.sprites import Sprites
from slotcli.data.synth_folder import SynthFolder
from slotcli.data.video_folder import VideoFolder
from slotcli.spec import DataSpec, FolderSpec, MixtureSpec, SplitName, SpritesSpec, SynthSpec
from slotcli.types import Size

_PUBLIC: dict[PublicKind, Callable[[Path, SplitName, Size | None], "Dataset"]] = {
    "movi": Movi,
    "clevrtex": Clevrtex,
    "celeba": Celeba,
    "davis": Davis,
    "ytvis": YoutubeVis,
}


def open_dataset(spec: DataSpec, size: Size) -> Dataset:
    """The data set of a spec, at a model's size."""
    if isinstance(spec, SynthSpec):
        return SynthDataset(spec, size)
    if isinstance(spec, FolderSpec):
        videos = VideoFolder(Path(spec.path), size)
        return videos if spec.masks is None else MaskedVideos(videos, Path(spec.masks))
    if isinstance(spec, SpritesSpec):
        return Sprites(spec, size)
    if isinstance(spec, MixtureSpec):
        parts = [open_dataset(part.data, size) for part in spec.parts]
        return Mixture(parts, [part.share for part in spec.parts])
    return open_public(spec.kind, Path(spec.path), spec.split, size)


def open_public(kind: PublicKind, folder: Path, split: SplitName, size: Size | None) -> Dataset:
    """A split of a published data set. Raises NoSplitError, NoInputError and DataError."""
    return _PUBLIC[kind](folder, split, size)


def open_folder(folder: Path, kind: DataKind, split: SplitName, size: Size | None) -> Dataset:
    """Any data in a folder; data without splits is returned whole.

    Rendered scenes keep their own size whatever `size` is. Raises NoSplitError, NoInputError and
    DataError.
    """
    if kind == "synth":
        return SynthFolder(folder)
    if kind == "folder":
        return VideoFolder(folder, size)
    return open_public(kind, folder, split, size)
