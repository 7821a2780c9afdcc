"""slotcli bench kernels: each operation beside its eager baseline and the machine's limits."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from slotcli.commands import console
from slotcli.commands.bench.record import (
    COSTS,
    Compile,
    Out,
    Rounds,
    cost,
    flag,
    headline,
    prepare,
    publish,
    require_free,
)
from slotcli.commands.options import Device, Overwrite, Threads, parse_choices

if TYPE_CHECKING:
    from slotcli.bench.forms import Form
    from slotcli.bench.operations import KernelRow
    from slotcli.bench.roofline import Roofline
    from slotcli.compute.precision import Precision

SCHEMA = "slotcli.bench.kernels/1"
_MS = 1e-3

Operation = Literal[
    "slot_read", "slot_cross_attention", "group_norm_act", "nearest_code", "mask_argmax"
]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


def kernels(
    operations: Annotated[
        list[str] | None,
        typer.Argument(metavar="OPERATION", help=f"Any of {', '.join(OPERATIONS)}. Default: all."),
    ] = None,
    rounds: Rounds = 5,
    quick: Annotated[bool, flag("--quick", "One call of each: rough, for a first look.")] = False,
    compile_: Compile = False,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Time each fused operation at the published models' sizes beside plain PyTorch.

    The roof (roofline bound) of a case is the time to copy the bytes that it reads and writes, or
    to compute its matrix products at the rate of a large one; both are measured too. Errors are
    relative to the baseline in float64; for indices, the fraction that differs.

    Examples:
      slotcli bench kernels slot_read --quick
      slotcli bench kernels --device cuda -o kernels.json
    """
    wanted_operations = parse_choices("OPERATION", operations, OPERATIONS)
    require_free(out, overwrite)
    console.phase("timing copies and products")
    from slotcli.bench.forms import variants_here
    from slotcli.bench.operation_cases import cases
    from slotcli.bench.operations import bench_kernel
    from slotcli.bench.roofline import roofline

    on, environment = prepare(device, threads)
    variants, reasons = variants_here(on, compiled=compile_)
    rounds = 1 if quick else rounds
    roof = roofline(on, rounds)
    wanted = [case for case in cases(on) if case.operation in (wanted_operations or OPERATIONS)]
    forms_at: dict[Precision, list[Form]] = {}
    for variant in variants:
        forms_at.setdefault(variant.precision, []).append(variant.form)
    work = [(case, *own) for case in wanted for own in forms_at.items()]
    rows: list[KernelRow] = []
    with console.progress("timing operations", "cases") as meter:
        for case, precision, forms in work:
            rows.append(bench_kernel(case, precision, forms, roof, on, rounds=rounds, quick=quick))
            meter.update(len(rows), len(work), case.operation)
    summary = {
        "schema": SCHEMA,
        "environment": environment,
        "roofline": asdict(roof),
        "quick": quick,
        "rows": [row.as_dict() for row in rows],
        "slower_than_plain": sum(row.is_slower for row in rows),
        "wrong": sum(row.is_wrong for row in rows),
        "reasons": reasons,
    }
    publish(summary, out, lambda: _show(environment, roof, rows, with_compiled=compile_))


def _show(
    environment: dict[str, Any], roof: "Roofline", rows: "list[KernelRow]", *, with_compiled: bool
) -> None:
    rates = ", ".join(
        f"{name} products {rate / 1e9:.0f} GFLOP/s" for name, rate in roof.flops_per_second.items()
    )
    console.result(
        f"{headline(environment)}; copies {roof.copy_bytes_per_second / 1e9:.1f} GB/s, {rates}."
    )
    forms: list[Form] = ["plain", "compiled", "ours"] if with_compiled else ["plain", "ours"]
    columns = ["", "", *(f"{form}, ms" for form in forms), "ours/plain", "of roof", "error"]
    for operation in dict.fromkeys(row.case.operation for row in rows):
        own = [row for row in rows if row.case.operation == operation]
        console.table(operation, columns, [_cells(row, forms) for row in own])
    for row in rows:
        for form, why in row.reasons.items():
            console.warn(f"{row.case.operation} {row.case.shape}, {form}: {why}")
    slower = sum(row.is_slower for row in rows)
    console.result(f"{slower} of {len(rows)} are SLOWER than plain PyTorch.")
    if wrong := [row for row in rows if row.is_wrong]:
        console.warn(f"{len(wrong)} are WRONG: further from float64 than rounding explains.")
    console.result(f"Median (range). {COSTS}")


def _cells(row: "KernelRow", forms: "list[Form]") -> list[str]:
    direction = " + backward" if row.case.differentiated else ""
    return [
        row.case.shape + direction,
        row.precision,
        *(cost(row.timings.get(form), _MS) for form in forms),
        f"{row.ratio:.2f}" + (" SLOWER" if row.is_slower else ""),
        f"{row.share_of_roof:.0%}",
        f"{row.errors['ours']:.0e}" + (" WRONG" if row.is_wrong else ""),
    ]
