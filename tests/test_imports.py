"""slotcli --help has to answer at once, so it may load nothing heavy."""

import subprocess
import sys
from pathlib import Path

import pytest

from slotcli.commands.program import SENTENCES

pytestmark = pytest.mark.slow

HEAVY = {
    "PIL",
    "av",
    "cv2",
    "jinja2",
    "lpips",
    "numpy",
    "pydantic",
    "safetensors",
    "scipy",
    "torch",
    "torchvision",
}
SHOW_HELP = """
import sys
sys.argv = ["slotcli", "--help"]
from slotcli.__main__ import main
try:
    main()
except SystemExit as ended:
    assert ended.code == 0, ended.code
print("LOADED", *{name.partition(".")[0] for name in sys.modules})
"""

# Together they take as long to load as torch itself.
SLOW = {"torch._dynamo", "torch.fx.experimental.symbolic_shapes", "sympy", "scipy.optimize"}
SLOW |= {"scenedetect", "torchvision.models", "matplotlib", "sklearn", "triton"}
DECOMPOSE = """
import sys
from slotcli.__main__ import main
sys.argv = sys.argv[1:]
try:
    main()
except SystemExit as ended:
    assert ended.code == 0, ended.code
print("LOADED", *sys.modules)
"""


def test_help_names_every_command_and_loads_nothing_heavy():
    shown = subprocess.run(
        [sys.executable, "-c", SHOW_HELP], capture_output=True, text=True, check=True
    )
    text, _, loaded = shown.stdout.rpartition("LOADED")
    assert not HEAVY & set(loaded.split())
    assert set(text.split()) >= set(SENTENCES)
    assert shown.stderr == ""


def test_the_package_loads_nothing_heavy_before_it_is_used():
    code = "import slotcli, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not (HEAVY | {"pandas", "rich", "typer"}) & set(shown.stdout.split())
    assert (Path(__file__).parents[1] / "slotcli" / "py.typed").is_file()


def test_exit_codes_reach_the_shell():
    def run(*arguments):
        command = [sys.executable, "-m", "slotcli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    version = run("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("slotcli ")
    absent = run("info", "absent.mp4")
    assert (absent.returncode, absent.stdout) == (66, "")
    assert run("no-such-command").returncode == 2


def test_decompose_loads_no_compiler_and_nothing_it_was_not_asked_for(tiny_model, tmp_path):
    clip = Path(__file__).parents[1] / "samples" / "tier-a.mp4"
    command = ["slotcli", "decompose", clip, "--model", tiny_model, "--out", "out"]
    shown = subprocess.run(
        [sys.executable, "-c", DECOMPOSE, *map(str, command)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    loaded = shown.stdout.rpartition("LOADED")[2].split()
    assert "torch" in loaded
    assert not SLOW & set(loaded)
