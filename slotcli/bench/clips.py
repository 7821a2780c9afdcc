"""Times a clip from its file to its result folder, by stage, and the codec alone."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import av
import torch
from av.error import FFmpegError

from slotcli.bench.timing import Timing, interleaved
from slotcli.checkpoint import LoadedModel
from slotcli.decomposition.batch import run_clips
from slotcli.decomposition.clip_record import ClipResult
from slotcli.decomposition.plan import PlannedClip, plan
from slotcli.decomposition.request import DecomposeOptions
from slotcli.errors import DataError, printable
from slotcli.limits import usable_cores
from slotcli.types import Size
from slotcli.video.reader import open_clip

STAGES = ("decode", "model", "write", "overlay", "page")


@dataclass(frozen=True)
class EndToEnd:
    """Timed runs over a whole clip. Stages run in parallel: the seconds that each worked, per run.

    `bare` are runs without the overlay. `codec` is decoding alone, into the planes of the file,
    with nothing else running.
    """

    clip: str
    size: Size
    whole: Timing
    bare: Timing
    codec: Timing
    stages: dict[str, tuple[float, ...]]
    cores: int

    def share(self, stage: str) -> float:
        """The fraction of wall-clock time in which a stage was busy; near 1, the bottleneck."""
        pairs = zip(self.stages[stage], self.whole.seconds, strict=True)
        return median(busy / seconds for busy, seconds in pairs)

    @property
    def bottleneck(self) -> str:
        return max(STAGES, key=self.share)

    def bound(self, stage: str) -> float:
        """Frames per second if nothing but this stage took time; infinite where it did not run."""
        seconds = median(self.stages[stage])
        return self.whole.frames / seconds if seconds else math.inf

    @property
    def cores_bound(self) -> float:
        """Frames per second if the work of all threads were spread evenly over the cores."""
        return self.whole.frames * self.cores / median(self.whole.cpu_seconds)

    def as_dict(self) -> dict[str, Any]:
        return {
            "clip": self.clip,
            "size": list(self.size),
            "whole": self.whole.as_dict(),
            "without_overlay": self.bare.as_dict(),
            "codec_alone": self.codec.as_dict(),
            "frames_per_second": 1 / self.whole.per_frame,
            "frames_per_second_without_overlay": 1 / self.bare.per_frame,
            "codec_frames_per_second": 1 / self.codec.per_frame,
            "share_of_codec": self.codec.median / self.whole.median,
            "share_of_codec_without_overlay": self.codec.median / self.bare.median,
            "stages": {
                stage: {
                    "busy_seconds": list(busy),
                    "share": self.share(stage),
                    "frames_per_second_bound": self.bound(stage),
                }
                for stage, busy in self.stages.items()
            },
            "bottleneck": self.bottleneck,
            "cores": self.cores,
            "frames_per_second_bound_of_cores": self.cores_bound,
        }


def bench_clip(
    path: Path,
    loaded: LoadedModel,
    device: torch.device,
    *,
    rounds: int,
    tell: Callable[[str], None],
) -> EndToEnd:
    """Decomposes a clip into a temporary folder; once to warm up, then `rounds` times each.

    Raises the errors of decompose for a clip, DataError for one that is damaged or no video.
    """
    results: list[ClipResult] = []

    def decompose(*, overlay: bool = True) -> ClipResult:
        with tempfile.TemporaryDirectory() as out:
            (clip,) = plan([str(path)], Path(out), recursive=False).clips
            return _decomposed(clip, loaded, device, overlay=overlay)

    results.append(decompose())
    tell(f"decompose {printable(path.name)}")
    timings = interleaved(
        {
            "decompose": lambda: results.append(decompose()),
            "decompose without overlay": lambda: decompose(overlay=False),
            "decode": partial(_decode, path),
        },
        frames=results.pop().frames,
        rounds=rounds,
        tell=lambda name: tell(f"{name} {printable(path.name)}"),
    )
    with open_clip(path) as reader:
        size = reader.info.size
    return EndToEnd(
        clip=printable(path.name),
        size=size,
        whole=timings["decompose"],
        bare=timings["decompose without overlay"],
        codec=timings["decode"],
        stages={stage: tuple(own.busy[stage] for own in results) for stage in STAGES},
        cores=usable_cores(),
    )


def _decomposed(
    clip: PlannedClip, loaded: LoadedModel, device: torch.device, *, overlay: bool
) -> ClipResult:
    (outcome,) = run_clips(
        [clip],
        loaded,
        DecomposeOptions(overlay=overlay),
        device,
        together=1,
        progress=lambda clip, frames, expected: None,
    )
    if outcome.result is None:
        assert outcome.error is not None
        raise outcome.error
    return outcome.result


def _decode(path: Path) -> None:
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "SLICE"  # as in the reader
            for _ in container.decode(stream):
                pass
    except (FFmpegError, IndexError) as error:
        raise DataError(
            f"{printable(path)}: the codec alone cannot decode it: {error}.",
            "Choose a sound video file.",
        ) from error
