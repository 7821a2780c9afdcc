"""`decompose --dry-run`: the clips, with estimates of time and disk space."""

from typing import TYPE_CHECKING

from slotcli.commands import console

if TYPE_CHECKING:
    from slotcli.decomposition.batch import Outcome
    from slotcli.decomposition.plan import PlannedClip
    from slotcli.decomposition.worker import Work


def show_plan(work: "Work", clips: "list[PlannedClip]", failed: "list[Outcome]") -> None:
    """Prints the clips that `decompose` would compute, with estimates; `failed` have none."""
    import torch

    from slotcli.decomposition.estimate import Estimate, estimate_clips, free_bytes

    console.phase("timing the model")
    found = estimate_clips(clips, work.load(), work.options, torch.device(work.device))
    found += [
        Estimate(outcome.clip, None, None, None, None, outcome.error.what)
        for outcome in failed
        if outcome.error is not None
    ]
    for one in found:
        console.record(one.as_dict())
    if console.wants_json():
        return
    rows = [
        [
            str(one.clip.source),
            str(one.clip.result),
            "?" if one.frames is None else str(one.frames),
            "?" if one.size is None else f"{one.size[1]} x {one.size[0]}",
            "?" if one.seconds is None else _duration(one.seconds),
            "?" if one.bytes is None else f"{one.bytes / 2**20:.1f} MiB",
            one.remark,
        ]
        for one in found
    ]
    columns = ["clip", "result", "frames", "size", "time", "disk", ""]
    console.table("", columns, rows)
    seconds, size = (sum(one.seconds or 0 for one in found), sum(one.bytes or 0 for one in found))
    spans = [one.span for one in found if one.span is not None]
    low, high = (_duration(sum(part)) for part in zip(*spans, strict=True)) if spans else ("?", "?")
    console.result(
        f"{len(clips)} clip{'s' * (len(clips) != 1)}: about {_duration(seconds)} on the model "
        f"({low} to {high} in a trial just now), {size / 2**20:.0f} MiB; "
        f"{free_bytes(clips) / 2**20:.0f} MiB are free."
    )
    console.result("Estimates. Decoding and writing run beside the model and can take longer.")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
