"""Cases of operations, small: both forms agree, and what is wrong or slow is seen."""

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from slotcli import kernels
from slotcli.bench import forms
from slotcli.bench import operation_cases as kernel_cases
from slotcli.bench.operation_cases import Case
from slotcli.bench.operations import KernelRow, bench_kernel
from slotcli.bench.roofline import Roofline
from slotcli.bench.timing import Timing
from slotcli.compute.precision import Precision

CPU = torch.device("cpu")
ROOF = Roofline(1e10, {"fp32": 1e11, "bf16": 2e11})
CASES = [
    kernel_cases.one_read(2, 40),
    kernel_cases.frame_reads(2, 40),
    kernel_cases.frame_reads(1, 33, differentiated=True),
    kernel_cases.cross_attention(2, 16, 256),
    kernel_cases.group_norm_act(2, 64, 4, "shift"),
    kernel_cases.group_norm_act(2, 64, 4, "shift", differentiated=True),
    kernel_cases.group_norm_act(1, 64, 6, "residual"),
    kernel_cases.nearest_code(1024),
    kernel_cases.mask_argmax(2, (40, 50)),
]


def measured(case: Case, precision: Precision = "fp32") -> KernelRow:
    return bench_kernel(case, precision, ["ours", "plain"], ROOF, CPU, rounds=2, quick=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operation} {case.shape}")
def test_both_forms_of_every_case_agree(case: Case, precision: Precision) -> None:
    row = measured(case, precision)
    assert row.errors["ours"] < (1e-5 if precision == "fp32" else 0.03)
    assert not row.is_wrong
    assert len(row.timings["ours"].seconds) == 2
    assert row.floor_seconds > 0
    values = row.as_dict()
    assert values["compiled"] is None
    assert values["ours"]["frames"] == case.frames


def test_every_operation_has_cases_on_every_device() -> None:
    for device in ("cpu", "cuda"):
        found = kernel_cases.cases(torch.device(device))
        operations = {case.operation for case in found}
        assert operations == set(kernels.__all__) - {"absorbing_pays", "row_statistics"}
        names = [(case.operation, case.shape, case.differentiated) for case in found]
        assert len(set(names)) == len(names)


def test_traffic_is_tensors_and_results_and_operations_are_products() -> None:
    row = measured(kernel_cases.nearest_code(1024))
    assert row.traffic_bytes == 4 * 3 * (1024 + 4096) + 8 * 1024
    assert row.flops == 2 * 1024 * 4096 * 3
    row = measured(kernel_cases.group_norm_act(2, 64, 4, "shift"), "bf16")
    assert row.traffic_bytes == 2 * (2 * 2 * 64 * 16 + 2 * 64 + 2 * 64)
    assert row.flops == 0
    row = measured(kernel_cases.cross_attention(2, 16, 256))
    assert row.traffic_bytes == 4 * (2 * 2 * 16 * 256 + 2 * 15 * 192)  # no weights
    assert row.flops == 4 * 2 * 16 * 256 * (15 * 8)  # of 8 heads, and no projections


def test_a_wrong_answer_is_seen_however_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(latents: Tensor, codes: Tensor) -> Tensor:
        return torch.zeros(len(latents), dtype=torch.int64)

    monkeypatch.setattr(kernels, "nearest_code", first)
    row = measured(kernel_cases.nearest_code(1024))
    assert row.errors["ours"] > 0.9
    assert row.errors["plain"] < 0.01
    assert row.is_wrong


@pytest.mark.parametrize(("ours", "slower"), [(3.0, True), (2.0, False), (1.0, False)])
def test_what_is_slower_than_the_plain_form_is_marked(ours: float, slower: bool) -> None:
    """By the seconds of all threads, whatever the clock says, for others may be at work."""
    row = KernelRow(
        case=CASES[0],
        precision="fp32",
        timings={
            "ours": Timing(2, (0.1,), (ours,)),
            "plain": Timing(2, (9.0,), (2.0,)),
        },
        errors={"ours": 1e-7, "plain": 1e-7},
        reasons={},
        traffic_bytes=1,
        flops=1,
        floor_seconds=0.5,
        limit=1e-5,
    )
    assert row.is_slower == slower
    assert row.ratio == ours / 2
    assert row.share_of_roof == 0.5 / ours


def test_variants_that_cannot_run_have_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "computes_in_bf16", lambda device: False)
    monkeypatch.setenv("CXX", "no-such-compiler")
    found, reasons = forms.variants_here(CPU, compiled=True)
    assert [variant.name for variant in found] == ["ours fp32", "plain fp32"]
    assert set(reasons) == {"compiled fp32", "ours bf16", "plain bf16", "compiled bf16"}
    assert "no-such-compiler" in reasons["compiled fp32"]
    assert "bfloat16" in reasons["ours bf16"]


def test_a_compiler_that_fails_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(call: object) -> object:
        def run() -> None:
            raise TorchDynamoException("no headers\nand a long story")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    case = kernel_cases.nearest_code(1024)
    row = bench_kernel(case, "fp32", ["ours", "plain", "compiled"], ROOF, CPU, rounds=1, quick=True)
    assert row.reasons == {"compiled": "torch.compile failed: no headers"}
    assert row.as_dict()["compiled"] is None
