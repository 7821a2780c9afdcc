"""slotcli audit: is a model object-wise, or does it cut frames into stripes and blocks?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slotcli.commands import console, setup
from slotcli.commands.options import INPUT, Device, OptionalModel, Threads
from slotcli.commands.passed_over import tell_passed_over
from slotcli.errors import LossError, SlotcliError, UsageError

if TYPE_CHECKING:
    import torch

    from slotcli.checkpoint import LoadedModel
    from slotcli.evaluation.audit import AuditScores
    from slotcli.model import SlotModel
    from slotcli.spec import SlotModelSpec

_DATA = "synth:C"
_Split = Literal["train", "validation", "test"]
_Kind = Literal["synth", "movi", "clevrtex", "celeba", "davis", "ytvis", "folder"]
_VERDICTS = {
    True: "Passed.",
    False: "NOT PASSED: stripes, blocks or one slot.",
    None: "Passed what could be checked, which is not everything.",
}


def audit(
    model: OptionalModel = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(
            help="Audit results of decompose instead of a model: a result, or a folder of them. "
            "Repeatable.",
            metavar="FOLDER",
            rich_help_panel=INPUT,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help=f"synth:TIER (rendered scenes), or a folder of unrelated clips. Default: {_DATA}.",
            metavar="DATA",
            rich_help_panel=INPUT,
        ),
    ] = None,
    split: Annotated[
        _Split | None,
        typer.Option(help="Split of the data. Default: validation.", rich_help_panel=INPUT),
    ] = None,
    kind: Annotated[
        _Kind | None,
        typer.Option(help="Format of the folder, if it is not recognised.", rich_help_panel=INPUT),
    ] = None,
    clips: Annotated[
        int,
        typer.Option(
            help="Maximum number of clips; 64 or more are better.",
            min=2,
            metavar="N",
            rich_help_panel=INPUT,
        ),
    ] = 64,
    frames: Annotated[
        int,
        typer.Option(
            help="Use the first N frames of each clip.", min=1, metavar="N", rich_help_panel=INPUT
        ),
    ] = 6,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Judge without labels whether a model finds objects, or only stripes and blocks.

    Exit code 3 means that a check failed. Results cannot be tested with shifted frames or a
    decoder's loss: those scores are null, with the reason, and exit code 0 then means that no
    possible check failed.

    Examples:
      slotcli audit --model tiny-64
      slotcli audit --results slotcli-out
    """
    if (model is None) == (not results):
        raise UsageError(
            "Audit either a model or results.", "Give --model, or --results, but not both."
        )
    console.phase("starting")
    setup.set_threads(threads, model)
    if model is not None:
        _audit_model(model, data or _DATA, split, kind, clips, frames, device)
    elif data or split or kind:
        raise UsageError(
            "--data, --split and --kind are for --model; results name their own clips.",
            "Leave them out, or leave out --results.",
        )
    else:
        _audit_results(results or [], clips, frames)


def _audit_model(
    model: str,
    data: str,
    split: _Split | None,
    kind: _Kind | None,
    clips: int,
    frames: int,
    device: str,
) -> None:
    console.phase("loading the model")
    from slotcli.data.datasets import TEST_SEEDS, VALIDATION_SEEDS
    from slotcli.data.recognise import recognise
    from slotcli.evaluation.audit import audit, audit_shift
    from slotcli.evaluation.segmenter import Segmenter
    from slotcli.evaluation.slot_information import slot_information
    from slotcli.evaluation.sources import RENDERED, open_source, unrelated_frames

    chosen = setup.choose_device(device)
    loaded, spec, module = load_slot_model(model, chosen)
    found_kind = None if data.startswith(RENDERED) else kind or recognise(Path(data))
    if split is not None and found_kind in ("synth", "folder"):
        raise UsageError(f"--split {split}: {data} has no splits.", "Leave out --split.")
    # Seeds of training are chosen by this audit, so test clips stay out of it unless asked for.
    part = split or "validation"
    console.phase("opening the clips")
    source = open_source(
        data,
        clips=clips,
        frames=frames,
        size=spec.size,
        first_seed={"train": 0, "validation": VALIDATION_SEEDS, "test": TEST_SEEDS}[part],
        split=part,
        kind=found_kind,
    )
    for remark in source.remarks:
        console.note(remark)
    tell_passed_over(source.passed_over)
    with console.progress(
        f"{'rendering' if data.startswith(RENDERED) else 'reading'} clips", "clips"
    ) as meter:
        pictures, left_out = unrelated_frames(
            source, clips=clips, frames=frames, size=spec.size, progress=meter.update
        )
    _warn("left out", left_out)
    console.phase("auditing the masks")
    scores = audit(
        Segmenter(module, chosen),
        pictures,
        spec.num_slots,
        shift=audit_shift(spec.size),
        information=slot_information(module, pictures, chosen),
    )
    show_audit(f"{spec.name} on {scores.clips} clips of {data}:", scores, spec.num_slots)
    console.record(
        {
            "model": spec.name,
            "weights_sha256": loaded.sha256,
            "data": data,
            "split": None if found_kind in ("synth", "folder") else part,
            "frames": frames,
            "left_out": _plain(left_out),
            **audit_record(scores),
        }
    )
    if scores.passed is False:
        raise LossError(
            f"{spec.name} did not pass the audit: it does not divide these clips into objects.",
            "Do not trust its masks. Train it again with another train.seed, or on other data.",
        )


