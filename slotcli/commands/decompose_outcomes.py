"""Lines that `decompose` prints about its clips, while they run and at the end."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slotcli.commands import console
from slotcli.commands.meters import Meter
from slotcli.errors import LossError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slotcli.decomposition.batch import Outcome
    from slotcli.decomposition.plan import PlannedClip


@dataclass
class Count:
    """Counts the frames of a single clip, or the clips of a batch with the current one's frames."""

    meter: Meter
    clips: int
    ended: int = 0

    def frames(self, clip: "PlannedClip", frames: int, expected: int | None) -> None:
        """As `decomposition.batch.Progress`."""
        if self.clips > 1:
            self.meter.update(self.ended, self.clips, f"{clip.source.name}: {frames} frames")
            return
        self.meter.update(frames, expected)
        if frames == expected:
            self.meter.phase("drawing the report")

    def end_one(self, clip: "PlannedClip") -> None:
        """Counts a clip whose outcome is known."""
        self.ended += 1
        if self.clips > 1:
            self.meter.update(self.ended, self.clips, clip.source.name)
        else:
            console.end_progress()


def tell(outcomes: "Iterator[Outcome]", count: Count, known: "list[Outcome]") -> None:
    """Reports each clip's outcome as soon as it is known, and adds it to `known`."""
    from slotcli.decomposition.standard_input import name_standard_input

    for outcome in outcomes:
        known.append(outcome)
        result, error = outcome.result, outcome.error
        count.end_one(outcome.clip)
        if error is not None and count.clips > 1:
            name_standard_input(error, outcome.clip.source)
            console.cause(error)
            console.error(error.what, error.advice)
        for warning in result.warnings if result else ():
            console.warn(f"{outcome.clip.source.name}: {warning}")
        console.record(outcome.as_dict())
        if result is None:
            if error is None:
                console.note(f"{outcome.clip.result}: done already.")
        elif not console.wants_json():
            rate = result.frames / max(result.seconds, 1e-9)
            resumed = f", {result.resumed} of them from before" if result.resumed else ""
            console.result(f"{result.folder}: {result.frames} frames{resumed}, {rate:.1f} frames/s")


def finish(outcomes: "list[Outcome]", out: Path, shard: str | None, *, single: bool) -> None:
    """Prints the summary of a batch, and sets the exit code."""
    if single and outcomes[0].error is not None:
        raise outcomes[0].error
    if not single:
        summarise(outcomes, out, shard)
    counts = Counter(outcome.status for outcome in outcomes)
    if counts["busy"]:
        console.note(f"{counts['busy']} clips were left to other runs that are computing them.")
    _say_what_to_open(outcomes, out, shard, single=single)
    if counts["failed"] or counts["degraded"]:
        raise LossError(
            f"{counts['failed']} of {len(outcomes)} clips failed, {counts['degraded']} lost more "
            "than allowed.",
            "The rest is written; result.json and summary.csv list what was lost.",
        )


def _say_what_to_open(
    outcomes: "list[Outcome]", out: Path, shard: str | None, *, single: bool
) -> None:
    from slotcli.files.layout import PAGE

    results = [own.clip.result for own in outcomes if own.status in ("ok", "degraded", "done")]
    if single or (shard is not None and len(results) == 1):
        pages = [folder / PAGE for folder in results]
    else:
        pages = [out / "index.html"] if shard is None else [out]
    for page in pages:
        if page.exists():
            console.note(f"Open {page}")


def summarise(outcomes: "list[Outcome]", out: Path, shard: str | None) -> None:
    from slotcli.decomposition.summary import write_summary

    if out.is_dir():
        name = "summary" if shard is None else f"summary-{shard.replace('/', '-of-')}"
        write_summary(out, outcomes, name)
