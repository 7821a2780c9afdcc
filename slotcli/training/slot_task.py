"""Training a slot model, on its frozen codec if it has one. Paper, Eq. 1, 2, 5; section 4.1."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from slotcli.data.batches import Batches
from slotcli.data.datasets import Dataset
from slotcli.data.windows import Window, draw_windows
from slotcli.errors import DataError
from slotcli.evaluation.audit import audit, audit_shift
from slotcli.evaluation.segmentation import segmentation_scores
from slotcli.evaluation.segmenter import Segmenter
from slotcli.evaluation.slot_information import slot_information
from slotcli.model import SlotModel, normalise
from slotcli.report.mask_sheet import MAX_CLIPS, write_mask_sheet
from slotcli.spec import SlotModelSpec
from slotcli.training.coherence import distortion, motion_distortion
from slotcli.training.contrast import slot_contrast
from slotcli.training.latents import FramePlace, KeptLatents, targets_of
from slotcli.training.motion import motion
from slotcli.training.parallel import WHOLE, Part
from slotcli.types import ClipBatch

_AUDITED = (
    "degeneration",
    "position_determinism",
    "shift_equivariance",
    "edge_alignment",
    "used_slots",
    "carry_first",
    "carry_later",
)
_TRUE = ("fg_ari", "ari", "miou")
_MOTION_SPAN = 24  # frames, more than half of which should show what stands still behind a thing
# Share of a run in which a background comes to be asked to be one slot: at once, with all slots
# still alike, one of them may take everything and keep it.
_UNTIL_REST = 0.25

Batch = tuple[Sequence[Window], UInt8[Tensor, "b t 3 h w"], Float[Tensor, "b t h w"] | None]
"""Windows, their frames, and where they move if that is asked for."""


class SlotTask:
    """Short clips of a data set through a slot model."""

    def __init__(
        self,
        spec: SlotModelSpec,
        model: SlotModel,
        data: Dataset,
        held_out: ClipBatch,
        device: torch.device,
    ) -> None:
        self.module = model.to(device).to(memory_format=torch.channels_last)
        weights = {
            "distortion": spec.train.coherence_weight,
            "slot_contrast": spec.train.contrast_weight,
        }
        nudges = [name for name, weight in weights.items() if weight]
        self.figures = [
            *(["denoising", *nudges] if nudges else []),
            "slot_information",
            *_AUDITED,
            *_TRUE,
        ]
        self.judged_by = "degeneration"
        model.encoder.requires_grad_(not spec.train.freeze_encoder)
        self.memory: dict[str, Tensor] = {}
        self.batches = Batches(self._batch, spec.train.steps)
        self._spec = spec
        self._options = spec.train
        self._data = data
        self._held_out = held_out
        self._device = device
        self._segment = Segmenter(model, device)
        kept = KeptLatents(self.module.decoder.target)
        self._latents = kept if spec.train.cache_latents else None

    def parameter_groups(self) -> list[dict[str, Any]]:
        peaks = {
            self.module.encoder: self._options.learning_rate,
            self.module.decoder: self._options.decoder_learning_rate,
        }
        groups = [
            {"params": [p for p in part.parameters() if p.requires_grad], "peak": peak}
            for part, peak in peaks.items()
        ]
        return [group for group in groups if group["params"]]

    def loss(self, step: int, part: Part = WHOLE) -> tuple[Tensor, dict[str, float]]:
        windows, frames, moving = self.batches.of(step, part)
        normal = normalise(frames.to(self._device))
        track = self.module.encoder(normal)
        slots, targets = track.slots, self._targets(windows, normal)
        if self._draws_next(step):
            slots = self.module.encoder.predicted(slots[:, :-1])
            targets = targets.unflatten(0, normal.shape[:2])[:, 1:].flatten(0, 1)
        loss = self.module.decoder.loss(slots.flatten(0, 1), targets)
        figures = {"denoising": loss.item()}
        if self._options.coherence_weight:
            if moving is None:
                incoherence = distortion(track.attention, normal)
            else:
                rest = min(1.0, step / (_UNTIL_REST * self._options.steps))
                incoherence = motion_distortion(track.attention, normal, moving.to(normal), rest)
            figures["distortion"] = incoherence.item()
            loss = loss + self._coherence_weight(step) * incoherence
        if self._options.contrast_weight:
            contrast = slot_contrast(track.slots)
            figures["slot_contrast"] = contrast.item()
            loss = loss + self._options.contrast_weight * contrast
        return loss, figures if len(figures) > 1 else {}

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float | None]:
        """Label-free scores, and beside them, never to choose by, those against ground truth."""
        frames, truth = self._held_out.frames, self._held_out.labels
        scores: dict[str, float | None] = {}
        try:
            scores["slot_information"] = slot_information(
                self.module, frames, self._device
            ).difference
            shift = audit_shift(self._spec.size)
            figures = audit(
                self._segment, frames, self._spec.num_slots, shift=shift, against_pictures=False
            ).as_dict()
            scores |= {name: figures[name] for name in _AUDITED}
        except DataError:  # fewer clips than the audit can speak of: the figures stay null
            scores |= dict.fromkeys(("slot_information", *_AUDITED))
        if truth is not None:
            found = self._segment(frames)
            each = [
                segmentation_scores(clip, own)
                for clip, own in zip(truth.numpy(), found, strict=True)
            ]
            for name in _TRUE:
                values = [v for score in each if (v := getattr(score, name)) is not None]
                scores[name] = float(np.mean(values)) if values else None
        return scores

    @torch.inference_mode()
    def draw(self, path: Path) -> None:
        frames = self._held_out.frames[:MAX_CLIPS]
        write_mask_sheet(path, frames, self._segment(frames))

    def score(self, figures: dict[str, float | None]) -> float | None:
        degeneration = figures.get(self.judged_by)
        return None if degeneration is None else -degeneration

    def _draws_next(self, step: int) -> bool:
        # Of its own, not PyTorch's: all that take a part of the step have to agree.
        rng = np.random.default_rng((self._options.seed, step))
        return rng.random() < self._options.next_frame

    def _coherence_weight(self, step: int) -> float:
        options = self._options
        if options.coherence_until is None:
            return options.coherence_weight
        return options.coherence_weight * max(
            0, 1 - step / (options.coherence_until * options.steps)
        )

    def _batch(self, step: int, part: Part) -> Batch:
        options = self._options
        batch = draw_windows(
            self._data,
            seed=options.seed,
            step=step,
            batch_size=options.batch_size,
            length=options.clip_length,
            stride=options.clip_stride,
            flip=options.flip,
        )
        windows = part.of(batch)
        frames = torch.stack([self._frames(window) for window in windows])
        moving = None
        if options.coherence_weight and options.coherence_of == "motion":
            moving = torch.stack([self._motion(window) for window in windows])
        return windows, frames, moving

    def _frames(self, window: Window) -> UInt8[Tensor, "t 3 h w"]:
        options = self._options
        clip = self._data.clip(window.index, window.start, options.clip_length, options.clip_stride)
        return clip.frames.flip(-1) if window.flip else clip.frames

    def _motion(self, window: Window) -> Float[Tensor, "t h w"]:
        """The motion of a window's frames, told from what is around them in their clip as well."""
        length, stride = self._options.clip_length, self._options.clip_stride
        total, span = self._data.frames(window.index), (length - 1) * stride + 1
        around = min(total, max(span, _MOTION_SPAN))
        first = min(max(0, window.start - (around - span) // 2), total - around)
        moving = motion(self._data.clip(window.index, first, around).frames)
        own = moving[window.start - first :][:span:stride]
        return own.flip(-1) if window.flip else own

    def _targets(
        self, windows: Sequence[Window], frames: Float[Tensor, "b t 3 h w"]
    ) -> Shaped[Tensor, "frames *target"]:
        """What the decoder is to draw; a codec is frozen, so what it makes of a frame is kept."""
        every = frames.flatten(0, 1)
        if self._spec.codec is None:
            return self.module.decoder.target(every)
        if self._latents is None:
            return targets_of(self.module.decoder.target, every)
        options = self._options
        places = [
            FramePlace(window.index, window.start + number * options.clip_stride, window.flip)
            for window in windows
            for number in range(options.clip_length)
        ]
        return self._latents.of(places, every)
