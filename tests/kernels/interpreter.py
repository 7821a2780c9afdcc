"""Starts the interpreted tests in a process of their own."""

import os
import subprocess
import sys
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
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider"),
            *("-W", _DEPRECATED),
            *("-c", str(ROOT / "pyproject.toml"), "--confcutdir", str(TESTS)),
            *("-p", "jaxtyping._pytest_plugin"),
            *(str(TESTS / test) for test in tests),
        ],
        cwd=package,  # python -m looks there first
        env=os.environ
        | {
            "TRITON_INTERPRET": "1",
            "OMP_NUM_THREADS": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # loading them takes longer than most tests
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if _REFUSED in run.stdout:
        pytest.skip("this Triton's interpreter needs NumPy before 2.4")
    return run
