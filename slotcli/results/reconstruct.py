"""Renders a slot file back to a video."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from slotcli.checkpoint import LoadedModel, load_model
from slotcli.compute.precision import computes_in_bf16, to_bf16
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.diffusion.samplers import Sampler
from slotcli.errors import DataError, NumericError, UsageError
from slotcli.files.layout import RESULT, SLOT_FILE
from slotcli.files.places import work_path
from slotcli.files.writing import output_errors
from slotcli.model import SlotModel, denormalise
from slotcli.results.frame_sequence import FrameSequence
from slotcli.tracks.labelling import Edges, Labelling
from slotcli.tracks.pieces import Pieces
from slotcli.tracks.removal import without_slots
from slotcli.tracks.slot_file import HISTORY, REMAKE, SlotFile
from slotcli.tracks.statistics import object_ids
from slotcli.tracks.transform import Transform
from slotcli.types import Layout
from slotcli.video.own_outputs import MARK
from slotcli.video.writer import VideoWriter

_OUTSIDE_GRAY = 128


@dataclass(frozen=True)
class ReconstructOptions:
    """`keep` are the IDs of the objects to render, None for all; other Nones are the model's."""

    sampler: Sampler = "singlestep"
    evaluations: int | None = None
    batch: int = 16
    seed: int = 0
    keep: tuple[int, ...] | None = None
    noise_scale: float | None = None


def find_slot_file(path: Path) -> Path:
    """The slot file itself, or the one in a result folder."""
    return path / SLOT_FILE if path.is_dir() else path


def recorded_model(path: Path, slot_file: SlotFile) -> str:
    """The model to load for a slot file: the path in its result folder, or the model's name."""
    result = path.parent / RESULT
    if result.is_file():
        try:
            recorded = json.loads(result.read_text())["model"]["path"]
        except (ValueError, KeyError, TypeError):
            recorded = None
        if isinstance(recorded, str) and Path(recorded).is_file():
            return recorded
    return str(slot_file.metadata["model"].get("name"))


def recorded_time_base(slot_file: SlotFile) -> Fraction:
    """Seconds per tick of the source; raises DataError where the slot file has none."""
    value = slot_file.metadata["source"].get("time_base")
    if (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(part, int) and part > 0 for part in value)
    ):
        return Fraction(value[0], value[1])
    raise DataError(
        "the slot file has no valid time base.", "Make it again with slotcli decompose."
    )


def recorded_background(slot_file: SlotFile) -> tuple[int, ...]:
    """The slots that `decompose` took for the background."""
    value: object = slot_file.metadata["statistics"].get("background")
    slots = value if isinstance(value, list) else [value]
    count = slot_file.slots.shape[1]
    return tuple(slot for slot in slots if isinstance(slot, int) and 0 <= slot < count)


def recordable_background(slots: tuple[int, ...]) -> int | list[int] | None:
    """The form that `recorded_background` reads: an int for one slot, as in older versions."""
    return list(slots) if len(slots) > 1 else next(iter(slots), None)


def recorded_labelling(slot_file: SlotFile, edges: Edges | None = None) -> Labelling:
    """The rule by which `decompose` made labels of soft masks, with `edges` instead if given.

    Versions that recorded nothing had bilinear edges and kept all connected components. Raises
    DataError where the recorded values are invalid.
    """
    options = slot_file.metadata["run"].get("options")
    options = options if isinstance(options, dict) else {}
    recorded = options.get("edges", "bilinear")
    least, largest = options.get("min_area", 0), options.get("largest_component", False)
    plausible = isinstance(least, int | float) and least >= 0 and isinstance(largest, bool)
    if recorded not in ("guided", "bilinear") or not plausible:
        raise DataError(
            "The slot file does not tell how its masks were made.",
            "Make it again with slotcli decompose.",
        )
    return Labelling(
        slot_file.transform,
        recorded_background(slot_file),
        edges or recorded,
        Pieces(float(least), largest),
    )


def recorded_ids(slot_file: SlotFile) -> list[int]:
    """The ID of each slot in masks and tracks."""
    return object_ids(slot_file.slots.shape[1], recorded_background(slot_file))


def require_ids(slot_file: SlotFile, asked: Iterable[int]) -> None:
    """Raises UsageError for IDs that no object of the file has."""
    ids = recorded_ids(slot_file)
    if wrong := sorted(set(asked) - set(ids)):
        known = ", ".join(
            "0 (the background)" if own == 0 else str(own) for own in sorted(set(ids))
        )
        raise UsageError(
            f"No object has the ID {', '.join(map(str, wrong))}.", f"The file has: {known}."
        )


