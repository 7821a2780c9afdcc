"""The parity tests are worth something: each of these planted bugs is noticed by one of them."""

import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest
from interpreter import run_interpreted
from mutants import Mutant, try_mutant

LISTS = sorted(path.stem for path in Path(__file__).parent.glob("mutants_*.py"))
MUTANTS: list[Mutant] = [
    mutant for name in LISTS for mutant in importlib.import_module(name).MUTANTS
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed"),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.bug for mutant in MUTANTS])
def test_a_planted_bug_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    run = try_mutant(mutant, tmp_path)
    # 1 is a test that failed; a copy that cannot even be loaded would be another number.
    assert run.returncode == 1, run.stdout[-3000:] + run.stderr[-2000:]


def test_without_a_bug_the_same_tests_pass() -> None:
    run = run_interpreted(sorted({mutant.test for mutant in MUTANTS}))
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) >= 10
