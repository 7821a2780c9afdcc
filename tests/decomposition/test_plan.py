from pathlib import Path

import pytest

from slotcli.decomposition.plan import plan
from slotcli.errors import NoInputError
from slotcli.files.layout import RESULT, SLOT_FILE

OUT = Path("out")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _touch(*names):
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _planned(*inputs, recursive=False):
    return {
        str(clip.source): str(clip.result.relative_to(OUT))
        for clip in plan(list(inputs), OUT, recursive=recursive).clips
    }


def test_no_result_holds_another():
    _touch("in/set/1.png", "in/set/2.png", "in/set/clip.mp4", "in/set/deep/1.png", "in/set-2/1.png")
    assert _planned("in", recursive=True) == {
        "in/set/clip.mp4": "set/clip.mp4",
        "in/set/deep": "set/deep",
        "in/set": "set-2",
        "in/set-2": "set-2-2",
    }


def test_no_result_holds_another_from_other_inputs():
    _touch("a/1.png", "top/a/x.mp4")
    assert _planned("a", "top", recursive=True) == {"a": "a-2", "top/a/x.mp4": "a/x.mp4"}


def test_what_is_no_clip_is_left_out():
    _touch("in/a.mp4", "in/._a.mp4", "in/.cache/b.mp4", "in/b.txt", "in/c.MOV")
    _touch(f"in/done/{RESULT}", f"in/done/{SLOT_FILE}", "in/done/strip.png", "in/done/masks/0.png")
    _touch("in/results/result.json", "in/results/d.mkv")  # anybody may have a file of that name
    assert _planned("in", recursive=True) == {
        "in/a.mp4": "a.mp4",
        "in/c.MOV": "c.MOV",
        "in/results/d.mkv": "results/d.mkv",
    }
    assert set(_planned("in/**/*.[mp][pn][4g]")) == {"in/a.mp4"}


def test_order_is_that_of_the_command_line():
    _touch("b.mp4", "a.mp4", "in/2.mp4", "in/1.mp4")
    assert list(_planned("b.mp4", "in", "a.mp4")) == ["b.mp4", "in/1.mp4", "in/2.mp4", "a.mp4"]


def test_a_folder_of_images_is_one_clip_by_its_own_name(folder):
    _touch("shots/1.jpg", "shots/2.jpg")
    assert _planned("shots") == {"shots": "shots"}
    assert _planned("shots/") == {"shots": "shots"}
    assert _planned(".", recursive=True) == {"shots": "shots"}


def test_nothing_is_said_at_once():
    _touch("in/notes.txt")
    for text in ("absent.mp4", "in", "in/*.mp4", "n" * 300, "in/notes.txt/x"):
        with pytest.raises(NoInputError):
            _planned(text)