def _audit_results(paths: list[Path], clips: int, frames: int) -> None:
    from slotcli.evaluation.result_audit import audit_results
    from slotcli.runs.results import find_results

    with console.progress("reading results", "results") as meter:
        found = audit_results(
            find_results(paths), clips=clips, frames=frames, progress=meter.update
        )
    _warn("left out", found.left_out)
    _warn("no edge alignment", found.without_pictures)
    name, scores = found.model["name"], found.scores
    show_audit(f"{scores.clips} results of {name}:", scores, found.num_slots)
    console.record(
        {
            "model": name,
            "weights_sha256": found.model["weights_sha256"],
            "results": [str(path) for path in paths],
            "frames": frames,
            "left_out": _plain(found.left_out),
            "without_pictures": _plain(found.without_pictures),
            **audit_record(scores),
        }
    )
    if scores.passed is False:
        raise LossError(
            f"These results of {name} did not pass the audit: they are not divided into objects.",
            "Do not trust their masks. Use another model.",
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
    """The scores as a table, those that decide first; in place of one that is not known, why."""
    if console.wants_json():
        return
    from slotcli.evaluation.audit import (
        MAX_POSITION_DETERMINISM,
        MIN_SHIFT_EQUIVARIANCE,
        MIN_USED_SLOTS,
    )

    reasons = scores.reasons

    def row(label: str, score: str, wanted: str, said: str) -> list[str]:
        value: float | None = getattr(scores, score)
        return [label, "-" if value is None else f"{value:.2f}", wanted, reasons.get(score, said)]

    def checked(label: str, score: str, wanted: str, fault: str) -> list[str]:
        return row(label, score, wanted, "passed" if scores.checks[score] else f"FAILED: {fault}")

    console.result(title)
    console.table(
        "",
        ["", "score", "wanted", ""],
        [
            checked(
                "position determinism",
                "position_determinism",
                f"< {MAX_POSITION_DETERMINISM}",
                "slots are places",
            ),
            checked(
                "shift equivariance",
                "shift_equivariance",
                f"> {MIN_SHIFT_EQUIVARIANCE}",
                "masks stay where they are",
            ),
            checked(
                f"used slots of {num_slots}", "used_slots", f">= {MIN_USED_SLOTS}", "one takes all"
            ),
            row("edge alignment", "edge_alignment", "", "1: borders ignore the picture"),
            row("slot entropy", "slot_entropy", "", "0: one takes all, 1: all alike"),
            row("kept, frame 0 to 1", "carry_first", "", "pixels that keep their slot"),
            row("kept, later frames", "carry_later", "", "pixels that keep their slot"),
            row("slot information", "slot_information_ratio", "", "0: the decoder ignores them"),
            row("degeneration", "degeneration", "< 0.5", "the worst of the first three"),
        ],
    )
    console.result(_VERDICTS[scores.passed])


def audit_record(scores: "AuditScores") -> dict[str, Any]:
    """The scores with the thresholds that they were held against."""
    from slotcli.evaluation.audit import (
        MAX_POSITION_DETERMINISM,
        MIN_SHIFT_EQUIVARIANCE,
        MIN_USED_SLOTS,
    )

    thresholds = {
        "max_position_determinism": MAX_POSITION_DETERMINISM,
        "min_shift_equivariance": MIN_SHIFT_EQUIVARIANCE,
        "min_used_slots": MIN_USED_SLOTS,
    }
    return {**scores.as_dict(), "thresholds": thresholds}


def _warn(what: str, errors: dict[str, SlotcliError]) -> None:
    for name, error in errors.items():
        console.warn(f"{what}: {name}: {error.what}")


def _plain(errors: dict[str, SlotcliError]) -> dict[str, str]:
    return {name: error.what for name, error in errors.items()}
