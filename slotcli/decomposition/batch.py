"""Decomposes many clips, one result each: skips finished ones, and continues past failures."""

import copy
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch

from slotcli.checkpoint import LoadedModel
from slotcli.decomposition.clip_encoder import ClipEncoder, EncodedChunk
from slotcli.decomposition.clip_record import ClipJob, ClipResult
from slotcli.decomposition.clip_run import ClipRun, open_clip_run
from slotcli.decomposition.plan import PlannedClip
from slotcli.decomposition.request import DecomposeOptions, Request, existing_status, request_of
from slotcli.errors import (
    BusyError,
    SlotcliError,
    UsageError,
    clip_error,
    error_from_code,
    printable,
)
from slotcli.files.places import clear_journal
from slotcli.types import FrameChunk

# done: by an earlier run, or by another one during this run; busy: locked by another run; degraded
# without a result: found so by an earlier run; unfinished: the run ended before it.
Status = Literal["ok", "degraded", "done", "busy", "failed", "unfinished"]
Progress = Callable[[PlannedClip, int, int | None], None]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one clip; `result` if this run made it, `error` if it failed."""

    clip: PlannedClip
    status: Status
    result: ClipResult | None = None
    error: SlotcliError | None = None

    def as_dict(self) -> dict[str, Any]:
        """One clip's row of the output, of the summary, and of an engine's results."""
        result, error = self.result, self.error
        return {
            "source": printable(self.clip.source),
            "result": printable(self.clip.result),
            "status": self.status,
            "frames": result and result.frames,
            "resumed_frames": result and result.resumed,
            "seconds": result and round(result.seconds, 3),
            "busy_seconds": result and result.busy,
            "warnings": result.warnings if result else [],
            "error": error and error.what,
            "advice": error and error.advice,
            "exit_code": error and error.exit_code,
        }

    @classmethod
    def from_dict(cls, clip: PlannedClip, row: dict[str, Any]) -> "Outcome":
        """The outcome of `clip` from a worker's `as_dict`."""
        result = error = None
        if row["frames"] is not None:
            result = ClipResult(
                clip.result,
                row["status"],
                row["frames"],
                row["resumed_frames"],
                row["seconds"],
                row["busy_seconds"],
                row["warnings"],
            )
        if row["error"] is not None:
            error = error_from_code(row["exit_code"], row["error"], row["advice"])
        return cls(clip, row["status"], result, error)


def run_clips(
    clips: list[PlannedClip],
    loaded: LoadedModel,
    options: DecomposeOptions,
    device: torch.device,
    *,
    together: int,
    progress: Progress,
) -> Iterator[Outcome]:
    """Yields the outcome of each clip when it is known; `together` clips share the model at once.

    Raises UsageError where the options are wrong, and exceptions that stop the process.
    """
    spec, model = loaded.slot_model()
    options = options.settled(model)
    loaded = options.applied(loaded)
    encoder = ClipEncoder(model, device, spec.background_slot)
    waiting = iter(clips)
    running: list[ClipRun] = []
    ending: list[_Ending] = []  # D14
    with ThreadPoolExecutor(1, "finish") as finishing:

        def end(run: ClipRun) -> None:
            running.remove(run)
            ending.append(_Ending(run, finishing.submit(run.finish)))

        def ended(most_left: int = 0) -> Iterator[Outcome]:
            while len(ending) > most_left or (ending and ending[0].result.done()):
                outcome = ending[0].outcome()
                ending.pop(0)
                yield outcome

        try:
            while True:
                while len(running) < together and (clip := next(waiting, None)) is not None:
                    begun = _open_run(clip, loaded, options, device)
                    if isinstance(begun, Outcome):
                        yield from ended()  # in the order of the clips
                        yield begun
                    else:
                        running.append(begun)
                yield from ended(1 if running else 0)
                if not running:
                    return
                for outcome in _one_round(list(running), encoder, progress, end):
                    yield from ended()
                    running = [run for run in running if run.clip is not outcome.clip]
                    yield outcome
        except BaseException as error:
            finishing.shutdown(cancel_futures=True)
            for run in [*running, *(each.run for each in ending)]:
                # Every run is closed, whatever closing the others raises.
                with suppress(Exception):
                    run.close(error)
            raise


