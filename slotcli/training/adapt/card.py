"""The card of an adapted model: its selection metric, and the limits of that metric."""

import re
import shlex
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from slotcli.errors import printable
from slotcli.evaluation.audit import RECOMMENDED_CLIPS
from slotcli.evaluation.figures import FIGURES, LABEL_FREE, TRUE
from slotcli.spec import SlotModelSpec
from slotcli.training.adapt.recipe import MIN_GAIN, Outcome

CARD = "README.md"
_TEMPLATE = "card.md.jinja"


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
    outcome, command = adapted.outcome, printable(shlex.join(adapted.command))
    before, after = outcome.before, outcome.best
    figures = [name for name in LABEL_FREE if name in before]
    true = [name for name in TRUE if name in before]
    columns = [*figures[:4], *true]
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["markdown"] = markdown
    template = files("slotcli.training.adapt").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(template).render(
        adapted=adapted,
        spec=adapted.spec,
        train=adapted.spec.train,
        after=after,
        count=len(adapted.held_out),
        recommended=RECOMMENDED_CLIPS,
        min_gain=MIN_GAIN,
        degenerate=not FIGURES["degeneration"].passes(after["degeneration"]),
        command=command,
        # Longer than any run of backticks in the command.
        fence="`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0)),
        label_free=[
            [_title(n), FIGURES[n].wanted, _format(before[n]), _format(after[n])] for n in figures
        ],
        against_truth=[[name, _format(before[name]), _format(after[name])] for name in true],
        columns=["step", *map(_title, columns)],
        evaluations=[
            [str(row["step"]), *(_format(row.get(name)) for name in columns)]
            for row in outcome.rows
        ],
    )


def markdown(text: str) -> str:
    """Text from outside on one line, escaped so that none of it is Markdown or HTML."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", printable(text))


def _title(name: str) -> str:
    return name.replace("_", " ")


def _format(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
