"""slotcli audit: a verdict on a model, or on results, that needs no true masks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slotcli.commands import console, setup
from slotcli.commands.options import Device, Threads
from slotcli.errors import LossError, SlotcliError, UsageError

if TYPE_CHECKING:
    import torch

    from slotcli.checkpoint import LoadedModel
    from slotcli.evaluation.audit import AuditScores
    from slotcli.evaluation.verdict import Verdict
    from slotcli.model import SlotModel
    from slotcli.spec import SlotModelSpec

_DATA = "synth:C"
_Split = Literal["train", "validation", "test"]
_Kind = Literal["synth", "movi", "clevrtex", "celeba", "davis", "ytvis", "folder"]

_DESCRIBING = {
    "edge_alignment": ("edge alignment", "1: borders ignore the picture"),
    "slot_entropy": ("slot entropy", "0: one takes all, 1: all alike"),
    "carry_first": ("kept, frame 0 to 1", "of all pixels; a fixed grid keeps all"),
    "carry_later": ("kept, later frames", "of all pixels; a fixed grid keeps all"),
    "degeneration": ("degeneration", "ranks runs; no verdict"),
}


def audit(
    model: Annotated[
        str | None,
        typer.Option(help="A model's name, folder or weights file (slotcli models list)."),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(help="Results of decompose, or a folder of them, in its place. Repeatable."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help=f"synth:TIER, or any folder of unrelated clips; {_DATA} by default."),
    ] = None,
    split: Annotated[
        _Split | None, typer.Option(help="Of the data; validation by default.")
    ] = None,
    kind: Annotated[
        _Kind | None,
        typer.Option(help="Of the folder, where it cannot be told from what lies in it."),
    ] = None,
    clips: Annotated[int, typer.Option(help="At most; better 64 or more.", min=2)] = 64,
    frames: Annotated[int, typer.Option(help="The first so many of each clip.", min=1)] = 6,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Judge a model, or results, without labels; exit code 3 if any figure fails.

    Masks have to travel with what moves, keep to edges, and be more than k-means of colour and
    position makes of the same clips. A model is also shown shifted pictures, and its decoder the
    slots of other clips. What could not be measured is null, with the reason; where the verdict
    needs it, nothing is passed.
    """
    if (model is None) == (not results):
        raise UsageError(
            "Either a model or results are audited.", "Give --model, or else --results."
        )
    setup.set_threads(threads)
    if model is not None:
        _audit_model(model, data or _DATA, split, kind, clips, frames, device)
    elif data or split or kind:
        raise UsageError(
            "--data, --split and --kind are for a model; results know their clips.",
            "Leave them out, or --results.",
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
    with console.progress(f"reading {data}") as meter:
        pictures, left_out = unrelated_frames(
            source, clips=clips, frames=frames, size=spec.size, progress=meter.update
        )
    _warn("left out", left_out)
    scores = audit(
        Segmenter(module, chosen),
        pictures,
        spec.num_slots,
        shift=audit_shift(spec.size),
        information=slot_information(module, pictures, chosen),
    )
    verdict = scores.verdict()
    show_audit(f"{spec.name} on {scores.clips} clips of {data}:", scores, verdict)
    console.record(
        {
            "model": spec.name,
            "weights_sha256": loaded.sha256,
            "data": data,
            "split": None if found_kind in ("synth", "folder") else part,
            "frames": frames,
            "left_out": _plain(left_out),
            **audit_record(scores, verdict),
        }
    )
    if verdict.passed is False:
        raise LossError(
            f"{spec.name} did not pass the audit.",
            "Do not trust its masks. Train it again with another train.seed, or on other data.",
        )


def _audit_results(paths: list[Path], clips: int, frames: int) -> None:
    from slotcli.evaluation.result_audit import audit_results
    from slotcli.runs.results import find_results

    with console.progress("reading results") as meter:
        found = audit_results(
            find_results(paths), clips=clips, frames=frames, progress=meter.update
        )
    _warn("left out", found.left_out)
    _warn("no pictures", found.without_pictures)
    name, scores = found.model["name"], found.scores
    verdict = scores.verdict()
    show_audit(f"{scores.clips} results of {name}:", scores, verdict)
    console.record(
        {
            "model": name,
            "weights_sha256": found.model["weights_sha256"],
            "results": [str(path) for path in paths],
            "frames": frames,
            "left_out": _plain(found.left_out),
            "without_pictures": _plain(found.without_pictures),
            **audit_record(scores, verdict),
        }
    )
    if verdict.passed is False:
        raise LossError(
            f"These results of {name} did not pass the audit.",
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


def show_audit(title: str, scores: "AuditScores", verdict: "Verdict") -> None:
    """The figures that decide and those that describe, then the verdict's sentence."""
    if console.wants_json():
        return
    from slotcli.evaluation.verdict import FIGURES

    reasons, rows = scores.reasons, list[list[str]]()
    for name, figure in FIGURES.items():
        value, passed = scores.figures[name], verdict.checks[name]
        said = {True: "passed", False: f"FAILED: {figure.fault}", None: reasons.get(name, "-")}
        shown = "-" if value is None else f"{value:.2f}"
        rows.append([figure.title, shown, figure.wanted, said[passed]])
    for name, (label, meaning) in _DESCRIBING.items():
        value = getattr(scores, name)
        shown = "-" if value is None else f"{value:.2f}"
        rows.append([label, shown, "", reasons.get(name, meaning)])
    console.result(title)
    console.table("", ["", "score", "wanted", ""], rows)
    console.result(verdict.sentence)


def audit_record(scores: "AuditScores", verdict: "Verdict") -> dict[str, Any]:
    """The scores, and the verdict with the limits that they were held against."""
    return {**scores.as_dict(), **verdict.as_dict()}


def _warn(what: str, errors: dict[str, SlotcliError]) -> None:
    for name, error in errors.items():
        console.warn(f"{what}: {name}: {error.what}")


def _plain(errors: dict[str, SlotcliError]) -> dict[str, str]:
    return {name: error.what for name, error in errors.items()}
