"""Frames rendered from a result's slots, from Python."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal, get_args

from slotcli.compute.devices import named_device
from slotcli.diffusion.samplers import Sampler
from slotcli.errors import UsageError, require_choice
from slotcli.results.reconstruct import (
    ReconstructOptions,
    Rendering,
    kept_ids,
    load_decoder,
    recorded_model,
)
from slotcli.results.result import Result, load

Precision = Literal["auto", "fp32", "bf16"]


def reconstruct(
    result: Result | str | Path,
    *,
    keep: Collection[int] | None = None,
    drop: Collection[int] | None = None,
    model: str | Path | None = None,
    sampler: Sampler = "singlestep",
    evaluations: int | None = None,
    seed: int = 0,
    noise_scale: float | None = None,
    batch: int = 16,
    device: str = "auto",
    precision: Precision = "auto",
) -> Rendering:
    """The clip rendered from its slots, uint8 [t, h, w, 3] at the source's size, frame by frame.

    Nothing is rendered before it is asked for: `[t]` renders one frame, iteration all of them,
    `save(path)` writes an MP4 of the source's timing. `keep` or `drop` are IDs of objects; what is
    left out shows the background, if that is kept. `model` is the one that made the slots, if it
    has moved; `evaluations` and `noise_scale` are the model's by default. torch's own settings hold
    for threads. Raises UsageError for unknown IDs, DataError where the slots are another model's,
    UnavailableError where the model cannot render or is not there.
    """
    for option, value, least in (("--evaluations", evaluations, 1), ("--batch", batch, 1)):
        if value is not None and value < least:
            raise UsageError(f"{option} {value}: too small.", f"Use {least} or more.")
    require_choice("--sampler", sampler, get_args(Sampler))
    require_choice("--precision", precision, get_args(Precision))
    found = result if isinstance(result, Result) else load(result)
    kept = kept_ids(found.slot_file, keep, drop)
    name = str(model) if model is not None else recorded_model(found.path, found.slot_file)
    chosen = named_device(device)
    options = ReconstructOptions(sampler, evaluations, batch, seed, kept, noise_scale)
    return Rendering(found.slot_file, load_decoder(name, chosen, precision), options, chosen)
