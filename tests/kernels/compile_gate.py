"""Compiles Triton kernels for GPUs that are not here, and looks at the machine code.

python compile_gate.py [--in-turn] slotcli.kernels.triton_nearest_code ...

For each module's `compile_cases()` and each architecture one JSON object a line: module, registers,
stack, shared memory, 16-byte accesses, and what is wrong. Exit code 1 where anything is. With
--in-turn a case is compiled for one architecture, the next one for the other: half the time. Needs
Triton, which brings NVIDIA's assembler along, and no GPU; not with TRITON_INTERPRET=1.
"""

import importlib
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from slotcli.kernels.compile_case import CompileCase

# Bytes of shared memory that one program may have; the compiler itself does not check.
SHARED = {80: 163 * 1024, 90: 227 * 1024}
STACK = 32
TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
WIDE = {
    # A tensor map's copies (UBLKCP, UTMALDG) have no width: they are always whole lines.
    "load": re.compile(r"\b(LDG\.E\.128|LDG\.E\.\S*128|LDGSTS\.\S*128|UBLKCP|UTMALDG)"),
    "store": re.compile(r"\b(STG\.E\.128|STG\.E\.\S*128|UTMASTG)"),
}
BRANCH = re.compile(r"/\*([0-9a-f]{4,})\*/[^;]*\bBRA\S*\s[^;]*?0x([0-9a-f]+)")


@dataclass(frozen=True)
class Compiled:
    registers: int
    stack: int
    shared: int
    wide_loads: int
    wide_stores: int
    loop: int  # machine instructions of the longest loop


def compile_case(case: CompileCase, arch: int) -> Compiled:
    arguments = list(case.kernel.arg_names)
    unknown = (case.signature.keys() | case.constexprs.keys()) ^ set(arguments)
    if unknown or not case.aligned <= case.signature.keys():
        raise ValueError(f"{case.name}: arguments do not match the kernel's: {sorted(unknown)}")
    source = ASTSource(
        fn=case.kernel,
        signature={name: case.signature.get(name, "constexpr") for name in arguments},
        constexprs=case.constexprs,
        attrs={
            (arguments.index(name),): [["tt.divisibility", 16]] for name in sorted(case.aligned)
        },
    )
    built = triton.compile(
        source,
        target=GPUTarget("cuda", arch, 32),
        options={
            "num_warps": case.num_warps,
            "num_stages": case.num_stages,
            "enable_fp_fusion": True,
        },
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(built.asm["cubin"])
        cubin.flush()
        usage = _cuobjdump("-res-usage", cubin.name)
        sass = _cuobjdump("-sass", cubin.name)
    found = {key: int(value) for key, value in re.findall(r"\b(REG|STACK):(\d+)", usage)}
    return Compiled(
        registers=found["REG"],
        stack=found["STACK"],
        shared=built.metadata.shared,
        wide_loads=len(WIDE["load"].findall(sass)),
        wide_stores=len(WIDE["store"].findall(sass)),
        loop=max((length(*branch) for branch in BRANCH.findall(sass)), default=0),
    )


def length(branch: str, target: str) -> int:
    """Instructions, of 16 bytes each, that a branch jumps back over; none where it goes on."""
    return (int(branch, 16) - int(target, 16)) // 16


def problems(case: CompileCase, arch: int, code: Compiled) -> list[str]:
    found = []
    if code.stack > STACK:
        found.append(f"{code.stack} bytes of stack: registers are spilled")
    if code.shared > SHARED[arch]:
        found.append(f"{code.shared} bytes of shared memory, of {SHARED[arch]}")
    if "load" in case.wide and not code.wide_loads:
        found.append("no 16-byte loads")
    if "store" in case.wide and not code.wide_stores:
        found.append("no 16-byte stores")
    if case.loop_budget is not None and code.loop > case.loop_budget:
        found.append(f"a loop of {code.loop} instructions, of {case.loop_budget} allowed")
    return found


def _cuobjdump(what: str, cubin: str) -> str:
    command = [TOOLS / "cuobjdump", what, cubin]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def check(case: CompileCase, arch: int) -> dict[str, Any]:
    report: dict[str, Any] = {"case": case.name, "arch": arch, "triton": triton.__version__}
    try:
        code = compile_case(case, arch)
    except Exception as error:  # whatever the compiler raises is the finding
        return report | {"problems": [f"does not compile: {type(error).__name__}: {error}"]}
    return report | vars(code) | {"problems": problems(case, arch, code)}


def main(arguments: list[str]) -> int:
    in_turn, modules = "--in-turn" in arguments, [name for name in arguments if name[0] != "-"]
    bad = 0
    for module in modules:
        for number, case in enumerate(importlib.import_module(module).compile_cases()):
            for arch in [list(SHARED)[number % len(SHARED)]] if in_turn else SHARED:
                report = {"module": module} | check(case, arch)
                bad += bool(report["problems"])
                print(json.dumps(report), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
