"""The verdict on a model or on results: the figures that decide, their limits, and its sentence.

`audit`, `evaluate` and the report of a result all pass their figures to `judge`. The limits
separate networks and results that are known to be good from those known to be bad;
models/README.md has the table, and the clips on which limits were set and validated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slotcli.evaluation.figures import FIGURES

# Figures of few clips have a high variance: a test image of colour bars passed one by 3 %. With
# fewer than FEW_CLIPS the figures of motion, edges and k-means have to pass by this factor.
FEW_CLIPS = 4
_MARGIN = 1.1
_SCATTERED = ("follows_motion", "edges_over_kmeans", "beyond_kmeans", "together")


@dataclass(frozen=True)
class Criterion:
    """A figure that decides: what failing its limit means, and why it may be unknown.

    Nothing passes while a `required` figure is not known.
    """

    fault: str
    unknown: str
    required: bool = True


_ONE_SLOT = "One slot takes all, or the pictures are missing."
CRITERIA = {
    "used_slots": Criterion("one slot takes all", ""),
    "follows_motion": Criterion(
        "masks do not travel with what moves", "Too little moves in these clips."
    ),
    "edges_over_kmeans": Criterion(
        "borders ignore the picture", "Labels without a border, or flat or missing pictures."
    ),
    "beyond_kmeans": Criterion("no more than k-means of colour and position", _ONE_SLOT),
    "connected": Criterion("slots lie in pieces", _ONE_SLOT),
    "together": Criterion(
        "motion, edges and k-means are each only just above their limits",
        "One of its parts is not known.",
    ),
    "position_determinism": Criterion("slots are places", "One clip is too few.", False),
    "shift_equivariance": Criterion("masks stay where they are", "It needs the model.", False),
    "slot_information_ratio": Criterion(
        "the decoder ignores the slots", "It needs the model's decoder.", False
    ),
}


@dataclass(frozen=True)
class Verdict:
    """Whether figures pass: True, False, or None if a required one is unknown.

    `checks` has each figure's own result; `ahead` names, by score, the baselines that are no worse
    by true masks; with any of these the verdict is not a pass.
    """

    passed: bool | None
    checks: dict[str, bool | None]
    sentence: str
    ahead: dict[str, list[str]]

    def as_dict(self) -> dict[str, Any]:
        """The verdict for JSON, with the limits."""
        return {
            "passed": self.passed,
            "sentence": self.sentence,
            "checks": self.checks,
            "limits": {name: FIGURES[name].wanted for name in CRITERIA},
            "trivial_ahead": self.ahead,
        }


def judge(
    values: Mapping[str, float | None],
    ahead: Mapping[str, Sequence[str]] | None = None,
    *,
    clips: int,
) -> Verdict:
    """Judge figures of `clips` clips by their names in CRITERIA; others are not known.

    `ahead` has, by score against true masks, the baselines that are no worse.
    """
    checks = {
        name: None if (value := values.get(name)) is None else FIGURES[name].passes(value)
        for name in CRITERIA
    }
    named = {score: list(rows) for score, rows in (ahead or {}).items() if rows}
    failed = [name for name, passed in checks.items() if passed is False]
    unknown = [name for name, passed in checks.items() if passed is None]
    if len(failed) > 1 and "together" in failed:
        failed.remove("together")  # its parts say more
    missing = [name for name in unknown if CRITERIA[name].required]
    if len(missing) > 1 and "together" in missing:
        missing.remove("together")
    if failed or named:
        return Verdict(False, checks, f"Not passed: {_faults(failed, values, named)}.", named)
    titles = ", ".join(FIGURES[name].title for name in missing or unknown)
    if missing:
        return Verdict(None, checks, f"Not judged: {titles} could not be measured.", named)
    close = [name for name in _SCATTERED if clips < FEW_CLIPS and _is_close(name, values[name])]
    if close:
        titles = ", ".join(FIGURES[name].title for name in close)
        number = "1 clip is" if clips == 1 else f"{clips} clips are"
        sentence = (
            f"Not judged: {number} too few where figures are close to their limits: {titles}."
        )
        return Verdict(None, checks, sentence, named)
    still_open = f" Not measured: {titles}." if unknown else ""
    return Verdict(
        True,
        checks,
        "Passed: masks travel with what moves, keep to edges, and are more than clusters of colour "
        f"and position.{still_open}",
        named,
    )


def _is_close(name: str, value: float | None) -> bool:
    limit = FIGURES[name].limit
    return value is not None and limit is not None and value < _MARGIN * limit


def _faults(
    failed: Sequence[str],
    values: Mapping[str, float | None],
    ahead: Mapping[str, Sequence[str]],
) -> str:
    faults = [
        f"{CRITERIA[name].fault} ({FIGURES[name].title} {values[name]:.2f}, wanted "
        f"{FIGURES[name].wanted})"
        for name in failed
    ]
    if ahead:
        scores = "; ".join(f"{score}: {', '.join(rows)}" for score, rows in ahead.items())
        faults.append(f"against true masks trivial decompositions are no worse ({scores})")
    return ", ".join(faults)
