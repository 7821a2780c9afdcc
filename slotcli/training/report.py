"""A training run's report page, made from the files in its folder."""

import shlex
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from slotcli.checkpoint import DEFINITION, WEIGHTS, file_sha256
from slotcli.definition import load_definition
from slotcli.errors import ConfigError, NoInputError, printable
from slotcli.evaluation.figures import FIGURES, figure
from slotcli.files.layout import PAGE
from slotcli.report.axis import format_number
from slotcli.report.curves import write_curves
from slotcli.report.mask_sheet import sheet_name, sheet_steps
from slotcli.report.run_page import Check, MaskSheet, RunReport, write_run_page
from slotcli.spec import CodecModelSpec, SlotModelSpec
from slotcli.training.checkpoints import Checkpoints
from slotcli.training.learning_curves import learning_curves, numeric_figures, plottable
from slotcli.training.log import CURVES, LOG, read_log
from slotcli.training.run_facts import RUN, read_starts

MAX_SHEETS = 16
MIN_CODES_USED = 0.05  # fraction of a codebook; below it a batch leaves most codes unused
_UNKNOWN = "-"
_CHECKED = ("position_determinism", "shift_equivariance", "used_slots")

Row = dict[str, Any]


def write_run_report(folder: Path) -> list[Path]:
    """Writes report.html and curves.svg of a run into its folder; returns their paths.

    Raises NoInputError where nothing was logged yet, DataError for a damaged log, and as
    `output_errors`.
    """
    rows = read_log(folder)
    if not rows:
        raise NoInputError(
            f"{printable(folder / LOG)}: nothing was logged yet.", "Train for some more steps."
        )
    warnings: list[str] = []
    spec, definition = _definition(folder, warnings)
    starts = read_starts(folder)
    if not starts:
        warnings.append(f"Who started this run, and with what, is not known: no readable {RUN}.")
    columns = [name for name in numeric_figures(rows) if figure(name).held_out]
    evaluations = [row for row in rows if any(name in row for name in columns)]
    last = evaluations[-1] if evaluations else {}
    sheets = _sheets(folder, rows[-1]["step"], warnings)
    audit = _audit(last)
    curves = learning_curves(rows)
    write_curves(folder / CURVES, curves)
    report = RunReport(
        title=folder.resolve().name if spec is None else spec.name,
        lead=_lead(folder, rows[-1]["step"], spec),
        warnings=[*_training_warnings(rows, last, spec), *warnings],
        curves=curves,
        sheets=sheets,
        audit_title=f"Checks at step {last['step']}; slotcli audit gives the verdict"
        if audit
        else "",
        audit=audit,
        columns=["Step", *(figure(name).heading for name in columns)],
        evaluations=[
            [str(row["step"]), *(_format(row.get(name)) for name in columns)] for row in evaluations
        ],
        facts=[("Run", _run_facts(starts)), ("Model", _model_facts(folder, spec))],
        definition=definition,
    )
    write_run_page(folder / PAGE, report)
    return [folder / PAGE, folder / CURVES]


def _definition(
    folder: Path, warnings: list[str]
) -> tuple[CodecModelSpec | SlotModelSpec | None, str | None]:
    """The recorded definition of the model, and its text."""
    path = folder / DEFINITION
    try:
        return load_definition(path), path.read_text(encoding="utf-8")
    except (NoInputError, ConfigError) as error:
        warnings.append(f"What was trained is not known: {error.what}")
        return None, None


def _lead(folder: Path, step: int, spec: CodecModelSpec | SlotModelSpec | None) -> str:
    if spec is None:
        return f"{step} training steps."
    kind = "codec" if spec.kind == "codec" else "slot model"
    ending = "" if step >= spec.train.steps else ", not finished"
    if Checkpoints(folder / "state", 1, 0).out_of_patience(spec.train):
        ending = ", ended for it got no better"
    return f"A {kind}, {step} of {spec.train.steps} training steps{ending}."


