"""Options, machine facts and the output file that all measurements share."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console, setup
from slotcli.commands.options import OUTPUT
from slotcli.errors import CannotCreateError

if TYPE_CHECKING:
    import torch

    from slotcli.bench.timing import Timing

_MEASUREMENT = "Measurement"


def number(text: str) -> Any:
    """An option with a whole number from 1."""
    return typer.Option(help=text, min=1, metavar="N", rich_help_panel=_MEASUREMENT)


def flag(name: str, text: str) -> Any:
    return typer.Option(name, help=text, rich_help_panel=_MEASUREMENT)


def file(text: str) -> Any:
    return typer.Option(help=text, metavar="FILE", rich_help_panel=_MEASUREMENT)


Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="JSON file for everything measured.",
        metavar="FILE",
        rich_help_panel=OUTPUT,
    ),
]
Compile = Annotated[
    bool, flag("--compile", "Measure torch.compile of the baseline too, which takes minutes.")
]
Rounds = Annotated[int, number("Rounds; each runs every variant once.")]
Quick = Annotated[bool, flag("--quick", "One round: rough, for a first look.")]
Batch = Annotated[
    int | None, number("Clips per step. Default: the definition's on a GPU, 1 on a CPU.")
]
ClipLength = Annotated[int | None, number("Frames per clip of a step. Default: the definition's.")]

COSTS = "Costs are seconds of all threads together on a CPU, of the GPU's clock on a GPU."


def require_free(out: Path | None, overwrite: bool) -> None:
    """Raises CannotCreateError where `out` exists and may not be replaced."""
    if out is not None and out.exists() and not overwrite:
        raise CannotCreateError(f"{out}: exists already.", "Use --overwrite, or another --out.")


def prepare(device: str, threads: int | None) -> "tuple[torch.device, dict[str, Any]]":
    """Chooses and describes device and threads, and warns where the machine is busy."""
    import torch

    from slotcli.compute import machine

    chosen = setup.choose_device(device)
    setup.set_threads(threads)
    on_gpu = chosen.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(chosen)
    processor, versions = machine.cpu(), machine.versions()
    load = os.getloadavg()[0]
    if load > processor["cores"] / 2:
        console.warn("This machine is busy already: times will be too long.")
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
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["slotcli", *sys.argv[1:]]),
    }


def publish(summary: dict[str, Any], out: Path | None, show: Callable[[], None]) -> None:
    """Writes the JSON file, if requested; prints the --json record, or what `show` prints."""
    if out is not None:
        from slotcli.files.writing import output_errors, whole_file

        with output_errors(out.parent):
            out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as written:
            written.write(json.dumps(summary, indent=1, sort_keys=True).encode() + b"\n")
    console.record(summary)
    if not console.wants_json():
        show()
    if out is not None:
        console.note(f"Written: {out}")


def headline(environment: dict[str, Any]) -> str:
    """The machine and torch version of a measurement."""
    return (
        f"On {environment['device_name']}, {environment['threads']} threads, torch "
        f"{environment['torch']}"
    )


def cost(timing: "Timing | None", unit: float = 1.0) -> str:
    """Median and range of the costs of runs, in seconds over `unit`."""
    return "-" if timing is None else spread(timing.cost, timing.costs, unit)


def spread(middle: float, values: Sequence[float], unit: float = 1.0) -> str:
    shown = f"{middle / unit:.3g}"
    if len(values) == 1:
        return shown
    return f"{shown} ({min(values) / unit:.3g}-{max(values) / unit:.3g})"
