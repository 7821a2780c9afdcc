"""A slot file drawn again as a video, and its masks again as files."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from slotcli.checkpoint import LoadedModel
from slotcli.diffusion.samplers import Sampler
from slotcli.errors import CannotCreateError, DataError, UsageError
from slotcli.model import SlotModel, denormalise
from slotcli.runs.decompose import RESULT, SLOT_FILE, MaskFormat
from slotcli.tracks.masks import Ffv1MaskWriter, MaskWriter, PngMaskWriter, labels_from_attention
from slotcli.tracks.slot_file import SlotFile
from slotcli.tracks.transform import Transform
from slotcli.tracks.writing import output_errors
from slotcli.video.source import printable
from slotcli.video.writer import VideoWriter

_OUTSIDE_GRAY = 128


@dataclass(frozen=True)
class ReconstructOptions:
    """`keep` are the slots drawn from, None for all of them."""

    sampler: Sampler = "singlestep"
    evaluations: int = 20
    batch: int = 16
    seed: int = 0
    keep: tuple[int, ...] | None = None


def find_slot_file(path: Path) -> Path:
    """The slot file itself, or the one in a result folder."""
    return path / SLOT_FILE if path.is_dir() else path


def recorded_model(path: Path, slot_file: SlotFile) -> str:
    """What to load for a slot file: the path its result folder recorded, or the model's name."""
    result = path.parent / RESULT
    if result.is_file():
        try:
            recorded = json.loads(result.read_text())["model"]["path"]
        except (ValueError, KeyError, TypeError):
            recorded = None
        if isinstance(recorded, str) and Path(recorded).is_file():
            return recorded
    return str(slot_file.metadata["model"].get("name"))


def reconstruct(
    slot_file: SlotFile,
    loaded: LoadedModel,
    out: Path,
    options: ReconstructOptions,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> None:
    """Writes an MP4 of the source's size and timing, every frame drawn from one noise map.

    Raises DataError where the slots are another model's, UsageError where `keep` names slots that
    do not exist, and what the writer raises.
    """
    if not isinstance(loaded.module, SlotModel):
        raise UsageError(f"{loaded.path}: is a codec, not a slot model.", "Choose a slot model.")
    if slot_file.metadata["model"].get("weights_sha256") != loaded.sha256:
        raise DataError(
            f"{loaded.path}: these are not the weights that the slots came from.",
            "Name the model that made them with --model.",
        )
    slots = _kept(slot_file, options.keep)
    transform = slot_file.transform
    model = loaded.module.to(device)
    noise = model.decoder.noise(torch.Generator().manual_seed(options.seed))
    partial = out.with_name(f".{out.name}.part")
    count = len(slots)
    try:
        with VideoWriter(
            partial, transform.source_size, _time_base(slot_file), codec="h264"
        ) as video:
            for start in range(0, count, options.batch):
                batch = torch.from_numpy(slots[start : start + options.batch]).to(device)
                drawn = model.decoder.render(batch, noise, options.sampler, options.evaluations)
                pictures = denormalise(drawn).permute(0, 2, 3, 1).cpu().numpy()
                for index, picture in enumerate(pictures, start):
                    video.write(
                        _placed(picture, transform),
                        int(slot_file.pts[index]),
                        int(slot_file.duration[index]),
                    )
                progress(min(start + options.batch, count), count)
        with output_errors(out):
            partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def export_masks(
    slot_file: SlotFile, out: Path, formats: tuple[MaskFormat, ...], background: int | None
) -> None:
    """Writes the masks of a slot file, the same pixels as `decompose` wrote with that background.

    `out` gets masks/ (png) and masks.mkv (ffv1). Raises CannotCreateError where these exist.
    """
    transform = slot_file.transform
    for name in ("masks", "masks.mkv"):
        if (out / name).exists():
            raise CannotCreateError(
                f"{printable(out / name)}: exists already.", "Choose another --out."
            )
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        writers: list[MaskWriter] = []
        if "png" in formats:
            writers.append(files.enter_context(PngMaskWriter(out / "masks")))
        if "ffv1" in formats:
            writer = Ffv1MaskWriter(out / "masks.mkv", transform.source_size, _time_base(slot_file))
            writers.append(files.enter_context(writer))
        for index in range(len(slot_file.pts)):
            attention = slot_file.attention[index : index + 1]
            labels = labels_from_attention(attention, transform, background)[0]
            for writer in writers:
                writer.write(labels, int(slot_file.pts[index]), int(slot_file.duration[index]))


def recorded_background(slot_file: SlotFile) -> int | None:
    """The slot that `decompose` took for the background."""
    value: Any = slot_file.metadata["statistics"].get("background")
    return value if isinstance(value, int) and 0 <= value < slot_file.slots.shape[1] else None


def _kept(slot_file: SlotFile, keep: tuple[int, ...] | None) -> np.ndarray:
    if keep is None:
        return slot_file.slots
    count = slot_file.slots.shape[1]
    wrong = [slot for slot in keep if not 0 <= slot < count]
    if wrong or not keep:
        raise UsageError(
            f"slots {sorted(wrong)} do not exist." if wrong else "no slot is left to draw from.",
            f"The file has slots 0 to {count - 1}.",
        )
    return np.ascontiguousarray(slot_file.slots[:, sorted(set(keep))])


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


def _time_base(slot_file: SlotFile) -> Fraction:
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
