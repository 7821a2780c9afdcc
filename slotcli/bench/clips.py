"""Times a clip from its file to its result folder, by stage, and the codec alone."""

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
from slotcli.types import Size
from slotcli.video.reader import open_clip

STAGES = ("decode", "model", "write", "overlay")


@dataclass(frozen=True)
class EndToEnd:
    """Timed runs over a whole clip. Stages run in parallel: the seconds that each worked, per run.

    `codec` is decoding alone, into the planes of the file, with nothing else running.
    """

    clip: str
    size: Size
    whole: Timing
    codec: Timing
    stages: dict[str, tuple[float, ...]]

    def share(self, stage: str) -> float:
        """The fraction of wall-clock time in which a stage was busy; near 1, the bottleneck."""
        pairs = zip(self.stages[stage], self.whole.seconds, strict=True)
        return median(busy / seconds for busy, seconds in pairs)

    @property
    def bottleneck(self) -> str:
        return max(STAGES, key=self.share)

    def as_dict(self) -> dict[str, Any]:
        return {
            "clip": self.clip,
            "size": list(self.size),
            "whole": self.whole.as_dict(),
            "codec_alone": self.codec.as_dict(),
            "frames_per_second": 1 / self.whole.per_frame,
            "codec_frames_per_second": 1 / self.codec.per_frame,
            "stages": {
                stage: {"busy_seconds": list(busy), "share": self.share(stage)}
                for stage, busy in self.stages.items()
            },
            "bottleneck": self.bottleneck,
        }


def bench_clip(
    path: Path,
    loaded: LoadedModel,
    device: torch.device,
    *,
    rounds: int,
    tell: Callable[[str], None],
) -> EndToEnd:
    """Decomposes a clip into a temporary folder; once to warm up, then `rounds` times.

    Raises the errors of decompose for a clip, DataError for one that is damaged or no video.
    """
    results: list[ClipResult] = []

    def decompose() -> None:
        with tempfile.TemporaryDirectory() as out:
            (clip,) = plan([str(path)], Path(out), recursive=False).clips
            results.append(_decomposed(clip, loaded, device))

    decompose()
    tell(f"decompose {printable(path.name)}")
    timings = interleaved(
        {"decompose": decompose, "decode": partial(_decode, path)},
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
        codec=timings["decode"],
        stages={stage: tuple(own.busy[stage] for own in results) for stage in STAGES},
    )


def _decomposed(clip: PlannedClip, loaded: LoadedModel, device: torch.device) -> ClipResult:
    (outcome,) = run_clips(
        [clip],
        loaded,
        DecomposeOptions(),
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
