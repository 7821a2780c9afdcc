"""Training a slot model, on its frozen codec if it has one. Paper, Eq. 1, 2, 5; section 4.1."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from slotcli.data.batches import Batches
from slotcli.data.dataset import Dataset
from slotcli.data.windows import Window, draw_windows
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.decoders.patch_mlp import PatchMlp
from slotcli.decoders.slot_mixer import SlotMixer
from slotcli.errors import DataError
from slotcli.evaluation.audit import audit, audit_shift
from slotcli.evaluation.figures import TRUE
from slotcli.evaluation.segmentation import segmentation_scores
from slotcli.evaluation.segmenter import Segmenter
from slotcli.evaluation.slot_information import slot_information
from slotcli.model import SlotModel, normalise
from slotcli.report.mask_sheet import MAX_CLIPS, write_mask_sheet
from slotcli.spec import SlotModelSpec, SlotTrainSpec
from slotcli.training.auxiliary.contrast import slot_contrast
from slotcli.training.auxiliary.features import feature_losses
from slotcli.training.auxiliary.grouping import grouping_loss, motion_grouping_loss
from slotcli.training.auxiliary.mask_loss import mask_loss, mask_targets
from slotcli.training.encoder_cache import EncodedClips
from slotcli.training.parallel.peers import WHOLE, Part
from slotcli.training.tasks.latents import FrameKey, LatentCache, targets_of
from slotcli.training.tasks.slot_batches import SlotBatches, open_batches
from slotcli.types import ClipBatch, Layout, SlotTrack

_AUDITED = (
    "degeneration",
    "position_determinism",
    "shift_equivariance",
    "edge_alignment",
    "used_slots",
    "carry_first",
    "carry_later",
)
# Fraction of the run over which the background term of the auxiliary grouping loss is warmed up. At
# full weight from the start, with all slots still alike, one slot may take every pixel for good.
_BACKGROUND_WARMUP = 0.25
_AT_ONCE = 16  # frames rendered together


class SlotTask:
    """Trains a slot model on short clips of a data set.

    With `workers`, that many processes make the batches. They open the definition's data
    themselves, as is done for `train.sizes`; `data` is then not trained on.
    """

    def __init__(
        self,
        spec: SlotModelSpec,
        model: SlotModel,
        data: Dataset,
        held_out: ClipBatch,
        device: torch.device,
        workers: int = 0,
    ) -> None:
        self.module = model.to(device).to(memory_format=torch.channels_last)
        weights = {
            "denoising": model.decoder.draws,
            "features": isinstance(model.decoder, PatchMlp | SlotMixer) and model.decoder.features,
            "similarity": spec.train.similarity_weight,
            # a cached encoder is frozen, and its batches have no masks
            "mask": 0 if spec.train.cache_encoder else spec.train.mask_weight,
            "grouping": spec.train.grouping_weight,
            "slot_contrast": spec.train.contrast_weight,
        }
        terms = [name for name, weight in weights.items() if weight]
        self.figures = [
            *(terms if len(terms) > 1 else []),
            "slot_information",
            *_AUDITED,
            *TRUE,
        ]
        self.judged_by = "degeneration"
        model.encoder.requires_grad_(not spec.train.freeze_encoder)
        self._trunk = model.encoder.trunk
        if self._trunk is not None:
            self._trunk.requires_grad_(spec.train.trunk_learning_rate > 0)
        self.memory: dict[str, Tensor] = {}
        self._clips = None
        self.batches: Batches[Part, Any]
        self._batch_of: Callable[[int, Part], Any]
        if spec.train.cache_encoder:
            self._clips = EncodedClips(model, data, device)
            self._batch_of = partial(_single_frames, spec.train, data)
            self.batches = Batches(self._batch_of, spec.train.steps)
        else:
            whole = bool(spec.train.sizes) and not workers
            self._batch_of = open_batches(spec) if whole else SlotBatches(spec.train, [data])
            self.batches = (
                Batches.of_processes(partial(open_batches, spec), spec.train.steps, workers)
                if workers
                else Batches(self._batch_of, spec.train.steps)
            )
        self._spec = spec
        self._options = spec.train
        self._held_out = held_out
        self._device = device
        self._segment = Segmenter(model, device, size=spec.size)
        kept = LatentCache(self.module.decoder.target)
        self._latents = kept if spec.train.cache_latents else None

    def parameter_groups(self) -> list[dict[str, Any]]:
        options = self._options
        trunk = [] if self._trunk is None else list(self._trunk.parameters())
        inside = {id(weight) for weight in trunk}
        encoder = [p for p in self.module.encoder.parameters() if id(p) not in inside]
        groups = [
            {"params": [p for p in weights if p.requires_grad], "peak": peak}
            for weights, peak in (
                (encoder, options.learning_rate),
                (trunk, options.trunk_learning_rate),
                (self.module.decoder.parameters(), options.decoder_learning_rate),
            )
        ]
        return [group for group in groups if group["params"]]

    def batch(self, step: int, part: Part = WHOLE) -> Any:
        return self.batches.of(step, part)

    def loss(self, batch: Any, step: int, part: Part = WHOLE) -> tuple[Tensor, dict[str, float]]:
        if self._clips is not None:
            slots, seen, targets = self._clips.of(batch)
            return self.module.decoder.loss(slots, targets, seen), {}
        normal = normalise(batch.frames.to(self._device))
        track = self.module.encoder(normal)
        figures: dict[str, float] = {}
        loss = torch.zeros((), device=self._device)
        decoder = self.module.decoder
        if isinstance(decoder, PatchMlp | SlotMixer):
            weights = {"features": 1.0, "similarity": self._options.similarity_weight}
            temperature = self._options.similarity_temperature
            for name, value in feature_losses(decoder, track, temperature).items():
                figures[name] = value.item()
                loss = loss + weights[name] * value
        elif decoder.draws:
            loss = self._decoder_loss(step, batch.windows, normal, track)
            figures["denoising"] = loss.item()
        if batch.labels is not None:
            size = (track.attention.shape[-2], track.attention.shape[-1])
            wrong = mask_loss(track.attention, mask_targets(batch.labels.to(self._device), size))
            figures["mask"] = wrong.item()
            loss = loss + self._options.mask_weight * wrong
        if self._options.grouping_weight:
            moving = batch.moving
            if moving is None:
                grouping = grouping_loss(track.attention, normal)
            else:
                background_weight = min(1.0, step / (_BACKGROUND_WARMUP * self._options.steps))
                grouping = motion_grouping_loss(
                    track.attention, normal, moving.to(normal), background_weight
                )
            figures["grouping"] = grouping.item()
            loss = loss + self._grouping_weight(step) * grouping
        if self._options.contrast_weight:
            contrast = slot_contrast(track.slots)
            figures["slot_contrast"] = contrast.item()
            loss = loss + self._options.contrast_weight * contrast
        return loss, figures if len(figures) > 1 else {}

    @torch.no_grad()
    def complete(self) -> None:
        """Fits the decoder's deblocking filter, if it has one, to frames of the first batches."""
        decoder = self.module.decoder
        if isinstance(decoder, LatentDiffusion):
            decoder.fit_deblocking(self._samples(self._options.deblocking_frames))

    def _samples(
        self, most: int
    ) -> Iterator[tuple[Float[Tensor, "b n d"], Layout, Float[Tensor, "b 3 h w"]]]:
        """Slots, layouts and frames in [-1, 1], `most` in all, few at a time."""
        step = 0
        while most > 0:
            batch = self._batch_of(step, WHOLE)
            if self._clips is None:
                frames = normalise(batch.frames.to(self._device))
                track = self.module.encoder(frames)
                slots, seen, frames = track.slots.flatten(0, 1), track.layout, frames.flatten(0, 1)
            else:
                slots, seen, _ = self._clips.of(batch)
                frames = self._clips.frames_of(batch)
            for rows in torch.arange(min(most, len(frames))).split(_AT_ONCE):
                yield slots[rows], seen[rows], frames[rows]
            most -= len(frames)
            step += 1

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float | None]:
        """Label-free scores, and scores against ground truth, which never select a model."""
        frames, truth = self._held_out.frames, self._held_out.labels
        scores: dict[str, float | None] = {"slot_information": None}
        try:
            information = slot_information(self.module, frames, self._device)
            if information is not None:
                scores["slot_information"] = information.difference
            shift = audit_shift(self._spec.size)
            figures = audit(
                self._segment, frames, self._spec.num_slots, shift=shift, against_pictures=False
            ).as_dict()
            scores |= {name: figures[name] for name in _AUDITED}
        except DataError:  # fewer clips than the audit needs: the figures stay null
            scores |= dict.fromkeys(("slot_information", *_AUDITED))
        if truth is not None:
            found = self._segment(frames)
            each = [
                segmentation_scores(clip, own)
                for clip, own in zip(truth.numpy(), found, strict=True)
            ]
            for name in TRUE:
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
        # Its own generator, not PyTorch's: all processes of the step have to agree.
        rng = np.random.default_rng((self._options.seed, step))
        return rng.random() < self._options.next_frame

    def _grouping_weight(self, step: int) -> float:
        options = self._options
        if options.grouping_until is None:
            return options.grouping_weight
        return options.grouping_weight * max(0, 1 - step / (options.grouping_until * options.steps))

    def _decoder_loss(
        self,
        step: int,
        windows: Sequence[Window],
        frames: Float[Tensor, "b t 3 h w"],
        track: SlotTrack,
    ) -> Float[Tensor, ""]:
        targets = self._targets(windows, frames)
        if self._draws_next(step):
            slots = self.module.encoder.predict_next(track.slots[:, :-1])
            targets = targets.unflatten(0, frames.shape[:2])[:, 1:].flatten(0, 1)
            return self.module.decoder.loss(slots.flatten(0, 1), targets)
        return self.module.decoder.loss(track.slots.flatten(0, 1), targets, track.layout)

    def _targets(
        self, windows: Sequence[Window], frames: Float[Tensor, "b t 3 h w"]
    ) -> Shaped[Tensor, "frames *target"]:
        """The decoder's targets; those of a frozen codec are cached."""
        every = frames.flatten(0, 1)
        if self._spec.codec is None:
            return self.module.decoder.target(every)
        if self._latents is None:
            return targets_of(self.module.decoder.target, every)
        options = self._options
        places = [
            FrameKey(window.index, window.start + number * options.clip_stride, window.flip)
            for window in windows
            for number in range(options.clip_length)
        ]
        return self._latents.of(places, every)


def _single_frames(
    options: SlotTrainSpec, data: Dataset, step: int, part: Part
) -> Sequence[Window]:
    """The frames of a part of a step's batch, as windows of one frame, of random clips."""
    windows = draw_windows(
        data,
        seed=options.seed,
        step=step,
        batch_size=options.batch_size,
        length=1,
        stride=1,
        flip=options.flip,
    )
    return part.of(windows)
