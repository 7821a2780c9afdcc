"""Every Triton kernel compiles for sm_80 and sm_90 without spills, and moves 16 bytes at a time.

Cases take turns between the two; SLOTCLI_GATE=all compiles each of them for both.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

GATE = Path(__file__).with_name("compile_gate.py")
ROOT = GATE.parents[2]
IN_TURN = [] if os.environ.get("SLOTCLI_GATE") == "all" else ["--in-turn"]
MODULES = sorted(path.stem for path in (ROOT / "slotcli/kernels").glob("triton_*.py"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed"),
]


def gate(*modules: str, folder: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    env = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    env["PYTHONPATH"] = str(folder)
    return subprocess.run(
        [sys.executable, GATE, *modules],
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def run() -> "subprocess.CompletedProcess[str]":
    """All modules in one process: loading torch and Triton takes longer than most compilations."""
    return gate(*IN_TURN, *(f"slotcli.kernels.{module}" for module in MODULES))


@pytest.mark.parametrize("module", MODULES)
def test_kernels_compile_for_both_architectures(
    run: "subprocess.CompletedProcess[str]", module: str
) -> None:
    told = [json.loads(line) for line in run.stdout.splitlines()]
    reports = [report for report in told if report["module"] == f"slotcli.kernels.{module}"]
    wrong = [report for report in reports if report["problems"]]
    assert not wrong, json.dumps(wrong, indent=1)
    assert {report["arch"] for report in reports} == {80, 90}, run.stderr[-3000:]


def test_the_gate_ends_well(run: "subprocess.CompletedProcess[str]") -> None:
    assert run.returncode == 0, run.stderr[-3000:]


BAD_KERNELS = """
import triton
import triton.language as tl

from slotcli.kernels.compile_case import CompileCase


@triton.jit
def narrow(source, target, N: tl.constexpr):
    places = tl.arange(0, N) * 3
    tl.store(target + places, tl.load(source + places))


@triton.jit
def greedy(source, target, N: tl.constexpr):
    places = tl.arange(0, N)
    values = tl.load(source + places)
    tl.store(target + places, values / tl.sum(values, axis=0))


def case(kernel, n, wide=(), loop_budget=None):
    return CompileCase(
        name=kernel.fn.__name__,
        kernel=kernel,
        signature={"source": "*fp32", "target": "*fp32"},
        constexprs={"N": n},
        num_warps=1,
        num_stages=1,
        aligned=frozenset({"source", "target"}),
        wide=frozenset(wide),
        loop_budget=loop_budget,
    )


def compile_cases():
    yield case(narrow, 1024, ("load", "store"))
    yield case(greedy, 16384)
    yield case(greedy, 24)
"""


def test_the_gate_refuses_what_it_is_there_for(tmp_path: Path) -> None:
    (tmp_path / "bad_kernels.py").write_text(BAD_KERNELS)
    run = gate("bad_kernels", folder=tmp_path)
    assert run.returncode == 1, run.stderr
    said = [json.loads(line)["problems"] for line in run.stdout.splitlines()]
    assert said[0] == said[1] == ["no 16-byte loads", "no 16-byte stores"]
    assert all("spilled" in problems[0] for problems in said[2:4])
    assert all("does not compile" in problems[0] for problems in said[4:6])