def is_excerpt(slot_file: SlotFile) -> bool:
    """Whether the clip was used from a later second on, so that its videos begin at 0."""
    return bool(slot_file.metadata["sampling"].get("start"))


class Rendering(FrameSequence):
    """Frames rendered from slots, uint8 [t, h, w, 3], RGB at the source's size.

    Every frame is sampled from the same noise map; only the frames asked for are rendered. Raises
    DataError where the slots are another model's, UsageError where `keep` of the options names
    objects that do not exist.
    """

    def __init__(
        self,
        slot_file: SlotFile,
        loaded: LoadedModel,
        options: ReconstructOptions,
        device: torch.device,
    ) -> None:
        super().__init__((len(slot_file.slots), *slot_file.transform.source_size, 3))
        _, model = loaded.slot_model()
        recorded = slot_file.metadata["model"].get("weights_sha256")
        if recorded != loaded.sha256 and recorded not in loaded.same_tensors_as:
            raise DataError(
                f"{loaded.path}: these are not the weights that the slots came from.",
                "Name the model that made them with --model.",
            )
        _require_shows_moves(slot_file, loaded)
        self._kept = _kept(slot_file, options.keep)
        _require_appearance(slot_file, model)
        self._slot_file = slot_file
        self._decoder = model.to(device).decoder
        self._device, self._batch = device, options.batch
        self._drawing = RenderOptions(
            options.sampler, options.evaluations, options.seed, options.noise_scale
        )

    def frame(self, t: int) -> UInt8[np.ndarray, "h w 3"]:
        return self._rendered(slice(t, t + 1))[0]

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Yields all frames; a batch of them is rendered at once."""
        for start in range(0, len(self), self._batch):
            yield from self._rendered(slice(start, start + self._batch))

    def save(
        self, out: Path | str, progress: Callable[[int, int], None] = lambda done, count: None
    ) -> list[str]:
        """Writes an MP4 of the source's timing; `progress` gets the frames done and their number.

        Returns remarks on how frames or timing had to differ from the source's, in sentences.
        Raises the writer's errors; then no file is left.
        """
        with clip_video(self._slot_file, Path(out), "h264", MARK) as video:
            for index, picture in enumerate(self):
                video.frame(picture)
                if (index + 1) % self._batch == 0 or index + 1 == len(self):
                    progress(index + 1, len(self))
        return video.remarks

    def _rendered(self, rows: slice) -> list[UInt8[np.ndarray, "h w 3"]]:
        slot_file = self._slot_file
        slots = np.ascontiguousarray(slot_file.slots[rows][:, self._kept])
        seen = _layout(slot_file, self._kept, rows).to(self._device)
        batch = torch.from_numpy(slots).to(self._device)
        drawn = self._decoder.render(batch, self._drawing, seen)
        _require_finite(drawn, slot_file.frame_index[rows])
        pictures = denormalise(drawn).permute(0, 2, 3, 1).cpu().numpy()
        return [_placed(picture, slot_file.transform) for picture in pictures]


class ClipVideo:
    """A video with the timing of a slot file's frames, which are written in order."""

    def __init__(self, video: VideoWriter, slot_file: SlotFile) -> None:
        self._video = video
        self._slot_file = slot_file
        self._begin = int(slot_file.pts[0]) if is_excerpt(slot_file) else 0
        self._index = 0

    @property
    def remarks(self) -> list[str]:
        """Sentences on how frames or timing had to differ from the source's."""
        return self._video.remarks

    def frame(self, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Writes the next frame. Raises the writer's errors."""
        pts, duration = (
            int(values[self._index]) for values in (self._slot_file.pts, self._slot_file.duration)
        )
        self._video.write(picture, pts - self._begin, duration)
        self._index += 1


@contextmanager
def clip_video(
    slot_file: SlotFile, out: Path, codec: Literal["h264", "ffv1-rgb"], mark: str
) -> Iterator[ClipVideo]:
    """A video of the source's size at `out`, whole or absent. Raises the writer's errors."""
    partial = work_path(out)
    size, time_base = slot_file.transform.source_size, recorded_time_base(slot_file)
    try:
        with VideoWriter(partial, size, time_base, codec=codec, mark=mark) as video:
            yield ClipVideo(video, slot_file)
        with output_errors(out):
            partial.replace(out)
    except BaseException:
        with suppress(OSError):  # the first error is the one to report
            partial.unlink()
        raise


def _require_shows_moves(slot_file: SlotFile, loaded: LoadedModel) -> None:
    """Raises UsageError where objects were moved and the decoder does not read where slots are."""
    if recorded_history(slot_file).get("moves") and not masks_place_objects(slot_file):
        raise UsageError(
            f"{loaded.spec.name} renders objects where their slots say, not where they were put.",
            "Use --composite, which moves pixels of the clip.",
        )


def masks_place_objects(slot_file: SlotFile) -> bool:
    """Whether the recorded model's decoder reads masks; others render objects by slots alone."""
    spec = slot_file.metadata["model"].get("spec")
    decoder = spec.get("decoder") if isinstance(spec, dict) else None
    return isinstance(decoder, dict) and bool(decoder.get("layout"))


def recorded_history(slot_file: SlotFile) -> dict[str, Any]:
    """The record of how `slotcli edit` made a slot file; empty for one of `decompose`."""
    history = slot_file.metadata.get(HISTORY)
    return history if isinstance(history, dict) else {}


def load_decoder(
    model: str, device: torch.device, precision: Literal["auto", "fp32", "bf16"]
) -> LoadedModel:
    """A model on its device, its decoder at `precision`: auto is bf16 where the device has it.

    Raises as `load_model`.
    """
    loaded = load_model(model)
    network = loaded.slot_model()[1].to(device).to(memory_format=torch.channels_last)
    if precision == "bf16" or (precision == "auto" and computes_in_bf16(device)):
        to_bf16(*network.decoder.networks)
    return loaded


def kept_ids(
    slot_file: SlotFile, keep: Collection[int] | None, drop: Collection[int] | None
) -> tuple[int, ...] | None:
    """The IDs to render, None for all. Raises UsageError for both, for unknown ones, and for none.

    An empty `keep` or `drop` counts as not given.
    """
    if keep and drop:
        raise UsageError("--keep and --drop exclude each other.", "Use one of them.")
    require_ids(slot_file, [*(keep or ()), *(drop or ())])
    if not drop:
        return tuple(keep) if keep else None
    kept = tuple(own for own in recorded_ids(slot_file) if own not in drop)
    if not kept:
        raise UsageError("No object is left to render.", "Drop fewer objects.")
    return kept


def _require_finite(drawn: Float[Tensor, "b 3 h w"], frame_index: Int64[np.ndarray, " b"]) -> None:
    bad = ~drawn.isfinite().flatten(1).all(dim=1).cpu().numpy()
    if bad.any():
        raise NumericError(
            f"Frame {frame_index[bad.argmax()]}: the pixels drawn are not finite numbers.",
            "Try another --sampler or more --evaluations; if it stays, the model is at fault.",
        )


def _kept(slot_file: SlotFile, keep: tuple[int, ...] | None) -> list[int]:
    """The slots to render."""
    ids = recorded_ids(slot_file)
    dropped = recorded_history(slot_file).get("dropped", [])
    if keep is not None:
        require_ids(slot_file, keep)
    kept = [
        slot
        for slot, own in enumerate(ids)
        if slot + 1 not in dropped and (keep is None or own in keep)
    ]
    if not kept:
        raise UsageError("No object is left to draw.", "Keep one, or drop fewer.")
    return kept


def _require_appearance(slot_file: SlotFile, model: SlotModel) -> None:
    decoder = model.decoder
    read = decoder.condition.appearance_channels if isinstance(decoder, LatentDiffusion) else 0
    recorded = 0 if slot_file.appearance is None else slot_file.appearance.shape[2]
    if read and recorded != read:
        raise DataError(
            "The slot file does not say how the slots' places look, as this model reads it.",
            REMAKE,
        )


def _layout(slot_file: SlotFile, kept: list[int], rows: slice) -> Layout:
    """Attention, without that of the other slots, and appearance of the kept slots."""
    left_out = set(range(slot_file.slots.shape[1])) - set(kept)
    attention = without_slots(slot_file.attention[rows], left_out, recorded_background(slot_file))
    appearance = slot_file.appearance
    seen = None if appearance is None else torch.from_numpy(appearance[rows]).float()[:, kept]
    return Layout(torch.from_numpy(attention[:, kept]), seen)


def _placed(
    picture: UInt8[np.ndarray, "h w 3"], transform: Transform
) -> UInt8[np.ndarray, "H W 3"]:
    top, left, height, width = transform.crop
    resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    if (height, width) == transform.source_size:
        return resized
    canvas = np.full((*transform.source_size, 3), _OUTSIDE_GRAY, np.uint8)
    canvas[top : top + height, left : left + width] = resized
    return canvas