@dataclass(frozen=True)
class _Ending:
    """A clip whose last files are being written while the next clip is encoded."""

    run: ClipRun
    result: Future[ClipResult]

    def outcome(self) -> Outcome:
        """Waits for it, and closes the run in the thread that opened it, which holds its lock."""
        try:
            result = self.result.result()
            self.run.close()
        except Exception as error:
            return _failed(self.run, error)
        return Outcome(self.run.clip, result.status, result=result)


def _open_run(
    clip: PlannedClip, loaded: LoadedModel, options: DecomposeOptions, device: torch.device
) -> ClipRun | Outcome:
    try:
        request = request_of(clip, loaded, options)
    except Exception as error:
        return Outcome(clip, "failed", error=clip_error(error, clip.source))
    if (done := _existing_outcome(clip, request, options)) is not None:
        return done
    try:
        return open_clip_run(ClipJob(clip, loaded, options, device, request))
    except BusyError as error:
        return Outcome(clip, "busy", error=error)
    except UsageError:
        raise
    except Exception as error:
        # Another run may have finished it in the meantime.
        done = _existing_outcome(clip, request, options)
        return done or Outcome(clip, "failed", error=clip_error(error, clip.source))


def _existing_outcome(
    clip: PlannedClip, request: Request, options: DecomposeOptions
) -> Outcome | None:
    status = None if options.overwrite else existing_status(clip, request)
    if status is None:
        return None
    clear_journal(clip.result)
    return Outcome(clip, "done" if status == "ok" else "degraded")


def _one_round(
    running: list[ClipRun],
    encoder: ClipEncoder,
    progress: Progress,
    end: Callable[[ClipRun], None],
) -> Iterator[Outcome]:
    """Processes one chunk of every clip; yields failures, and hands clips without more to `end`."""
    chunks: list[tuple[ClipRun, FrameChunk]] = []
    for run in running:
        try:
            chunk = run.next_chunk()
            if chunk is None:
                end(run)
            else:
                chunks.append((run, chunk))
        except Exception as error:
            yield _failed(run, error)
    if not chunks:
        return
    started = time.monotonic()
    encoded, failures = _encode_round(encoder, chunks)
    for run, error in failures:
        yield _failed(run, error)
    seconds = (time.monotonic() - started) / len(chunks)
    for run, chunk, encoding in encoded:
        try:
            run.take(chunk, encoding, seconds)
        except Exception as error:
            yield _failed(run, error)
        else:
            progress(run.clip, run.frames, run.expected_frames)


def _encode_round(
    encoder: ClipEncoder, chunks: list[tuple[ClipRun, FrameChunk]]
) -> tuple[list[tuple[ClipRun, FrameChunk, EncodedChunk]], list[tuple[ClipRun, Exception]]]:
    """Encodes the chunks of all clips in one batch; if that fails, each alone to find the cause.

    Returns the encoded chunks, and the clips that failed.
    """
    before = [copy.deepcopy(run.state) for run, _ in chunks] if len(chunks) > 1 else []
    try:
        encodings = encoder.encode_together(
            [run.state for run, _ in chunks], [chunk for _, chunk in chunks]
        )
    except Exception as error:
        if len(chunks) == 1 or isinstance(error, BusyError):
            return [], [(run, error) for run, _ in chunks]
        encoded, failures = [], []
        for (run, chunk), state in zip(chunks, before, strict=True):
            run.state = state
            done, failed = _encode_round(encoder, [(run, chunk)])
            encoded, failures = encoded + done, failures + failed
        return encoded, failures
    return [(run, chunk, done) for (run, chunk), done in zip(chunks, encodings, strict=True)], []


def _failed(run: ClipRun, error: Exception) -> Outcome:
    # The first failure matters more than one to close.
    with suppress(Exception):
        run.close(error)
    if isinstance(error, UsageError):
        raise error
    return Outcome(run.clip, "failed", error=clip_error(error, run.clip.source))
