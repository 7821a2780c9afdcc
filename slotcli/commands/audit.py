"""slotcli audit: a verdict on a model, or on results, that needs no true masks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slotcli.commands import console, setup
from slotcli.commands.options import INPUT, Device, OptionalModel, Threads
from slotcli.commands.skipped import report_skipped
from slotcli.data.kinds import DataKind
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

_DESCRIBING = {
    "edge_alignment": "1: borders ignore the image",
    "slot_entropy": "0: one takes all, 1: all alike",
    "carry_first": "of all pixels; a fixed grid keeps all",
    "carry_later": "of all pixels; a fixed grid keeps all",
    "degeneration": "ranks runs; no verdict",
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
        DataKind | None,
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
    """Judge without labels whether a model, or a result, finds objects.

    Masks have to follow motion, align with image edges, and beat k-means on colour and position of
    the same clips. A model is also tested on shifted frames, and its decoder on the slots of other
    clips. A figure that cannot be measured is null, with the reason; without one that the verdict
    needs, nothing passes. Exit code 3 means that the verdict is not "passed".

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
    kind: DataKind | None,
    clips: int,
    frames: int,
    device: str,
) -> None:
    console.phase("loading the model")
    from slotcli.data.recognise import recognise
    from slotcli.evaluation.audit import audit, audit_shift
    from slotcli.evaluation.segmenter import Segmenter, input_size
    from slotcli.evaluation.slot_information import slot_information
    from slotcli.evaluation.sources import RENDERED, open_source, unrelated_frames
    from slotcli.scenes.seeds import TEST_SEEDS, VALIDATION_SEEDS

    chosen = setup.choose_device(device)
    loaded, spec, module = load_slot_model(model, chosen)
    found_kind = None if data.startswith(RENDERED) else kind or recognise(Path(data))
    if split is not None and found_kind in ("synth", "folder"):
        raise UsageError(f"--split {split}: {data} has no splits.", "Leave out --split.")
    # Seeds of training are chosen by this audit, so test clips are excluded unless given.
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
        keep=module.encoder.takes_any_size,
    )
    for remark in source.remarks:
        console.note(remark)
    report_skipped(source.passed_over)
    with console.progress(
        f"{'rendering' if data.startswith(RENDERED) else 'reading'} clips", "clips"
    ) as meter:
        pictures, left_out = unrelated_frames(
            source,
            clips=clips,
            frames=frames,
            size=lambda first: input_size(module, first),
            progress=meter.update,
        )
    _warn("left out", left_out)
    console.phase("auditing the masks")
    size = (pictures.shape[-2], pictures.shape[-1])
    scores = audit(
        Segmenter(module, chosen, size=size),
        pictures,
        spec.num_slots,
        shift=audit_shift(size),
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
            **scores.as_dict(),
            **verdict.as_dict(),
        }
    )
    if verdict.passed is False:
        raise LossError(
            f"{spec.name} did not pass the audit.",
            "Do not trust its masks. Train it again with another train.seed, or on other data.",
        )


def _audit_results(paths: list[Path], clips: int, frames: int) -> None:
    from slotcli.evaluation.result_audit import audit_results
    from slotcli.results.find import find_results

    with console.progress("reading results", "results") as meter:
        audited = audit_results(
            find_results(paths), clips=clips, frames=frames, progress=meter.update
        )
    _warn("left out", audited.left_out)
    _warn("no pictures", audited.without_pictures)
    name, scores = audited.model["name"], audited.scores
    verdict = scores.verdict()
    counted = "1 result" if scores.clips == 1 else f"{scores.clips} results"
    show_audit(f"{counted} of {name}:", scores, verdict)
    console.record(
        {
            "model": name,
            "weights_sha256": audited.model["weights_sha256"],
            "results": [str(path) for path in paths],
            "frames": frames,
            "left_out": _plain(audited.left_out),
            "without_pictures": _plain(audited.without_pictures),
            **scores.as_dict(),
            **verdict.as_dict(),
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
    """Prints the deciding and the descriptive figures, then the verdict's sentence."""
    if console.wants_json():
        return
    from slotcli.evaluation.figures import FIGURES
    from slotcli.evaluation.verdict import CRITERIA

    reasons, rows = scores.reasons, list[list[str]]()
    for name, criterion in CRITERIA.items():
        figure, value, passed = FIGURES[name], scores.figures[name], verdict.checks[name]
        said = {True: "passed", False: f"FAILED: {criterion.fault}", None: reasons.get(name, "-")}
        shown = "-" if value is None else f"{value:.2f}"
        rows.append([figure.title, shown, figure.wanted, said[passed]])
    for name, meaning in _DESCRIBING.items():
        value = getattr(scores, name)
        shown = "-" if value is None else f"{value:.2f}"
        rows.append([FIGURES[name].title, shown, "", reasons.get(name, meaning)])
    console.result(title)
    console.table("", ["", "score", "wanted", ""], rows)
    console.result(verdict.sentence)


def _warn(what: str, errors: dict[str, SlotcliError]) -> None:
    for name, error in errors.items():
        console.warn(f"{what}: {name}: {error.what}")


def _plain(errors: dict[str, SlotcliError]) -> dict[str, str]:
    return {name: error.what for name, error in errors.items()}
