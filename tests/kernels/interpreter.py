"""Has the interpreted tests run in children of a process of their own."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = Path(__file__).with_name("interpreted")

# Triton 3.6 makes numbers of arrays of one element: NumPy 2.4 refuses, earlier ones warn.
_DEPRECATED = "ignore:Conversion of an array with ndim > 0:DeprecationWarning"
_REFUSED = "only 0-dimensional arrays can be converted to Python scalars"


def run_interpreted(tests: list[str], package: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Runs interpreted tests, by node id below their folder, on the slotcli in `package`.

    Skips the test at hand where Triton's interpreter and NumPy are known not to go together.
    """
    arguments = [
        *("-q", "-x", "--no-header", "-p", "no:cacheprovider", "-W", _DEPRECATED),
        *("-c", str(ROOT / "pyproject.toml"), "--confcutdir", str(TESTS)),
        # Eager tests check the types; no child has anything to collect that outlives it.
        *("-o", "addopts=--strict-markers", "-p", "no:unraisableexception"),
        *(str(TESTS / test) for test in tests),
    ]
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"arguments": arguments, "package": str(package)}) + "\n")
    process.stdin.flush()
    told = json.loads(process.stdout.readline())
    if _REFUSED in told["said"]:
        pytest.skip("this Triton's interpreter needs NumPy before 2.4")
    return subprocess.CompletedProcess(arguments, told["code"], told["said"], "")


@cache
def _process() -> "subprocess.Popen[str]":
    """Loading torch and Triton takes longer than most of the tests; ends with its input."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("interpreted_runs.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | {
            "TRITON_INTERPRET": "1",
            "OMP_NUM_THREADS": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # loading them takes longer than most tests
        },
    )
