"""slotcli doctor: versions, devices and models here, and a test of every operation."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slotcli.commands import console, setup
from slotcli.commands.options import OUTPUT, Device, Kernels, Threads
from slotcli.errors import SlotcliError, UnavailableError

if TYPE_CHECKING:
    import torch

SCHEMA = "slotcli.doctor/1"


def doctor(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder for results, whose disk is checked; nothing is written.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("slotcli-out"),
    device: Device = "auto",
    threads: Threads = None,
    kernels: Kernels = "auto",
) -> None:
    """Show versions, device, disk and models, and test every operation against its reference.

    Exit code 69 means that a test failed.

    Examples:
      slotcli doctor
      slotcli doctor --device cuda:1 --kernels triton
    """
    console.phase("testing operations")
    from slotcli.compute import machine
    from slotcli.kernels import dispatch
    from slotcli.kernels.self_test import self_test

    chosen = setup.choose_device(device)
    setup.set_threads(threads)
    versions = machine.versions()
    with dispatch.use_backend(kernels):
        backend, why = _backend(chosen, kernels, versions["triton"])
    with dispatch.use_backend(backend):  # not "auto": a failure of Triton is to be shown
        tests = self_test(chosen)
    facts = {
        "schema": SCHEMA,
        "versions": versions,
        "device": str(chosen),
        "cpu": machine.cpu(),
        "gpu": machine.gpu(chosen),
        "disk": {"folder": str(out), "free_bytes": machine.free_disk(out)},
        "kernels": {"backend": backend, "why": why},
        "operations": [{**asdict(test), "passed": test.passed} for test in tests],
        "models": _models(),
    }
    console.record(facts)
    if not console.wants_json():
        _show(facts)
    if failed := sorted({test.operation for test in tests if not test.passed}):
        raise UnavailableError(
            f"{', '.join(failed)}: results on {chosen} differ from the reference.",
            "Use --kernels reference or --device cpu, and please report it with this output.",
        )
    if broken := [model["name"] for model in facts["models"] if model["problem"]]:
        raise UnavailableError(f"{', '.join(broken)}: cannot be loaded.", "Install slotcli again.")


def _backend(
    device: "torch.device", kernels: Literal["auto", "reference", "triton"], triton: str | None
) -> tuple[Literal["reference", "triton"], str]:
    """The active form of the operations, and the reason. Raises UnavailableError as they would."""
    from slotcli.kernels import dispatch

    if dispatch.takes_triton("doctor", device):
        return (
            "triton",
            f"Triton {triton} on {device}; plain torch for shapes that it does not support",
        )
    if kernels == "reference":
        return "reference", "--kernels reference"
    reason = dispatch.without_triton(device)
    assert reason is not None, "or Triton would have been taken"
    return "reference", reason


def _models() -> list[dict[str, Any]]:
    """The shipped models, and whether the weights of each load."""
    from slotcli.checkpoint import DEFINITION, WEIGHTS, load_model, model_folders
    from slotcli.definition import load_definition

    found = []
    for folder in model_folders():
        facts: dict[str, Any] = {"name": folder.name, "sha256": None, "problem": None}
        try:
            facts["kind"] = load_definition(folder / DEFINITION).kind
            if (folder / WEIGHTS).is_file():
                facts["sha256"] = load_model(str(folder)).sha256
        except SlotcliError as error:
            facts["problem"] = error.what
        found.append(facts)
    return found


def _show(facts: dict[str, Any]) -> None:
    for key in ("versions", "cpu", "gpu", "disk"):
        for name, value in console.dotted({key: facts[key]}):
            shown = " ".join(value) or "none" if isinstance(value, list) else value
            if name.endswith("_bytes"):
                name, shown = name.removesuffix("_bytes"), f"{value / 2**30:.1f} GiB"
            console.result(f"{name}: {'none' if shown is None else shown}")
    console.result(f"kernels: {facts['kernels']['backend']} ({facts['kernels']['why']})")
    rows = [
        [
            f"{test['operation']}, {test['dtype']}",
            test["failure"] or f"{test['error']:.1e}",
            f"{test['limit']:.0e}",
            "passed" if test["passed"] else "FAILED",
        ]
        for test in facts["operations"]
    ]
    console.table("", ["operation", "error", "limit", ""], rows)
    trained = [model for model in facts["models"] if model["sha256"] or model["problem"]]
    rows = [[model["name"], model["problem"] or model["sha256"][:16]] for model in trained]
    console.table("", ["model with weights", "sha256"], rows)
    console.result(f"{len(facts['models']) - len(trained)} more models are definitions only.")
