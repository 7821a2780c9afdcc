"""One clip to its result folder: a single pass over the frames in constant memory.

Five threads share the work: one decodes ahead, the caller's runs the model, one writes behind, and
after that one others render the overlay and what the page shows. The model's output is in the
clip's journal before it is written anywhere else. A run that was stopped resumes with the first
missing chunk: frames are decoded and rendered again, which gives the same bytes as an uninterrupted
run, and the model sees each frame once.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from slotcli.checkpoint import file_sha256
from slotcli.decomposition.clip_encoder import ClipState, EncodedChunk, Start, model_input
from slotcli.decomposition.clip_outputs import LEAD_IN, ClipOutputs, check_background
from slotcli.decomposition.clip_record import (
    ClipJob,
    ClipResult,
    judge_damage,
    result_record,
    slot_file_metadata,
)
from slotcli.decomposition.correction import permitted_slots
from slotcli.decomposition.cyclic import encoded_cyclically
from slotcli.decomposition.estimate import bytes_per_frame, expected_frames, require_space
from slotcli.decomposition.journal import Journal
from slotcli.decomposition.pipeline import BackgroundWorker, Prefetcher
from slotcli.decomposition.request import describe_difference
from slotcli.errors import CannotCreateError, NoInputError, Terminated, UsageError, printable
from slotcli.faults import may_fail
from slotcli.files.layout import PAGE, RESULT, SLOT_FILE
from slotcli.files.places import (
    clear_journal,
    hidden_sibling,
    journal_path,
    locked,
    make_parents,
    put_in_place,
    recover,
    work_folder,
)
from slotcli.files.reading import access_errors
from slotcli.files.writing import output_errors, whole_file
from slotcli.report.page import write_report
from slotcli.results.provenance import damage_warnings, report_page, source_facts
from slotcli.tracks.transform import Transform
from slotcli.types import FrameChunk
from slotcli.video.images import ImageFolderReader
from slotcli.video.reader import ClipReader, open_clip
from slotcli.video.selection import select_frames
from slotcli.video.source import SourceInfo

_WAITING_CHUNKS = 2  # each, before and after the model

Written = tuple[FrameChunk, torch.Tensor]  # frames and the attention that their masks come from


class ClipRun:
    """The run that writes a clip's result folder, as `open_clip_run` opens it.

    The caller requests chunks, has the model encode them, and hands them back, in order, until
    there is none; then it calls `finish`. In any case it finally calls `close`. A failure leaves no
    files; where the process is stopped (Ctrl-C, SIGTERM, or killed) the journal remains, for the
    same request to resume from.
    """

    def __init__(
        self,
        job: ClipJob,
        reader: ClipReader | ImageFolderReader,
        state: ClipState,
        journal: Journal,
        outputs: ClipOutputs,
        work: Path,
        ahead: Prefetcher[FrameChunk],
        behind: BackgroundWorker[Written],
        files: ExitStack,
        started: float,
    ) -> None:
        self.clip = job.clip
        self.state = state
        self.expected_frames = expected_frames(reader.info, job.options.selection)
        self.frames = 0  # encoded by the model so far
        self._job = job
        self._reader, self._journal, self._outputs, self._work = reader, journal, outputs, work
        self._ahead, self._behind = ahead, behind
        self._chunks = iter(ahead)
        self._files = files
        self._started = started
        self._resumed = 0
        self._model_seconds = 0.0

    def close(self, error: BaseException | None = None) -> None:
        """Ends the threads and removes partial files; `error` is the reason why the run failed."""
        if error is None:
            self._files.close()
        else:
            self._files.__exit__(type(error), error, error.__traceback__)

    def next_chunk(self) -> FrameChunk | None:
        """The next chunk for the model; None at the end. Replays the chunks in the journal."""
        for chunk in self._chunks:
            done = self._journal.replay(chunk)
            if done is None:
                return chunk
            slots, attention, flags = done
            self.state.resets(chunk)
            self.state.resume_from(slots)
            self._resumed += len(chunk)
            self.frames += len(chunk)
            self._behind.put((_flagged(chunk, flags), torch.from_numpy(attention)))
        return None

    def take(self, chunk: FrameChunk, encoded: EncodedChunk, seconds: float) -> None:
        """Accepts a chunk with its encoding, which took `seconds`.

        Raises NumericError naming the first frame that is not finite, OutputError and its kin.
        """
        self._model_seconds += seconds
        chunk = _flagged(chunk, encoded.flags)
        self._journal.append(encoded.slots, encoded.attention, chunk, encoded.appearance)
        self.frames += len(chunk)
        may_fail("chunk")
        self._behind.put((chunk, encoded.attention))

    def finish(self) -> ClipResult:
        """Completes every file, result.json last, and renames the folder to its final path.

        Raises DataError for a loss that the options do not allow, NoInputError where no frame was
        selected.
        """
        self._behind.finish()
        job, source, outputs = self._job, self._reader.info, self._outputs
        damage = self._reader.damage
        status = judge_damage(damage, job.options, source.name)
        if outputs.frames == 0:
            raise NoInputError(
                f"{source.name}: no frame is in the segment that was asked for.",
                "Check --start and --end, which count from the first frame, against its duration.",
            )
        facts = {"source": source_facts(source), "frames": outputs.frames}
        summaries = outputs.finish(facts)
        warnings = damage_warnings(damage) + self._journal.remarks + outputs.remarks
        metadata = slot_file_metadata(job, source, self.state.transform, outputs, damage, summaries)
        self._journal.finish(self._work / SLOT_FILE, metadata)
        # Rounded as it is recorded, so that a page made again shows the same.
        seconds = round(time.monotonic() - self._started, 3)
        verdict = outputs.verdict()
        assert outputs.view is not None
        page = report_page(
            metadata,
            summaries,
            warnings,
            seconds,
            verdict,
            outputs.view,
            has_overlay=outputs.has_overlay,
            opacity=job.options.opacity,
        )
        write_report(self._work / PAGE, page, job.options.page)
        result = ClipResult(
            self.clip.result,
            status,
            outputs.frames,
            self._resumed,
            seconds,
            self._busy_seconds(),
            warnings,
            round(outputs.seconds, 6),
            sum(own.id > 0 and own.frames_present > 0 for own in summaries),
        )
        record = result_record(job, source, damage, result, metadata, verdict)
        record["slots_sha256"] = file_sha256(self._work / SLOT_FILE)
        with whole_file(self._work / RESULT) as file:
            file.write(json.dumps(record, indent=1, sort_keys=True).encode() + b"\n")
        put_in_place(self._work, self.clip.result)
        clear_journal(self.clip.result)
        return result

    def _busy_seconds(self) -> dict[str, float]:
        return {
            "decode": round(self._ahead.busy, 3),
            "model": round(self._model_seconds, 3),
            "write": round(self._behind.busy - self._outputs.waited_seconds, 3),
            "overlay": round(self._outputs.drawing_seconds, 3),
            "page": round(self._outputs.viewing_seconds, 3),
        }


def open_clip_run(job: ClipJob) -> ClipRun:
    """Locks a clip's result path, opens its source, journal and outputs.

    Raises CannotCreateError where something exists that may not be replaced, BusyError where
    another run has the clip, UsageError for a background that the model lacks, and the reader's
    errors for the source.
    """
    started, place, options = time.monotonic(), job.clip.result, job.options
    check_background(options.background, job.spec.num_slots)
    with ExitStack() as files:
        enter = files.enter_context
        enter(make_parents(place))
        enter(locked(place))
        enter(_journal_of_a_failure_removed(place))
        recover(place)
        _require_free(job)
        with access_errors(job.clip.source):
            opened = open_clip(job.clip.source, max_pixels=options.max_pixels)
        reader = enter(opened)
        _require_space(job, reader.info)
        transform = options.transform(reader.info.size, job.spec.size)
        work = enter(work_folder(place, hidden_sibling(place, "part")))
        journal = Journal(journal_path(place), job.journal_key())
        outputs = enter(
            ClipOutputs(
                work,
                reader.info,
                options.labelling(transform),
                job.spec.num_slots,
                options.masks,
                job.background(),
                overlay=options.overlay,
                excerpt=options.selection.start > 0,
                stride=options.selection.stride,
                opacity=options.opacity,
            )
        )

        def write(item: Written) -> None:
            outputs.add(*item)

        behind = enter(BackgroundWorker(write, _WAITING_CHUNKS))
        frames = select_frames(
            reader.chunks(options.chunk), options.selection, reader.info.time_base, options.chunk
        )
        ahead = enter(Prefetcher(_with_lead_in(frames), _WAITING_CHUNKS))
        state = ClipState(transform, options.reset, _start(job, transform))
        if options.cyclic:
            state.made = _made_before(job, transform)
        return ClipRun(
            job, reader, state, journal, outputs, work, ahead, behind, files.pop_all(), started
        )


def _made_before(job: ClipJob, transform: Transform) -> EncodedChunk | None:
    """The clip encoded on its way back, in a reading of its own."""
    options = job.options
    with open_clip(job.clip.source, max_pixels=options.max_pixels) as reader:
        chunks = select_frames(
            reader.chunks(options.chunk), options.selection, reader.info.time_base, options.chunk
        )
        return encoded_cyclically(job.model, job.device, chunks, transform)


def _start(job: ClipJob, transform: Transform) -> Start | None:
    """The frames up to a corrected one, which are read once more and kept at the model's size.

    Raises UsageError where the frame is not selected, and DataError for labels that do not fit.
    """
    correction, options = job.options.start_from, job.options
    if correction is None:
        return None
    encoder = job.model.encoder
    grid = tuple(side // encoder.backbone.stride for side in transform.model_size)
    permitted = permitted_slots(
        correction, transform, (grid[0], grid[1]), job.spec.num_slots, job.spec.background_slot
    )
    frames: list[torch.Tensor] = []
    with open_clip(job.clip.source, max_pixels=options.max_pixels) as reader:
        chunks = reader.chunks(options.chunk)
        for chunk in select_frames(chunks, options.selection, reader.info.time_base, options.chunk):
            wanted = chunk.frame_index <= correction.frame
            if wanted.any():
                frames.append(model_input(transform, chunk)[torch.from_numpy(wanted)])
            if correction.frame in chunk.frame_index:
                return Start(torch.cat(frames), permitted)
            if not wanted.all():
                break
    raise UsageError(
        f"--start-from: frame {correction.frame} is not among the frames of this run.",
        "Frames count from 0; --start, --end, --stride and --max-frames leave some out.",
    )


@contextmanager
def _journal_of_a_failure_removed(place: Path) -> Iterator[None]:
    """Removes the journal if the run fails, because it would fail again; a stopped run keeps it."""
    try:
        yield
    except (KeyboardInterrupt, Terminated, GeneratorExit):
        raise
    except BaseException:
        clear_journal(place)
        raise


def _require_space(job: ClipJob, source: SourceInfo) -> None:
    if source.indexed_frames is None:
        return  # declared and derived counts may be wrong by any factor
    options = job.options
    frames = min(expected_frames(source, options.selection) or 0, source.indexed_frames)
    each = bytes_per_frame(source.size, job.spec.num_slots, options.masks, overlay=options.overlay)
    require_space(job.clip.result, each * frames)


def _require_free(job: ClipJob) -> None:
    try:
        require_free(job.clip.result, job.options.overwrite)
    except CannotCreateError as error:
        if not (job.clip.result / RESULT).is_file():
            raise
        why = describe_difference(job.clip, job.request)
        raise CannotCreateError(f"{error.what.rstrip('.')}: {why}.", error.advice) from None


def require_free(place: Path, overwrite: bool) -> None:
    """Raises CannotCreateError where something exists that may not be replaced."""
    with output_errors(place):
        if not os.path.lexists(place):
            return
    shown = printable(place)
    if not (place / RESULT).is_file() or place.is_symlink():
        # F1: the file may be the source itself, where the output folder is the source's own.
        raise CannotCreateError(
            f"{shown}: exists already, and is no result of slotcli.", "Choose another --out."
        )
    if not overwrite:
        raise CannotCreateError(f"{shown}: exists already.", "Use --overwrite, or another --out.")


def _flagged(chunk: FrameChunk, flags: np.ndarray) -> FrameChunk:
    return replace(chunk, flags=flags)


def _with_lead_in(chunks: Iterator[FrameChunk]) -> Iterator[FrameChunk]:
    """Yields the same frames; the first chunk has the whole lead-in, or all of a shorter clip."""
    first: list[FrameChunk] = []
    for chunk in chunks:
        first.append(chunk)
        if sum(len(part) for part in first) >= LEAD_IN:
            break
    if first:
        fields = ("frames", "pts", "duration", "frame_index", "flags")
        joined = {name: np.concatenate([getattr(c, name) for c in first]) for name in fields}
        joined_chunk = FrameChunk(**joined)
        # A generator's variables outlive its yields: these frames would be kept for the whole clip.
        del first, joined
        yield joined_chunk
        del joined_chunk
    yield from chunks
