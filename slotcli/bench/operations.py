"""Times operations against the eager baseline and against the machine's roofline."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch import device as Device
from torch.utils.flop_counter import FlopCounterMode

from slotcli.bench.comparison import measure
from slotcli.bench.forms import DTYPES, Form
from slotcli.bench.operation_cases import Call, Case, Tensors
from slotcli.bench.roofline import Roofline, copy_of
from slotcli.bench.timing import Action, Timing, copies_needed, in_turn
from slotcli.compute.precision import Precision
from slotcli.kernels.flops import FLOPS
from slotcli.kernels.self_test import DIFFERENT, LIMITS, relative_error

# A call of microseconds is repeated until a run takes this long.
_LEAST_SECONDS = 0.02
_COPY = "copy"


@dataclass(frozen=True)
class KernelRow:
    """One case at one precision: each form's time, or the reason why there is none, and its error.

    An error is relative to the plain form in float64 on the same, rounded, tensors; for indices it
    is the fraction that differs. `floor_seconds` is the lower bound of the cost: that of a copy of
    as many bytes as have to be read and written, or of the matrix products, whichever is longer.
    """

    case: Case
    precision: Precision
    timings: dict[Form, Timing]
    errors: dict[Form, float]
    reasons: dict[Form, str]
    traffic_bytes: int
    flops: int
    floor_seconds: float
    limit: float

    @property
    def ratio(self) -> float:
        """Our cost relative to that of the plain form."""
        return self.timings["ours"].cost / self.timings["plain"].cost

    @property
    def is_slower(self) -> bool:
        return self.ratio > 1

    @property
    def is_wrong(self) -> bool:
        """Whether our error exceeds the limit of rounding, and twice the plain form's."""
        return not self.errors["ours"] <= max(self.limit, 2 * self.errors["plain"])

    @property
    def share_of_roof(self) -> float:
        return self.floor_seconds / self.timings["ours"].cost

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values; a form that did not run is None, with its reason."""
        forms: tuple[Form, ...] = ("ours", "plain", "compiled")
        timings = {form: self.timings.get(form) for form in forms}
        return {
            "operation": self.case.operation,
            "shape": self.case.shape,
            "pass": "forward + backward" if self.case.differentiated else "forward",
            "precision": self.precision,
            **{form: timing and timing.as_dict() for form, timing in timings.items()},
            "ours_to_plain": self.ratio,
            "slower_than_plain": self.is_slower,
            "traffic_bytes": self.traffic_bytes,
            "flops": self.flops,
            "floor_seconds": self.floor_seconds,
            "share_of_roof": self.share_of_roof,
            "errors": {form: self.errors.get(form) for form in forms},
            "wrong": self.is_wrong,
            "reasons": self.reasons,
        }


def bench_kernel(
    case: Case,
    precision: Precision,
    forms: list[Form],
    roof: Roofline,
    device: Device,
    *,
    rounds: int,
    quick: bool,
) -> KernelRow:
    """Times the forms of a case in the same rounds as a copy of as many bytes."""
    made = case.tensors(Generator().manual_seed(0))
    tensors = tuple(tensor.to(device, DTYPES[precision]) for tensor in made)
    copies = copies_needed(sum(tensor.nbytes for tensor in tensors), device)
    every = [tensors, *(tuple(t.clone() for t in tensors) for _ in range(copies - 1))]
    exact = _prepared(case, case.plain, tuple(tensor.double() for tensor in tensors))()

    call = _prepared(case, case.ours, tensors)
    with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
        traffic = _traffic(case, tensors, call())

    def prepare(name: str) -> Action[Any]:
        if name == _COPY:
            return copy_of(traffic, device)
        form = case.ours if name == "ours" else case.plain
        return in_turn([_prepared(case, form, own, compiled=name == "compiled") for own in every])

    found = measure(
        [*forms, _COPY],
        prepare,
        frames=case.frames,
        rounds=rounds,
        least_seconds=0.0 if quick else _LEAST_SECONDS,
    )
    torch.compiler.reset()  # compile each case for its own sizes, not once for variable ones
    timed: list[Form] = [form for form in forms if form in found.timings]
    flops = counter.get_total_flops()
    return KernelRow(
        case=case,
        precision=precision,
        timings={form: found.timings[form] for form in timed},
        errors={form: _error(found.results[form], exact) for form in timed},
        reasons={form: found.reasons[form] for form in forms if form not in timed},
        traffic_bytes=traffic,
        flops=flops,
        floor_seconds=max(found.timings[_COPY].cost, roof.compute_seconds(flops, precision)),
        limit=LIMITS[DTYPES[precision]] if exact[0].is_floating_point() else DIFFERENT,
    )


def _prepared(
    case: Case, form: Callable[..., Call], tensors: Tensors, *, compiled: bool = False
) -> Call:
    """A form's call on tensors; where the case is differentiated, with all gradients after it."""
    if not case.differentiated:
        with torch.no_grad():
            call = form(*tensors)
        return torch.no_grad()(torch.compile(call) if compiled else call)
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    call = form(*leaves)
    call = torch.compile(call) if compiled else call
    grads = list[Tensor]()

    def with_gradients() -> Tensors:
        result = call()[0]
        if not grads:
            rng = Generator().manual_seed(1)
            grads.append(torch.randn(result.shape, generator=rng).to(result))
        return result.detach(), *torch.autograd.grad(result, leaves, grads)

    return with_gradients


def _traffic(case: Case, tensors: Tensors, results: Tensors) -> int:
    """Bytes that any form has to read and write; a backward reads the tensors and a gradient too.

    Intermediate results, such as keys and values or full-size maps, are not counted.
    """
    read = sum(tensor.nbytes for tensor in tensors[: case.streamed])
    written = sum(result.nbytes for result in results)
    return 2 * read + written + results[0].nbytes if case.differentiated else read + written


def _error(found: Tensors, exact: Tensors) -> float:
    return max(relative_error(*pair) for pair in zip(found, exact, strict=True))
