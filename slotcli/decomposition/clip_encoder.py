"""Encodes chunks of clips to slots and soft masks; recurrent state is carried between chunks."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, UInt8
from torch import Tensor

from slotcli.decomposition.resets import CutFinder, Reset, match_slots
from slotcli.errors import BusyError
from slotcli.faults import may_fail
from slotcli.model import SlotModel
from slotcli.tracks.transform import Transform
from slotcli.types import FLAG_RESET, FrameChunk, Size
from slotcli.video.pixels import resized


@dataclass(frozen=True)
class EncodedChunk:
    """The model's output for a chunk, as the journal stores it, on the CPU.

    `attention` are the soft masks from which masks are computed. `flags` are the chunk's, with
    FLAG_RESET where slots were reset.
    """

    slots: Float32[Tensor, "t n d"]
    attention: Float16[Tensor, "t n i j"]
    flags: UInt8[np.ndarray, " t"]
    appearance: Float16[Tensor, "t n c"] | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> "EncodedChunk":
        """The same: nothing in it changes, and a state with a whole clip is copied each round."""
        return self


_BACKWARDS = 16  # frames before a start that the model encodes at once

# Slots, soft masks, and appearance if the model's decoder reads it: [b t n ...] each.
_Encoded = tuple[Tensor, ...]


@dataclass(frozen=True)
class Start:
    """A corrected frame to start from: the last of `frames`, at the model's size, from the first.

    `permitted` is the fraction of each position that the correction leaves to each slot there.
    """

    frames: UInt8[Tensor, "s 3 h w"]
    permitted: Float[Tensor, "n i j"]


class ClipState:
    """The recurrent state of one clip: its last slots, and the counters of its resets."""

    def __init__(self, transform: Transform, reset: Reset, start: Start | None = None) -> None:
        self.transform = transform
        self.slots: Float32[Tensor, "n d"] | None = None
        self.made: EncodedChunk | None = None
        """All frames of the clip, where they were encoded before; see `cyclic.py`."""
        self.start = start  # None too once its frames are encoded
        self.started: _Encoded | None = None  # the encoding of the frames up to the start's
        self._reset = reset
        self._frames = 0
        self._cuts = CutFinder() if reset.kind == "scene" else None

    def of_made(self, chunk: FrameChunk) -> EncodedChunk:
        """The next chunk's frames, of a clip that was encoded before."""
        assert self.made is not None
        rows = slice(self._frames, self._frames + len(chunk))
        self._frames += len(chunk)
        made = self.made
        return EncodedChunk(made.slots[rows], made.attention[rows], chunk.flags)

    def resets(self, chunk: FrameChunk) -> list[int]:
        """Indices of frames of the next chunk at which the slots are reset, from its first frame.

        Never the first frame of a clip. Every chunk has to pass through this method once, in order.
        """
        found = []
        for index, frame in enumerate(chunk.frames):
            cut = self._cuts is not None and self._cuts.is_cut(frame)
            due = self._reset.kind == "every" and self._frames % self._reset.every == 0
            if self._frames and (cut or due):
                found.append(index)
            self._frames += 1
        return found

    @property
    def frames(self) -> int:
        """The number of frames that `resets` has seen."""
        return self._frames

    def resume_from(self, slots: Float32[np.ndarray, "t n d"]) -> None:
        """Resumes from the last of earlier slots."""
        self.slots = torch.from_numpy(slots[-1].copy())


