"""Files that commit 5427bcb wrote still open: a model, its run, and the result of a clip.

Made there by `train` on four rendered clips, and `decompose clip.mkv --model run`.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slotcli.checkpoint import load_model
from slotcli.tracks.slot_file import read_slot_file

OLD = Path(__file__).parent / "fixtures" / "written_by_5427bcb"
RESULT = "out/clip.mkv"
ON = ["--device", "cpu", "--threads", "1"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy, for commands write into results."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    return tmp_path


def labels(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


@pytest.mark.parametrize("what", ["run", "run/weights.safetensors", RESULT])
def test_it_is_described(cli, old: Path, what: str) -> None:
    code, out, err = cli("info", what)
    assert (code, err) == (0, "")
    assert out


def test_the_model_computes_what_it_did(cli, old: Path) -> None:
    assert load_model(str(old / "run")).step == 4
    code, _, err = cli("decompose", "clip.mkv", "--model", "run", "--out", "again", *ON)
    assert code == 0, err
    before, now = (
        read_slot_file(old / place / "clip.mkv/clip.slots.safetensors")
        for place in ("out", "again")
    )
    np.testing.assert_allclose(now.slots, before.slots, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(now.pts, before.pts)


def test_masks_are_exported_as_they_were(cli, old: Path) -> None:
    code, _, err = cli("export", RESULT, "--masks", "png", "--out", "exported")
    assert code == 0, err
    (folder,) = (path.parent for path in (old / "exported").rglob("00000.png"))
    np.testing.assert_array_equal(labels(folder), labels(old / RESULT / "masks"))


def test_the_clip_is_rendered_from_its_slots(cli, old: Path) -> None:
    code, _, err = cli("reconstruct", RESULT, "--model", "run", *ON)
    assert code == 0, err
    assert (old / RESULT / "reconstruction.mp4").is_file()
