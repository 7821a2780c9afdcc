"""Renders many clips into a folder; existing clips are not rendered again."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from slotcli.errors import CannotCreateError
from slotcli.files.writing import output_errors, whole_file
from slotcli.scenes.folder import (
    INDEX,
    MASKS,
    VIDEOS,
    SynthClip,
    index_text,
    read_index,
)
from slotcli.scenes.physics import FRAMES_PER_SECOND
from slotcli.tracks.masks import Ffv1MaskWriter, PngMaskWriter
from slotcli.types import Clip
from slotcli.video.writer import VideoWriter

_TIME_BASE = Fraction(1, FRAMES_PER_SECOND)
_INDEX_EVERY = 16  # clips; after a crash those since then are rendered again


def write_clips(
    folder: Path,
    clips: Sequence[SynthClip],
    *,
    overwrite: bool,
    render: Callable[[SynthClip], Clip],
    progress: Callable[[int, int], None],
) -> int:
    """Render the clips missing in `folder`, each written completely or not at all; return how many.

    Existing clips of other tiers and seeds are kept. Raises CannotCreateError if a clip exists with
    another size or length, or from other asset folders, and `overwrite` is off; OutputError and its
    kin; and the errors of `render`.
    """
    index = read_index(folder)
    planned = [clip if overwrite else _with_masks_of(index.get(clip.name), clip) for clip in clips]
    missing = [clip for clip in planned if overwrite or index.get(clip.name) != clip]
    with output_errors(folder):
        (folder / VIDEOS).mkdir(parents=True, exist_ok=True)
        (folder / MASKS).mkdir(exist_ok=True)
    try:
        for done, clip in enumerate(missing, start=1):
            _write_clip(folder, clip, render)
            index[clip.name] = clip
            if done % _INDEX_EVERY == 0:
                _write_index(folder, index)
            progress(len(clips) - len(missing) + done, len(clips))
    finally:
        _write_index(folder, index)
    return len(missing)


def _with_masks_of(there: SynthClip | None, wanted: SynthClip) -> SynthClip:
    """`wanted` with the kinds of masks of both clips, so that existing masks are kept."""
    if there is None:
        return wanted
    if (there.frames, there.size) != (wanted.frames, wanted.size):
        raise CannotCreateError(
            f"{wanted.name} is there already, with {there.frames} frames of {list(there.size)}.",
            "Ask for the same, choose another folder, or use --overwrite.",
        )
    if there.assets != wanted.assets:
        raise CannotCreateError(
            f"{wanted.name} is there already, made from other folders: {', '.join(there.assets)}.",
            "Choose another folder, or use --overwrite.",
        )
    added = tuple(kind for kind in wanted.masks if kind not in there.masks)
    return replace(there, masks=there.masks + added)


def _write_clip(folder: Path, clip: SynthClip, render: Callable[[SynthClip], Clip]) -> None:
    rendered = render(clip)
    part = folder / f".{clip.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        with output_errors(part):
            (part / VIDEOS).mkdir(parents=True)
            (part / MASKS).mkdir()
        _write_files(part, clip, rendered)
        with output_errors(folder):
            for kind in clip.masks:
                target = clip.labels(folder, kind)
                if target.is_dir():
                    shutil.rmtree(target)
                clip.labels(part, kind).replace(target)
            clip.video(part).replace(clip.video(folder))
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_files(folder: Path, clip: SynthClip, rendered: Clip) -> None:
    assert rendered.labels is not None
    frames = rendered.frames.permute(0, 2, 3, 1).cpu().numpy()
    with ExitStack() as files:
        video = files.enter_context(
            VideoWriter(clip.video(folder), clip.size, _TIME_BASE, codec="h264")
        )
        masks = [files.enter_context(writer) for writer in _mask_writers(folder, clip)]
        for pts, labels in enumerate(rendered.labels.cpu().numpy()):
            video.write(frames[pts], pts, 1)
            for writer in masks:
                writer.write(labels, pts, 1)


def _mask_writers(folder: Path, clip: SynthClip) -> Iterable[PngMaskWriter | Ffv1MaskWriter]:
    for kind in clip.masks:
        path = clip.labels(folder, kind)
        if kind == "png":
            yield PngMaskWriter(path)
        else:
            yield Ffv1MaskWriter(path, clip.size, _TIME_BASE)


def _write_index(folder: Path, index: Mapping[str, SynthClip]) -> None:
    with whole_file(folder / INDEX) as file:
        file.write(index_text(index.values()).encode())
