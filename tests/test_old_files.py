"""Files that commit 5427bcb wrote still open: a model, its run, and the result of a clip.

Made there by `train` on four rendered clips, and `decompose clip.mkv --model run`.
"""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slotcli.checkpoint import DEFINITION, load_model
from slotcli.data import held_out
from slotcli.definition import definition_text, parse_spec, spec_json
from slotcli.spec import SlotModelSpec
from slotcli.tracks.slot_file import read_slot_file
from slotcli.training.tasks.slots import SlotTask

pytestmark = pytest.mark.slow

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


def test_it_is_not_taken_for_what_is_asked_now(cli, old: Path) -> None:
    code, _, err = cli("decompose", "clip.mkv", "--model", "run", "--out", "out", *ON)
    assert code == 73
    assert f"{RESULT}: exists already: it was made with other options, or by a version" in err
    assert "(edges" in err
    assert "Use --overwrite" in err


def test_masks_are_exported_as_they_were(cli, old: Path) -> None:
    code, _, err = cli("export", RESULT, "--masks", "png", "--out", "exported")
    assert code == 0, err
    (folder,) = (path.parent for path in (old / "exported").rglob("00000.png"))
    np.testing.assert_array_equal(labels(folder), labels(old / RESULT / "masks"))


def test_the_clip_is_rendered_from_its_slots(cli, old: Path) -> None:
    code, _, err = cli("reconstruct", RESULT, "--model", "run", *ON)
    assert code == 0, err
    assert (old / RESULT / "reconstruction.mp4").is_file()


def test_a_run_whose_files_have_earlier_names_resumes_unchanged(
    cli, tmp_path: Path, tiny_slot_spec: SlotModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = partial(held_out.held_out_clips, clips=1)
    monkeypatch.setattr(held_out, "held_out_clips", few)
    monkeypatch.setattr(SlotTask, "evaluate", lambda task: {"degeneration": 0.1})
    monkeypatch.setattr(SlotTask, "draw", lambda task, path: None)
    values = spec_json(tiny_slot_spec)
    values["decoder"]["codec"], values["train"]["codec"] = {"kind": "pixels"}, None
    (tmp_path / DEFINITION).write_text(definition_text(parse_spec(values, "tests")))
    small = ("steps=1", "evaluate_every=1", "clip_length=1", "data.clips=4")
    given = ["train", "--config", DEFINITION, "--out", "new", *ON]
    given += [part for knob in small for part in ("--set", f"train.{knob}")]
    code, _, err = cli(*given, "--set", "train.grouping_weight=1.0")
    assert code == 0, err
    run = tmp_path / "new"
    log = (run / "log.jsonl").read_text()
    assert '"grouping": ' in log
    (run / "log.jsonl").write_text(log.replace('"grouping"', '"distortion"'))
    text = (run / DEFINITION).read_text()
    (run / DEFINITION).write_text(text.replace("\ngrouping_weight", "\ncoherence_weight"))
    code, _, err = cli(*given, "--set", "train.coherence_weight=1.0", "--set", "train.steps=2")
    assert code == 0, err
    assert "train.steps was 1, is now 2." in err
    assert "weight was" not in err
    header, *rows = (run / "log.csv").read_text().splitlines()
    column = header.split(",").index("grouping")
    assert "distortion" not in header
    assert len(rows) == 2
    assert all(float(row.split(",")[column]) > 0 for row in rows)
    assert '"distortion"' not in (run / "log.jsonl").read_text()