def _training_warnings(
    rows: list[Row], last: Row, spec: CodecModelSpec | SlotModelSpec | None
) -> list[str]:
    warnings: list[str] = []
    degeneration = plottable(last.get("degeneration"))
    if degeneration is not None and not FIGURES["degeneration"].passes(degeneration):
        warnings.append(
            f"Degeneration is {degeneration:.2f} at step {last['step']}: the slots do not follow "
            "objects. A low loss says nothing against it. Try another train.seed."
        )
    lost = sum("loss" in row and plottable(row["loss"]) is None for row in rows)
    if lost:
        warnings.append(f"The loss was not a finite number in {lost} of {len(rows)} logged rows.")
    skipped, returns = (plottable(rows[-1].get(name)) for name in ("skipped", "rollbacks"))
    if skipped or returns:
        warnings.append(
            f"{skipped or 0:.0f} steps were skipped, for their loss or gradient was not finite; "
            f"the run went back to an earlier state {returns or 0:.0f} times."
        )
    codes = next((plottable(row["codes_used"]) for row in rows[::-1] if "codes_used" in row), None)
    if codes is not None and isinstance(spec, CodecModelSpec):
        share = codes / spec.codec.num_codes
        if share < MIN_CODES_USED:
            warnings.append(
                f"A batch uses {codes:.0f} of {spec.codec.num_codes} codes: most of the codebook "
                "is idle."
            )
    return warnings


def _audit(last: Row) -> list[Check]:
    """The audit figures that training logs for the held-out clips, as last logged."""
    checks: list[Check] = []
    for name in _CHECKED:
        if name in last:
            known, score = FIGURES[name], plottable(last[name])
            passed = None if score is None else known.passes(score)
            checks.append(Check(known.heading, _format(score), known.wanted, passed))
    return checks


def _sheets(folder: Path, last_step: int, warnings: list[str]) -> list[MaskSheet]:
    """At most MAX_SHEETS, evenly spaced; sheets after the last step belong to an abandoned run."""
    steps = [step for step in sheet_steps(folder) if step <= last_step]
    if len(steps) > MAX_SHEETS:
        gap = (len(steps) - 1) / (MAX_SHEETS - 1)
        steps = [steps[round(index * gap)] for index in range(MAX_SHEETS)]
    sheets: list[MaskSheet] = []
    for step in steps:
        name = sheet_name(step)
        try:
            with Image.open(folder / name) as image:
                sheets.append(MaskSheet(step, name, (image.height, image.width)))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            warnings.append(f"{name} cannot be shown: {error}.")
    return sheets


def _run_facts(starts: list[Row]) -> list[tuple[str, str]]:
    if not starts:
        return []
    last = starts[-1]
    command = last.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else []
    resumed = [str(start.get("first_step")) for start in starts[1:]]
    return [
        ("Command", shlex.join(words)),
        ("Version", f"slotcli {last.get('version')}, torch {last.get('torch')}"),
        ("Python", f"{last.get('python')}, {last.get('machine')}"),
        ("Started", str(starts[0].get("time"))),
        ("Resumed", f"from step {', '.join(resumed)}" if resumed else "never"),
    ]


def _model_facts(
    folder: Path, spec: CodecModelSpec | SlotModelSpec | None
) -> list[tuple[str, str]]:
    weights = folder / WEIGHTS
    known = f"sha256 {file_sha256(weights)[:16]}" if weights.is_file() else "not saved yet"
    if spec is None:
        return [("Weights", known)]
    height, width = spec.size
    facts = [("Name", spec.name), ("Sees", f"{width} x {height} pixels"), ("Weights", known)]
    if isinstance(spec, SlotModelSpec):
        facts.append(("Slots", f"{spec.num_slots} of {spec.slot_dim} numbers"))
    return [*facts, ("Seed", str(spec.train.seed))]


def _format(value: object) -> str:
    known = plottable(value)
    return _UNKNOWN if known is None else format_number(known)
