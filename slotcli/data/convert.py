"""Converts any data set into lossless folders of frames, each clip's folder whole or not at all."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import UInt8
from PIL import Image

from slotcli.data.conversion import (
    MANIFEST,
    Conversion,
    ConvertedClip,
    clip_folder,
    read_conversion,
)
from slotcli.data.dataset import Dataset
from slotcli.data.inspection import unreadable_clips
from slotcli.data.kinds import DataKind
from slotcli.errors import (
    BusyError,
    CannotCreateError,
    DataError,
    NoInputError,
    SlotcliError,
    clip_error,
    printable,
)
from slotcli.files.places import put_in_place, work_folder
from slotcli.files.writing import output_errors, whole_file
from slotcli.spec import SplitName
from slotcli.tracks.masks import PNG_COMPRESSION
from slotcli.tracks.palette import davis_palette
from slotcli.types import Clip

_NOTED_EVERY = 64  # clips; a run that is killed leaves later ones as folders without a record
_LOCK = ".slotcli.lock"


@dataclass(frozen=True)
class Converted:
    """The clips written by this run and by earlier ones, and those that could not be read."""

    written: int
    there: int
    broken: dict[str, SlotcliError]


def convert_split(
    dataset: Dataset,
    out: Path,
    *,
    kind: DataKind,
    source: Path,
    split: SplitName,
    keep_going: bool,
    progress: Callable[[int, int], None],
) -> Converted:
    """Writes the missing clips to `out`/`split`, in the layout of data.conversion.

    Frames and labels keep their values and their size. Unless `keep_going`, the first clip that
    cannot be read ends it: raises DataError or NoInputError. Raises CannotCreateError where the
    folder holds anything else, BusyError where another run is writing to it, OutputError and its
    kin.
    """
    target = out / split
    broken = unreadable_clips(dataset)
    if broken and not keep_going:
        raise next(iter(broken.values()))
    written = there = 0
    with _sole_run(target):
        clips = _planned_clips(target, dataset, kind, split)
        record = Conversion(kind=kind, source=str(source), split=split, clips=clips)
        _note(target, record, clips)
        try:
            for number in range(len(clips)):
                was_there = (target / clip_folder(number)).is_dir()
                try:
                    clips[number] = _convert_clip(dataset, number, target, clips[number])
                except Exception as error:
                    failure = clip_error(error)
                    is_bug = failure.exit_code == SlotcliError.exit_code
                    if not keep_going or not (
                        is_bug or isinstance(failure, DataError | NoInputError)
                    ):
                        raise
                    broken[clips[number].name] = failure
                    clips[number] = ConvertedClip(name=clips[number].name, broken=failure.what)
                else:
                    written, there = written + (not was_there), there + was_there
                if (number + 1) % _NOTED_EVERY == 0:
                    _note(target, record, clips)
                progress(number + 1, len(clips))
        finally:
            _note(target, record, clips)
    return Converted(written, there, broken)


def _convert_clip(
    dataset: Dataset, number: int, target: Path, planned: ConvertedClip
) -> ConvertedClip:
    """Converts a clip unless its folder exists; returns its record."""
    folder = target / clip_folder(number)
    if folder.is_dir():
        frames = planned.frames or dataset.frames(number)
    else:
        dataset.verify(number)
        frames = 0
        with work_folder(folder) as work:
            for clip in dataset.stream(number):
                _write_frames(clip, work, frames)
                frames += len(clip.frames)
            put_in_place(work, folder)
    return ConvertedClip(name=planned.name, video_name=dataset.video_name(number), frames=frames)


def _planned_clips(
    target: Path, dataset: Dataset, kind: DataKind, split: SplitName
) -> list[ConvertedClip]:
    """The clips in the folder's record; without one, those to convert."""
    names = [dataset.name(index) for index in range(len(dataset))]
    record = read_conversion(target)
    if record is None:
        if any(path.name != _LOCK for path in target.iterdir()):
            raise CannotCreateError(
                f"{printable(target)} holds something that slotcli data convert did not write.",
                "Choose another output folder.",
            )
        return [ConvertedClip(name=name) for name in names]
    if (record.kind, record.split, [clip.name for clip in record.clips]) != (kind, split, names):
        raise CannotCreateError(
            f"{printable(target)} holds other clips, of {printable(record.source)}.",
            "Choose another output folder.",
        )
    return list(record.clips)


@contextmanager
def _sole_run(target: Path) -> Iterator[None]:
    """Locks a folder against other conversions, and removes partial folders of a killed one."""
    with output_errors(target):
        target.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target / _LOCK, timeout=0)
    try:
        with output_errors(target / _LOCK):
            lock.acquire()
    except Timeout as error:
        raise BusyError(
            f"Another slotcli data convert is writing to {printable(target)}.", "Let it finish."
        ) from error
    try:
        for left in target.glob(".slotcli-*.part"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        (target / _LOCK).unlink(missing_ok=True)
        lock.release()


def _note(target: Path, record: Conversion, clips: list[ConvertedClip]) -> None:
    """Writes the record, with the current state of the clips."""
    text = record.model_copy(update={"clips": clips}).model_dump_json(by_alias=True, indent=1)
    with whole_file(target / MANIFEST) as file:
        file.write(text.encode() + b"\n")


def _write_frames(clip: Clip, folder: Path, first: int) -> None:
    pictures = clip.frames.permute(0, 2, 3, 1).numpy()
    for number, picture in enumerate(pictures, start=first):
        _save(Image.fromarray(np.ascontiguousarray(picture)), folder / f"{number:06d}.png")
    if clip.labels is not None:
        for number, labels in enumerate(clip.labels.numpy(), start=first):
            _save(_palette_image(labels), folder / f"{number:06d}_mask.png")


def _palette_image(labels: UInt8[np.ndarray, "h w"]) -> Image.Image:
    height, width = labels.shape
    image = Image.frombytes("P", (width, height), np.ascontiguousarray(labels).tobytes())
    image.putpalette(davis_palette().tobytes())
    return image


def _save(image: Image.Image, path: Path) -> None:
    with output_errors(path):
        image.save(path, format="PNG", compress_level=PNG_COMPRESSION)
