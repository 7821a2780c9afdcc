"""Bugs to be planted in a copy of slotcli, each of which a test has to notice.

Lists of them, named MUTANTS, stand in `mutants_<operation>.py` beside this file.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from interpreter import ROOT, run_interpreted


@dataclass(frozen=True)
class Mutant:
    bug: str  # what is wrong with it, in a few words
    file: str  # below slotcli/kernels
    old: str  # has to stand in the file exactly once
    new: str
    test: str  # the interpreted test that has to notice: a node id below `interpreted`


def plant(mutant: Mutant, folder: Path) -> None:
    """A copy of the package with the bug in it; what is compiled of the rest still fits it."""
    half_written = shutil.ignore_patterns("*.pyc.*")
    shutil.copytree(ROOT / "slotcli", folder / "slotcli", ignore=half_written)
    path = folder / "slotcli/kernels" / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file} has {mutant.old!r} {text.count(mutant.old)} times, not 1")
    path.write_text(text.replace(mutant.old, mutant.new))


def try_mutant(mutant: Mutant, folder: Path) -> "subprocess.CompletedProcess[str]":
    plant(mutant, folder)
    return run_interpreted([mutant.test], package=folder)
