"""The engine of the benches: one piece of work in several variants, timed and compared."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic

from slotcli.bench.forms import BASELINE, Variant
from slotcli.bench.timing import Action, Name, Result, Timing, interleaved
from slotcli.compute.compiler import compile_errors, first_line


@dataclass(frozen=True)
class Measured(Generic[Name, Result]):
    """Timings, the results of the first runs, and of variants that failed the reasons."""

    timings: dict[Name, Timing]
    results: dict[Name, Result]
    reasons: dict[Name, str]


@dataclass(frozen=True)
class Comparison:
    """The variants at one piece of work; `figures` are their rates, ratios and errors by name."""

    name: str
    frames: int
    timings: dict[Variant, Timing]
    figures: dict[Variant, dict[str, Any]]
    reasons: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "frames": self.frames,
            "arms": self.arms(),
            "reasons": self.reasons,
        }

    def arms(self) -> dict[str, dict[str, Any]]:
        """Timings and figures as plain values; variants that did not run are in `reasons`."""
        return {
            variant.name: timing.as_dict() | self.figures[variant]
            for variant, timing in self.timings.items()
        }


def measure(
    variants: Iterable[Name],
    prepare: Callable[[Name], Action[Result]],
    *,
    frames: int,
    rounds: int,
    least_seconds: float = 0.0,
    tell: Callable[[Name], None] = lambda _: None,
) -> Measured[Name, Result]:
    """Prepares and runs every variant once, which warms it up, then times all as `interleaved`.

    A variant that torch.compile cannot compile is left out, with its reason. `tell` is called after
    each run.
    """
    actions, results, reasons = dict[Name, Action[Result]](), dict[Name, Result](), {}
    for name in variants:
        try:
            action = prepare(name)
            results[name] = action()
        except compile_errors() as error:
            reasons[name] = first_line(error)
        else:
            actions[name] = action
        tell(name)
    timings = interleaved(
        actions, frames=frames, rounds=rounds, least_seconds=least_seconds, tell=tell
    )
    return Measured(timings, results, reasons)


def ratio(
    timings: dict[Variant, Timing], variant: Variant, against: Variant = BASELINE
) -> float | None:
    """The cost of a variant relative to another's; None where the other did not run."""
    return timings[variant].cost / timings[against].cost if against in timings else None
