"""Every Triton kernel against the reference, in the interpreter: no GPU needed."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from interpreter import ROOT, TESTS, run_interpreted

pytestmark = pytest.mark.slow

FILES = sorted(path.name for path in TESTS.glob("test_*.py"))


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize("name", FILES)
def test_kernels_agree_with_the_reference_in_the_interpreter(name: str) -> None:
    run = run_interpreted([name])
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


def test_every_triton_file_is_interpreted() -> None:
    kernels = {path.stem for path in (ROOT / "slotcli/kernels").glob("triton_*.py")}
    assert kernels == {name.replace("test_", "triton_", 1).removesuffix(".py") for name in FILES}


USE_EVERY_OPERATION_ON_THE_CPU = """
import sys, torch
import slotcli.decoders.latent_diffusion, slotcli.encoder.encoder
from slotcli.kernels.self_test import self_test
assert all(test.passed for test in self_test(torch.device("cpu")))
assert not {name for name in sys.modules if name.partition(".")[0] == "triton"}
"""


def test_the_cpu_needs_no_triton() -> None:
    env = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", USE_EVERY_OPERATION_ON_THE_CPU], env=env, check=True)
