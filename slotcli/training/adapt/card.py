"""The card of an adapted model: its selection metric, and the limits of that metric."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotcli.errors import printable
from slotcli.evaluation.audit import RECOMMENDED_CLIPS
from slotcli.evaluation.figures import FIGURES, LABEL_FREE, TRUE
from slotcli.spec import SlotModelSpec
from slotcli.training.adapt.recipe import MIN_GAIN, Outcome

CARD = "README.md"


@dataclass(frozen=True)
class AdaptedModel:
    """The facts that a card reports."""

    spec: SlotModelSpec
    parent: str
    parent_sha256: str
    folder: Path
    command: list[str]
    training: int
    held_out: list[str]
    by_clip: bool
    outcome: Outcome


def card_text(adapted: AdaptedModel) -> str:
    """The card in Markdown; text from outside is escaped, and shown as it is."""
    spec, outcome = adapted.spec, adapted.outcome
    before, after, train = outcome.before, outcome.best, spec.train
    count, unit = len(adapted.held_out), "clips" if adapted.by_clip else "windows"
    figures = [name for name in LABEL_FREE if name in before]
    true = [name for name in TRUE if name in before]
    lines = [
        f"# {markdown(spec.name)}",
        "",
        f"{markdown(adapted.parent)} (weights sha256 {adapted.parent_sha256}), trained on without "
        f"labels on {adapted.training} clips of {markdown(str(adapted.folder))}. These weights are "
        f"of step {after['step']} of {train.steps}.",
        "",
        *_code(shlex.join(adapted.command)),
        "",
        f"Seed {train.seed}; learning rate {train.learning_rate:g} (encoder) and "
        f"{train.decoder_learning_rate:g} (decoder), batches of {train.batch_size} windows of "
        f"{train.clip_length} frames. The codec is the parent's, unchanged.",
        "",
        "## Without labels",
        "",
        f"On {count} held-out {unit}:",
        "",
        *_table(
            ["", "wanted", "before", "after"],
            [
                [
                    name.replace("_", " "),
                    FIGURES[name].wanted,
                    _format(before[name]),
                    _format(after[name]),
                ]
                for name in figures
            ],
        ),
        "",
        *(f"- {warning}" for warning in _warnings(adapted)),
    ]
    if true:
        lines += [
            "",
            "## Against ground truth",
            "",
            "Of the same frames, which came with true masks. Training never saw them, and nothing "
            "was chosen by these figures.",
            "",
            *_table(
                ["", "before", "after"],
                [[name, _format(before[name]), _format(after[name])] for name in true],
            ),
        ]
    lines += [
        "",
        "## Every evaluation",
        "",
        *_table(
            ["step", *(name.replace("_", " ") for name in (*figures[:4], *true))],
            [
                [str(row["step"]), *(_format(row.get(name)) for name in (*figures[:4], *true))]
                for row in outcome.rows
            ],
        ),
        "",
        "## Held out",
        "",
        *(f"- {markdown(name)}" for name in adapted.held_out),
    ]
    return "\n".join(lines) + "\n"


def markdown(text: str) -> str:
    """Text from outside on one line, escaped so that none of it is Markdown or HTML."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", printable(text))


def _warnings(adapted: AdaptedModel) -> list[str]:
    count, after = len(adapted.held_out), adapted.outcome.best["degeneration"]
    warnings = [
        "No ground truth was used. Less degenerate does not mean that the masks are the objects: "
        "look at them.",
        "The step was chosen by these very figures (the lowest degeneration, at least "
        f"{MIN_GAIN} below the start's), so they flatter. `slotcli audit` on other clips does not.",
        "What the parent could do on other footage may be lost; that was not measured.",
        "Clips of one unmoving camera raise position determinism, before and after alike.",
    ]
    if not adapted.by_clip:
        warnings.append(
            "There were too few clips to hold whole ones out: the windows are apart in time, but "
            "of one clip, so the figures say little of other clips."
        )
    if count < RECOMMENDED_CLIPS:
        warnings.append(
            f"{count} is few: figures on fewer than {RECOMMENDED_CLIPS} unrelated clips are rough."
        )
    if not FIGURES["degeneration"].passes(after):
        warnings.append(
            f"It is still degenerate ({after:.2f}, wanted below 0.5): do not trust its masks."
        )
    return warnings


def _code(text: str) -> list[str]:
    """A fenced code block; its fence is longer than any run of backticks in it."""
    text = printable(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [fence, text, fence]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(row) + " |" for row in cells]


def _format(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
