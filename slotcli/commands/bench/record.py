"""What every measurement has: its options, the machine it was made on, its file."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console, setup
from slotcli.errors import CannotCreateError

if TYPE_CHECKING:
    import torch

    from slotcli.runs.timing import Timing

Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="A JSON file for everything measured.")
]
Overwrite = Annotated[bool, typer.Option(help="Replace a file that exists.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Also torch.compile of the plain form: takes minutes.")
]

COSTS = "On a CPU costs are seconds of all threads together, on a GPU its own clock's."


def require_free(out: Path | None, overwrite: bool) -> None:
    """Raises CannotCreateError where `out` exists and may not be replaced."""
    if out is not None and out.exists() and not overwrite:
        raise CannotCreateError(f"{out}: exists already.", "Use --overwrite, or another --out.")


def prepare(device: str, threads: int | None) -> "tuple[torch.device, dict[str, Any]]":
    """Chooses device and threads, says what they are, and warns where the machine is at work."""
    import torch

    from slotcli.runs import machine

    chosen = setup.choose_device(device)
    setup.set_threads(threads)
    on_gpu = chosen.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(chosen)
    processor, versions = machine.cpu(), machine.versions()
    load = os.getloadavg()[0]
    if load > processor["cores"] / 2:
        console.warn("This machine is at work already: times will be too long.")
    return chosen, {
        "device": str(chosen),
        "device_name": torch.cuda.get_device_name(chosen) if on_gpu else processor["name"],
        "processor_features": processor["features"],
        "threads": processor["threads"],
        "load_average": load,
        "torch": versions["torch"],
        "triton": versions["triton"],
        "python": versions["python"],
        "version": versions["slotcli"],
        "date": _now(),
        "command": shlex.join(["slotcli", *sys.argv[1:]]),
    }


def finish(summary: dict[str, Any], out: Path | None) -> None:
    """Writes the file and the record, where they are asked for."""
    if out is not None:
        from slotcli.tracks.writing import output_errors, whole_file

        with output_errors(out.parent):
            out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as file:
            file.write(json.dumps(summary, indent=1, sort_keys=True).encode() + b"\n")
    console.record(summary)


def say_written(out: Path | None) -> None:
    """The last line of a measurement: where its file is."""
    if out is not None:
        console.note(f"Written: {out}")


def headline(environment: dict[str, Any]) -> str:
    """Where it was measured."""
    return (
        f"On {environment['device_name']}, {environment['threads']} threads, torch "
        f"{environment['torch']}"
    )


def cost(timing: "Timing | None", unit: float = 1.0) -> str:
    """Median and range of what runs cost, in seconds over `unit`."""
    return "-" if timing is None else spread(timing.cost, timing.costs, unit)


def spread(middle: float, values: tuple[float, ...], unit: float = 1.0) -> str:
    shown = f"{middle / unit:.3g}"
    if len(values) == 1:
        return shown
    return f"{shown} ({min(values) / unit:.3g}-{max(values) / unit:.3g})"


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="seconds")
