"""slotcli audit: is a model object-wise, or does it cut frames into stripes and blocks?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console, setup
from slotcli.commands.options import Device, Model, Threads
from slotcli.errors import LossError

if TYPE_CHECKING:
    import torch

    from slotcli.checkpoint import LoadedModel
    from slotcli.evaluation.audit import AuditScores
    from slotcli.model import SlotModel
    from slotcli.spec import SlotModelSpec


def audit(
    model: Model,
    data: Annotated[
        str, typer.Option(help="synth:TIER, or any folder of unrelated videos.")
    ] = "synth:C",
    clips: Annotated[int, typer.Option(help="At most; better 64 or more.", min=2)] = 64,
    frames: Annotated[int, typer.Option(help="The first so many of each clip.", min=1)] = 6,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Judge a model without labels; exit code 3 says that its masks are not to be trusted."""
    from slotcli.data.datasets import VALIDATION_SEEDS
    from slotcli.evaluation.audit import audit, audit_shift
    from slotcli.evaluation.segmenter import Segmenter
    from slotcli.evaluation.sources import open_source, unrelated_frames

    chosen = setup.choose_device(device)
    setup.set_threads(threads)
    loaded, spec, module = load_slot_model(model, chosen)
    # Seeds are chosen by this audit, so the test scenes stay out of it.
    source = open_source(
        data, clips=clips, frames=frames, size=spec.size, first_seed=VALIDATION_SEEDS
    )
    with console.progress(f"reading {data}") as meter:
        pictures, left_out = unrelated_frames(
            source, clips=clips, frames=frames, size=spec.size, progress=meter.update
        )
    for name, error in left_out.items():
        console.warn(f"left out: {name}: {error.what}")
    scores = audit(
        Segmenter(module, chosen), pictures, spec.num_slots, shift=audit_shift(spec.size)
    )
    show_audit(f"{spec.name} on {scores.clips} clips of {data}:", scores, spec.num_slots)
    console.record(
        {"model": spec.name, "weights_sha256": loaded.sha256, "data": data, **audit_record(scores)}
    )
    if not scores.passed:
        raise LossError(
            f"{spec.name} did not pass the audit: it does not divide these clips into objects.",
            "Do not trust its masks. Train it again with another train.seed, or on other data.",
        )


def load_slot_model(
    reference: str, device: "torch.device"
) -> "tuple[LoadedModel, SlotModelSpec, SlotModel]":
    """A slot model on its device. Raises UsageError for a codec, else as load_model does."""
    from slotcli.checkpoint import load_model

    loaded = load_model(reference)
    spec, module = loaded.slot_model()
    return loaded, spec, module.to(device)


def show_audit(title: str, scores: "AuditScores", num_slots: int) -> None:
    """The scores as a table, those that decide first."""
    if console.wants_json():
        return
    from slotcli.evaluation.audit import MAX_POSITION_DETERMINISM, MIN_SHIFT_EQUIVARIANCE

    determined = scores.position_determinism >= MAX_POSITION_DETERMINISM
    still = scores.shift_equivariance <= MIN_SHIFT_EQUIVARIANCE
    console.result(title)
    console.table(
        "",
        ["", "score", "wanted", ""],
        [
            [
                "position determinism",
                f"{scores.position_determinism:.2f}",
                f"< {MAX_POSITION_DETERMINISM}",
                "FAILED: slots are places" if determined else "passed",
            ],
            [
                "shift equivariance",
                f"{scores.shift_equivariance:.2f}",
                f"> {MIN_SHIFT_EQUIVARIANCE}",
                "FAILED: masks stay where they are" if still else "passed",
            ],
            [
                f"used slots of {num_slots}",
                f"{scores.used_slots:.1f}",
                ">= 2",
                "FAILED: one takes all" if scores.used_slots < 2 else "passed",
            ],
            ["edge alignment", _number(scores.edge_alignment), "", "1: borders ignore the picture"],
            ["slot entropy", f"{scores.slot_entropy:.2f}", "", "0: one takes all, 1: all alike"],
            ["kept, frame 0 to 1", _number(scores.carry_first), "", "pixels that keep their slot"],
            ["kept, later frames", _number(scores.carry_later), "", "pixels that keep their slot"],
            ["degeneration", f"{scores.degeneration:.2f}", "< 0.5", "the worst of the first three"],
        ],
    )
    console.result("Passed." if scores.passed else "NOT PASSED: stripes, blocks or one slot.")


def audit_record(scores: "AuditScores") -> dict[str, Any]:
    """The scores with the thresholds that they were held against."""
    from slotcli.evaluation.audit import MAX_POSITION_DETERMINISM, MIN_SHIFT_EQUIVARIANCE

    thresholds = {
        "max_position_determinism": MAX_POSITION_DETERMINISM,
        "min_shift_equivariance": MIN_SHIFT_EQUIVARIANCE,
        "min_used_slots": 2,
    }
    return {**scores.as_dict(), "thresholds": thresholds}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
