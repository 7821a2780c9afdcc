"""samples/circles.py: the whole method in one file, which has to run as it stands."""

import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.slow

FILE = Path(__file__).parents[1] / "samples" / "circles.py"


def test_it_learns_and_draws(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        "sys.argv", ["circles.py", "--steps", "2", "--out", str(tmp_path / "o.png")]
    )
    parts = runpy.run_path(str(FILE), run_name="__main__")
    with Image.open(tmp_path / "o.png") as drawn:
        assert drawn.size == (4 * parts["CLIPS"] * parts["SIDE"], 4 * 3 * parts["SIDE"])
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    model = parts["build_model"](parts["parse_spec"](parts["DEFINITION"], "circles.py"))
    losses = parts["train"](model, 10, generator)
    assert sum(losses[-3:]) < sum(losses[:3])


def test_it_is_one_readable_file() -> None:
    assert len(FILE.read_text().splitlines()) < 150
