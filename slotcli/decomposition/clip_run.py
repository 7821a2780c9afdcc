"""One clip to its result folder: a single pass over the frames in constant memory.

Four threads share the work: one decodes ahead, the caller's runs the model, one writes behind, and
behind that one another draws the overlay.
What the model made is in the clip's journal before it is written anywhere else, so a run that was
stopped goes on with the first chunk that is not there: frames are decoded and drawn again, which
gives the same bytes as a run that was not stopped, and the model sees each frame once.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch

from slotcli import __version__
from slotcli.checkpoint import LoadedModel, file_sha256
from slotcli.compute.precision import precision_of
from slotcli.decomposition.clip_encoder import ClipState, EncodedChunk
from slotcli.decomposition.clip_outputs import LEAD_IN, Background, ClipOutputs, check_background
from slotcli.decomposition.estimate import bytes_per_frame, expected_frames, require_space
from slotcli.decomposition.journal import Journal
from slotcli.decomposition.pipeline import Ahead, Behind
from slotcli.decomposition.plan import PlannedClip
from slotcli.decomposition.request import DecomposeOptions, Request, difference
from slotcli.errors import CannotCreateError, DataError, NoInputError, Terminated, printable
from slotcli.faults import may_fail
from slotcli.files.layout import OVERLAY, PAGE, RESULT, SLOT_FILE, STRIP
from slotcli.files.places import (
    beside,
    clear_journal,
    journal_path,
    locked,
    made_parents,
    put_in_place,
    recover,
    work_folder,
)
from slotcli.files.reading import access_errors
from slotcli.files.writing import output_errors, whole_file
from slotcli.report.page import write_report
from slotcli.results.provenance import (
    damage_counts,
    damage_warnings,
    model_facts,
    report_page,
    run_facts,
    source_facts,
)
from slotcli.results.reconstruct import recordable_background
from slotcli.tracks.statistics import SlotSummary, object_ids
from slotcli.types import FrameChunk
from slotcli.video.reader import open_clip
from slotcli.video.selection import selected

SCHEMA = "slotcli.result/1"

_MIN_COVERAGE = 0.98
_WAITING_CHUNKS = 2  # on either side of the model: what decoding or writing may be ahead or behind


@dataclass(frozen=True)
class ClipResult:
    """`status` is ok, or degraded where more was lost than allowed.

    `resumed` of the `frames` were there from a run that was stopped. `seconds` is how long it took;
    `busy` how many of them decoding, the model, writing and the overlay worked, side by side.
    """

    folder: Path
    status: Literal["ok", "degraded"]
    frames: int
    resumed: int
    seconds: float
    busy: dict[str, float]
    warnings: list[str]


class ClipRun:
    """A clip on its way into its result folder; used as a context manager.

    The caller asks for chunks, has the model encode them, and hands them back, in order, until
    there is none; then it calls `finish`. Nothing is left behind on failure; where the process is
    stopped (Ctrl-C, SIGTERM, or killed) the journal is, for the same request to go on with.
    Entering raises CannotCreateError where something exists that may not be replaced, BusyError
    where another run is at work on the clip, and whatever the reader raises for the source.
    """

    def __init__(
        self,
        clip: PlannedClip,
        loaded: LoadedModel,
        options: DecomposeOptions,
        device: torch.device,
        request: Request,
    ) -> None:
        self.clip = clip
        self._loaded = loaded
        self._spec, self._model = loaded.slot_model()
        self._options = options
        self._device = device
        self._request = request
        self.frames = 0  # that the model is done with
        self._resumed = 0
        self._model_seconds = 0.0
        self._owns_journal = False
        self._files = ExitStack()
        self._journal_path = journal_path(clip.result)

    def __enter__(self) -> "ClipRun":
        check_background(self._options.background, self._spec.num_slots)
        self._started = time.monotonic()
        enter = self._files.enter_context
        with ExitStack() as opened:
            opened.push(self)
            enter(made_parents(self.clip.result))
            enter(locked(self.clip.result))
            self._owns_journal = True
            recover(self.clip.result)
            self._require_free()
            with access_errors(self.clip.source):
                reader = open_clip(self.clip.source, max_pixels=self._options.max_pixels)
            self._reader = enter(reader)
            self.source = self._reader.info
            self.expected_frames = expected_frames(self.source, self._options.selection)
            written = bytes_per_frame(
                self.source.size,
                self._spec.num_slots,
                self._options.masks,
                overlay=self._options.overlay,
            )
            if self.source.indexed_frames is not None:
                # What is only declared, or worked out of a duration, may be wrong by any factor.
                counted = min(self.expected_frames or 0, self.source.indexed_frames)
                require_space(self.clip.result, written * counted)
            self.transform = self._options.transform(self.source.size, self._spec.size)
            self.state = ClipState(self.transform, self._options.reset)
            self._work = enter(work_folder(self.clip.result, beside(self.clip.result, "part")))
            self._journal = enter(Journal(self._journal_path, self._journal_key()))
            self._outputs = enter(self._open_outputs())
            self._behind = enter(Behind(self._write, _WAITING_CHUNKS))
            self._ahead = enter(Ahead(self._selected_chunks(), _WAITING_CHUNKS))
            self._chunks = iter(self._ahead)
            opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stopped = isinstance(error, KeyboardInterrupt | Terminated | GeneratorExit)
        if error is not None and not stopped and self._owns_journal:
            clear_journal(self.clip.result)
        self._owns_journal = False
        self._files.__exit__(kind, error, trace)

    def next_chunk(self) -> FrameChunk | None:
        """The next chunk for the model; None at the end. What is in the journal needs no model."""
        for chunk in self._chunks:
            done = self._journal.replay(chunk)
            if done is None:
                return chunk
            slots, attention, flags = done
            self.state.resets(chunk)
            self.state.take_up(slots)
            self._resumed += len(chunk)
            self.frames += len(chunk)
            self._behind.put((_flagged(chunk, flags), torch.from_numpy(attention)))
        return None

    def take(self, chunk: FrameChunk, encoded: EncodedChunk, seconds: float) -> None:
        """Takes a chunk back with what the model made of it in so many seconds.

        Raises NumericError naming the first frame that is not finite, OutputError and its kin.
        """
        self._model_seconds += seconds
        chunk = _flagged(chunk, encoded.flags)
        self._journal.append(encoded.slots, encoded.attention, chunk, encoded.appearance)
        self.frames += len(chunk)
        may_fail("chunk")
        self._behind.put((chunk, encoded.attention))

    def finish(self) -> ClipResult:
        """Completes every file, result.json last, and puts the folder in its place."""
        self._behind.finish()
        damage = self._reader.damage
        lost = damage.packet_errors + damage.corrupt_frames + (damage.missing or 0)
        share = lost / max(1, damage.decoded + damage.packet_errors + (damage.missing or 0))
        short = damage.coverage is not None and damage.coverage < _MIN_COVERAGE
        status = "degraded" if share > self._options.max_bad or short else "ok"
        warnings = damage_warnings(damage)
        if self._options.strict and (lost or short or damage.repaired):
            raise DataError(
                f"{self.source.name}: {' '.join(warnings)}",
                "Leave out --strict to keep what is sound.",
            )
        if self._outputs.frames == 0:
            raise NoInputError(
                f"{self.source.name}: no frame is in the stretch that was asked for.",
                "Check --start and --end, which count from the first frame, against its duration.",
            )
        facts = {"source": source_facts(self.source), "frames": self._outputs.frames}
        summaries = self._outputs.finish(facts)
        warnings += self._outputs.remarks
        metadata = self._metadata(summaries)
        self._journal.finish(self._work / SLOT_FILE, metadata)
        # As it is recorded, so that a page made again says the same.
        seconds = round(time.monotonic() - self._started, 3)
        pictures = (OVERLAY, STRIP) if self._outputs.has_overlay else (STRIP,)
        verdict = self._outputs.verdict()
        page = report_page(metadata, summaries, warnings, seconds, verdict, pictures)
        write_report(self._work / PAGE, page)
        busy = {
            "decode": round(self._ahead.busy, 3),
            "model": round(self._model_seconds, 3),
            "write": round(self._behind.busy - self._outputs.waited_seconds, 3),
            "overlay": round(self._outputs.drawing_seconds, 3),
        }
        frames = self._outputs.frames
        result = {
            "schema": SCHEMA,
            "status": status,
            "request": self._request.key,
            "source": metadata["source"]
            | {
                "path": printable(self.source.path.resolve()),
                "sha256": self._request.source.digest,
                "state": self._request.source.state,
            },
            "model": {
                "name": self._spec.name,
                "weights_sha256": self._loaded.sha256,
                "path": printable(self._loaded.path.resolve()),
            },
            "counts": {"frames": frames, **damage_counts(damage)},
            "coverage": damage.coverage,
            "warnings": warnings,
            "verdict": verdict,
            "options": metadata["run"]["options"],
            "slots_sha256": file_sha256(self._work / SLOT_FILE),
            "resumed_frames": self._resumed,
            "seconds": seconds,
            "busy_seconds": busy,
            "frames_per_second": round(frames / seconds, 3),
            "version": __version__,
        }
        with whole_file(self._work / RESULT) as file:
            file.write(json.dumps(result, indent=1, sort_keys=True).encode() + b"\n")
        put_in_place(self._work, self.clip.result)
        clear_journal(self.clip.result)
        return ClipResult(self.clip.result, status, frames, self._resumed, seconds, busy, warnings)

    def _require_free(self) -> None:
        try:
            require_free(self.clip.result, self._options.overwrite)
        except CannotCreateError as error:
            if not (self.clip.result / RESULT).is_file():
                raise
            why = difference(self.clip, self._request)
            raise CannotCreateError(f"{error.what.rstrip('.')}: {why}.", error.advice) from None

    def _open_outputs(self) -> ClipOutputs:
        return ClipOutputs(
            self._work,
            self.source,
            self._options.labelling(self.transform),
            self._spec.num_slots,
            self._options.masks,
            self._background(),
            overlay=self._options.overlay,
            excerpt=self._options.selection.start > 0,
        )

    def _background(self) -> Background:
        """As in the options; by default the slot that the model learnt as background, if any."""
        learnt = self._spec.background_slot
        asked = self._options.background
        return asked if asked != "auto" or learnt is None else (learnt,)

    def _selected_chunks(self) -> Iterator[FrameChunk]:
        selection, length = self._options.selection, self._options.chunk
        chunks = self._reader.chunks(length)
        return _with_lead_in(selected(chunks, selection, self.source.time_base, length))

    def _write(self, item: tuple[FrameChunk, torch.Tensor]) -> None:
        self._outputs.add(*item)

    def _journal_key(self) -> str:
        """What the numbers in the journal depend on, to the last bit."""
        return json.dumps([self._request.key, self._run_facts(), torch.get_num_threads()])

    def _run_facts(self) -> dict[str, Any]:
        precision = precision_of(self._model.encoder.backbone)
        return run_facts(self._device, precision, self._options.as_dict())

    def _metadata(self, summaries: list[SlotSummary]) -> dict[str, Any]:
        selection, kept = self._options.selection, self._outputs.kept_pixels
        ids = object_ids(self._spec.num_slots, self._outputs.background)
        present = {own.id for own in summaries if own.frames_present}
        return {
            "model": model_facts(self._loaded),
            "source": source_facts(self.source),
            "transform": self.transform.to_json(),
            "sampling": {
                "start": selection.start,
                "end": selection.end,
                "stride": selection.stride,
                "max_frames": selection.max_frames,
            },
            "run": self._run_facts(),
            "statistics": {
                "frames": self._outputs.frames,
                "background": recordable_background(self._outputs.background),
                "used_slots": [slot for slot, own in enumerate(ids) if own in present],
                "kept_pixels": None if kept is None else round(kept, 6),
                "corrupt_frames": self._reader.damage.corrupt_frames,
            },
        }


def require_free(place: Path, overwrite: bool) -> None:
    """Raises CannotCreateError where something exists that may not be replaced."""
    with output_errors(place):
        if not os.path.lexists(place):
            return
    shown = printable(place)
    if not (place / RESULT).is_file() or place.is_symlink():
        # It may be the source itself, where the output folder is the source's own.
        raise CannotCreateError(
            f"{shown}: exists already, and is no result of slotcli.", "Choose another --out."
        )
    if not overwrite:
        raise CannotCreateError(f"{shown}: exists already.", "Use --overwrite, or another --out.")


def _flagged(chunk: FrameChunk, flags: np.ndarray) -> FrameChunk:
    return replace(chunk, flags=flags)


def _with_lead_in(chunks: Iterator[FrameChunk]) -> Iterator[FrameChunk]:
    """The same frames; the first chunk has all of the lead-in, or the whole of a shorter clip."""
    first: list[FrameChunk] = []
    for chunk in chunks:
        first.append(chunk)
        if sum(len(part) for part in first) >= LEAD_IN:
            break
    if first:
        fields = ("frames", "pts", "duration", "frame_index", "flags")
        joined = {name: np.concatenate([getattr(c, name) for c in first]) for name in fields}
        joined_chunk = FrameChunk(**joined)
        # A generator's variables outlive its yields: these frames would stay for the whole clip.
        del first, joined
        yield joined_chunk
        del joined_chunk
    yield from chunks
