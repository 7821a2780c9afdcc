"""One clip decomposed from Python; the command line has the same options and does the same work."""

import math
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import torch

from slotcli.checkpoint import model_size
from slotcli.compute.devices import named_device
from slotcli.decomposition.option_words import given_options
from slotcli.decomposition.plan import PlannedClip, plan
from slotcli.decomposition.worker import Work
from slotcli.errors import ClipWarning, UsageError, printable, require_choice
from slotcli.files.layout import DEFAULT_MODEL
from slotcli.kernels.dispatch import Backend, backend, use_backend
from slotcli.limits import threads_for
from slotcli.report.page import PageKind
from slotcli.results.result import Result, load
from slotcli.tracks.fitting import Fit
from slotcli.tracks.labelling import Edges
from slotcli.types import Size
from slotcli.video.own_outputs import DEFAULT_OUT
from slotcli.video.source import MAX_PIXELS

Precision = Literal["auto", "fp32", "bf16"]


def decompose(
    path: str | Path,
    model: str | Path = DEFAULT_MODEL,
    *,
    out: str | Path | None = DEFAULT_OUT,
    overwrite: bool = False,
    masks: str | Sequence[str] = "png",
    frames: bool = False,
    overlay: bool = True,
    opacity: float | None = None,
    page: PageKind | None = None,
    background: str | int | Sequence[int] = "auto",
    edges: Edges | None = None,
    min_area: float = 0.0,
    largest_component: bool = False,
    fit: Fit | None = None,
    size: str | int | Size | None = None,
    reset: str = "never",
    slots: int | None = None,
    slot_seed: int | None = None,
    cyclic: bool = False,
    start: float = 0.0,
    end: float | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    max_bad: float = 0.02,
    strict: bool = False,
    max_pixels: int = MAX_PIXELS,
    chunk: int = 16,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    kernels: Backend = "auto",
    progress: Callable[[int, int | None], None] | None = None,
) -> Result:
    """Finds the objects of one clip, as `slotcli decompose` does, and returns the result.

    `path` is a video, a folder of images or one image; `model` a name, a folder or a weights file.
    The result's folder is made below `out`; with None it lasts as long as the returned object. A
    stopped call resumes when it is repeated, and a result of the same request is not made again.
    The options are those of the command line: `start` and `end` in seconds, `min_area` in pixels or
    as a fraction of the frame, `size` N or (height, width), `background` auto, none or IDs.
    `progress` is called with the frames done and their expected number, None if unknown.

    Remarks on what was damaged or lost are issued as ClipWarning. Raises the exceptions of
    slotcli.errors: UsageError, NoInputError, DataError, CannotCreateError where another result
    exists, BusyError where another process is making it. Threads and kernels of this process are
    the same afterwards.
    """
    require_choice("--precision", precision, get_args(Precision))
    require_choice("--kernels", kernels, get_args(Backend))
    options = given_options(
        masks=masks,
        frames=frames,
        overlay=overlay,
        opacity=opacity,
        page=page,
        background=background,
        edges=edges,
        min_area=min_area,
        largest_component=largest_component,
        fit=fit,
        size=size,
        reset=reset,
        slots=slots,
        slot_seed=slot_seed,
        cyclic=cyclic,
        start=start,
        end=end,
        stride=stride,
        max_frames=max_frames,
        max_bad=max_bad,
        strict=strict,
        max_pixels=max_pixels,
        chunk=chunk,
        overwrite=overwrite,
    )
    with _settings_kept():
        work = Work(
            model=str(model),
            options=options,
            device=str(named_device(device)),
            threads=threads_for(threads, math.prod(model_size(str(model)))),
            kernels=kernels,
            halved=precision == "bf16",
            together=1,
        )
        if out is not None:
            result = load(_made(work, _only_clip(Path(path), Path(out)), progress))
        else:
            result = _temporary(work, Path(path), progress)
    for warning in result.warnings:
        warnings.warn(f"{Path(path).name}: {warning}", ClipWarning, stacklevel=2)
    return result


def _temporary(
    work: Work, path: Path, progress: Callable[[int, int | None], None] | None
) -> Result:
    """A result in a folder that is removed with the object."""
    folder = tempfile.mkdtemp(prefix="slotcli-")
    try:
        result = load(_made(work, _only_clip(path, Path(folder)), progress))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    return result


def _only_clip(path: Path, out: Path) -> PlannedClip:
    planned = plan([str(path)], out, recursive=False)
    if planned.failures:
        raise planned.failures[0][1]
    if len(planned.clips) != 1:
        raise UsageError(
            f"{printable(path)}: holds {len(planned.clips)} clips, not one.",
            "Name one of them, or use slotcli decompose for all.",
        )
    return planned.clips[0]


def _made(
    work: Work, clip: PlannedClip, progress: Callable[[int, int | None], None] | None
) -> Path:
    """The result's folder, made now or before. Raises the clip's error."""

    def report(_: PlannedClip, done: int, expected: int | None) -> None:
        if progress is not None:
            progress(done, expected)

    (outcome,) = work.run(work.load(), [clip], report)
    if outcome.error is not None:
        raise outcome.error
    return clip.result


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Restores torch's threads and the form of the kernels, which belong to the whole process."""
    threads = torch.get_num_threads()
    with use_backend(backend()):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