class ClipEncoder:
    """A model on its device, which encodes the next chunks of one or several clips.

    Where device memory runs out, the chunk size is halved, down to one frame, and stays halved; at
    the start of a clip down to the frames of the warm-up. `background` is the slot that training
    made the background, if any: it is the background after a reset, too.
    """

    def __init__(
        self, model: SlotModel, device: torch.device, background: int | None = None
    ) -> None:
        self.most_frames: int | None = None  # at once, where memory ran out for more
        self._model = model
        self._device = device
        self._background = background

    def encode(self, state: ClipState, chunk: FrameChunk) -> EncodedChunk:
        """Encodes a clip's next chunk; advances `state`. Raises BusyError where memory runs out."""
        return self.encode_together([state], [chunk])[0]

    def encode_together(
        self, states: list[ClipState], chunks: list[FrameChunk]
    ) -> list[EncodedChunk]:
        """Encodes the next chunks of several clips, compatible ones in one batch.

        Compatible chunks have the same number and size of frames, no reset among them, and are
        either all or none a clip's first.
        """
        done: dict[int, EncodedChunk] = {}
        for index, (state, chunk) in enumerate(zip(states, chunks, strict=True)):
            if state.made is not None:
                done[index] = state.of_made(chunk)
        if done:  # all or none: the clips of a run have the same options
            return [done[index] for index in range(len(chunks))]
        resets = [state.resets(chunk) for state, chunk in zip(states, chunks, strict=True)]
        frames = [
            model_input(state.transform, chunk) for state, chunk in zip(states, chunks, strict=True)
        ]
        groups: dict[tuple[int, Size, bool], list[int]] = {}
        for index, (state, chunk) in enumerate(zip(states, chunks, strict=True)):
            if state.start is not None:
                done[index] = self._started(state, state.start, chunk, frames[index])
            elif resets[index]:
                done[index] = self._with_resets(state, chunk, frames[index], resets[index])
            else:
                alike = (len(chunk), state.transform.model_size, state.slots is None)
                groups.setdefault(alike, []).append(index)
        for indices in groups.values():
            together = [states[index] for index in indices]
            encoded = self._run(together, torch.stack([frames[index] for index in indices]))
            for row, index in enumerate(indices):
                slots, masks, *appearance = (part[row] for part in encoded)
                done[index] = EncodedChunk(slots, masks, chunks[index].flags, *appearance)
        return [done[index] for index in range(len(chunks))]

    def _started(
        self, state: ClipState, start: Start, chunk: FrameChunk, frames: UInt8[Tensor, "t 3 h w"]
    ) -> EncodedChunk:
        """Encodes a chunk of a clip with a start: up to there backwards from it, then forwards."""
        done, length = state.frames - len(chunk), len(start.frames)
        pieces: list[_Encoded] = []
        flags = chunk.flags.copy()
        if done < length:  # else a stopped run had come further
            if state.started is None:
                state.started = self._both_ways(state, start)
            pieces.append(tuple(part[:, done : done + len(chunk)] for part in state.started))
            state.slots = state.started[0][0, -1]
            if done + len(chunk) >= length:
                flags[length - 1 - done] |= FLAG_RESET
        rest = frames[max(0, length - done) :]
        if len(rest):
            state.start = state.started = None
            pieces.append(self._run([state], rest[None]))
        slots, masks, *appearance = (part[0] for part in _joined(pieces, dim=1))
        return EncodedChunk(slots, masks, flags, *appearance)

    def _both_ways(self, state: ClipState, start: Start) -> _Encoded:
        """The encoding of the start's frames: of the last one, and from it back to the first."""
        state.slots = None
        pieces = [self._one_turn([state], start.frames[None, -1:], start.permitted[None])]
        for end in range(len(start.frames) - 1, 0, -_BACKWARDS):
            frames = start.frames[max(0, end - _BACKWARDS) : end].flip(0)
            pieces.append(self._run([state], frames[None]))
        return tuple(part.flip(1) for part in _joined(pieces, dim=1))

    def _with_resets(
        self, state: ClipState, chunk: FrameChunk, frames: UInt8[Tensor, "t 3 h w"], at: list[int]
    ) -> EncodedChunk:
        """Encodes a chunk in pieces; a slot has the number of the one that it continues."""
        flags = chunk.flags.copy()
        pieces: list[_Encoded] = []
        for start, end in pairwise([*sorted({0, *at}), len(frames)]):
            if start in at:
                flags[start] |= FLAG_RESET
                pieces.append(self._restarted(state, frames[start : start + 1]))
                start += 1
            if start < end:
                pieces.append(self._run([state], frames[None, start:end]))
        slots, masks, *appearance = (part[0] for part in _joined(pieces, dim=1))
        return EncodedChunk(slots, masks, flags, *appearance)

    def _restarted(self, state: ClipState, frame: UInt8[Tensor, "1 3 h w"]) -> _Encoded:
        before, state.slots = state.slots, None
        encoded = self._run([state], frame[None])
        if before is not None:
            order = torch.from_numpy(
                match_slots(before.numpy(), encoded[0][0, 0].numpy(), self._background)
            )
            encoded = tuple(part[:, :, order] for part in encoded)
        state.slots = encoded[0][0, 0]
        return encoded

    def _run(self, states: list[ClipState], frames: UInt8[Tensor, "b t 3 h w"]) -> _Encoded:
        """Encodes a batch of clips, in as many calls of the model as memory requires."""
        turns: list[_Encoded] = []
        done = 0
        while done < frames.shape[1]:
            at_once = frames.shape[1] - done
            # Fewer than the warm-up reads would start the clip with other slots.
            least = 1 + (self._model.encoder.warm_up if states[0].slots is None else 0)
            if self.most_frames is not None:
                at_once = min(at_once, max(self.most_frames, least))
            try:
                turns.append(self._one_turn(states, frames[:, done : done + at_once]))
            except torch.OutOfMemoryError as error:
                if len(states) > 1:
                    half = len(states) // 2
                    halves = [
                        self._run(states[:half], frames[:half, done:]),
                        self._run(states[half:], frames[half:, done:]),
                    ]
                    turns.append(_joined(halves, dim=0))
                    break
                if at_once <= least:
                    frames_needed = "a single frame" if at_once == 1 else f"{at_once} frames"
                    raise BusyError(
                        f"{self._device}: memory does not suffice for {frames_needed}.",
                        "Try later, close what else runs there, or use --device cpu.",
                    ) from error
                self.most_frames = at_once // 2
                # Cached blocks of the failed attempt would take memory from the next one.
                torch.cuda.empty_cache()
                continue
            done += at_once
        return _joined(turns, dim=1)

    def _one_turn(
        self,
        states: list[ClipState],
        frames: UInt8[Tensor, "b t 3 h w"],
        permitted: Float[Tensor, "b n i j"] | None = None,
    ) -> _Encoded:
        fault = may_fail("encode")
        if fault == "oom":
            raise torch.OutOfMemoryError("asked for by SLOTCLI_FAULT")
        before = [state.slots for state in states if state.slots is not None]
        start = torch.stack(before).to(self._device) if before else None
        corrected = () if permitted is None else (permitted.to(self._device),)
        track = self._model.encode(frames.to(self._device), start, *corrected)
        slots = track.slots.cpu()
        if fault == "nan":
            slots = torch.full_like(slots, torch.nan)
        for state, clip_slots in zip(states, slots, strict=True):
            state.slots = clip_slots[-1]
        # The soft masks are stored at this precision, so that an export computes the same masks.
        appearance = () if track.appearance is None else (track.appearance.half().cpu(),)
        return slots, self._model.soft_masks(track).half().cpu(), *appearance


def model_input(transform: Transform, chunk: FrameChunk) -> UInt8[Tensor, "t 3 h w"]:
    """Frames of a chunk as the model sees them: cropped and resized."""
    top, left, height, width = transform.crop
    cropped = chunk.frames[:, top : top + height, left : left + width]
    frames = np.stack([resized(frame, transform.model_size) for frame in cropped])
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _joined(pieces: list[_Encoded], dim: int) -> _Encoded:
    return tuple(torch.cat(parts, dim=dim) for parts in zip(*pieces, strict=True))
