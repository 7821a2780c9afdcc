"""Each clip's failure is its own, whatever the exception; what is missing stops nobody else."""

import json
from pathlib import Path

import cv2
import pytest
from made_clips import make_clip, make_images

from slotcli.video import reader

pytestmark = pytest.mark.slow

QUICK = ["--no-overlay", "--masks", "none"]
ON = ["--device", "cpu", "--threads", "1", "--chunk", "4"]
# What other libraries raise, and what nobody foresees.
EXCEPTIONS = [
    KeyError(31),
    TypeError("NoneType.__format__"),
    RecursionError("too deep"),
    cv2.error("resize"),
    ValueError("31 is not a valid Type"),
    AssertionError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
]


@pytest.fixture
def decompose(cli, tiny_model):
    def run(*arguments, before=()):
        return cli(
            *before, "decompose", *arguments, "--out", "out", "--model", tiny_model, *ON, *QUICK
        )

    return run


def fails_at(monkeypatch, place: str, errors: dict[str, Exception]) -> None:
    """Lets reading of the clips of those names raise as they are opened or decoded."""
    really = getattr(reader.ClipReader, place)

    def raising(self, *arguments, **options):
        if self.path.name in errors:
            raise errors[self.path.name]
        return really(self, *arguments, **options)

    monkeypatch.setattr(reader.ClipReader, place, raising)


def summary(folder: Path) -> dict[str, dict]:
    rows = json.loads((folder / "out/summary.json").read_text())["clips"]
    return {Path(row["source"]).name: row for row in rows}


@pytest.mark.parametrize("place", ["_open", "_picture"])
def test_an_exception_that_nobody_foresaw_is_one_clip_s_own(
    decompose, tmp_path, monkeypatch, place
):
    errors = {f"{number}.mp4": error for number, error in enumerate(EXCEPTIONS, start=1)}
    for name in ("0.mp4", *errors, "9.mp4"):
        make_clip(tmp_path / "in" / name, 3)
    fails_at(monkeypatch, place, errors)
    code, _, err = decompose("in")
    assert code == 3
    assert "Traceback" not in err
    rows = summary(tmp_path)
    assert [rows[name]["status"] for name in ("0.mp4", "9.mp4")] == ["ok", "ok"]
    for name, error in errors.items():
        assert f"{name}: a bug: {type(error).__name__}" in err
        assert (rows[name]["status"], rows[name]["exit_code"]) == ("failed", 1)
        assert "a bug" in rows[name]["remark"]
    assert not list((tmp_path / "out").glob(".slotcli*"))


def test_verbose_shows_where_it_came_from(decompose, tmp_path, monkeypatch):
    for name in ("a.mp4", "b.mp4"):
        make_clip(tmp_path / "in" / name, 3)
    fails_at(monkeypatch, "_open", {"b.mp4": KeyError(31)})
    code, _, err = decompose("in", before=["-v"])
    assert code == 3
    assert "Traceback" in err
    assert "KeyError: 31" in err
    code, _, err = decompose("in/b.mp4", before=["-v"])
    assert code == 1
    assert "Traceback" in err


def test_failures_of_the_machine_have_their_codes(decompose, tmp_path, monkeypatch):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        make_clip(tmp_path / "in" / name, 3)
    errors = {"a.mp4": MemoryError(), "b.mp4": OSError(5, "Input/output error")}
    fails_at(monkeypatch, "_picture", errors)
    assert decompose("in")[0] == 3
    assert [row["exit_code"] for row in summary(tmp_path).values()] == [75, 74, None]


def test_of_clips_on_the_model_together_one_fails(decompose, tmp_path, monkeypatch):
    from slotcli.decomposition import clip_encoder

    for number in range(3):
        make_clip(tmp_path / "in" / f"{number}.mp4", 6, (48, 64 if number == 1 else 80))
    really = clip_encoder.model_input

    def raising(transform, chunk):
        if transform.source_size == (48, 64):
            raise cv2.error("resize")
        return really(transform, chunk)

    monkeypatch.setattr(clip_encoder, "model_input", raising)
    assert decompose("in", "--together", "3", "--reset", "every:3")[0] == 3
    assert {name: row["status"] for name, row in summary(tmp_path).items()} == {
        "0.mp4": "ok",
        "1.mp4": "failed",
        "2.mp4": "ok",
    }


def test_a_run_that_ends_early_leaves_a_summary(decompose, tmp_path, monkeypatch):
    from slotcli.commands import console

    for number in range(3):
        make_clip(tmp_path / "in" / f"{number}.mp4", 3)
    told = []

    def broken(text):
        told.append(text)
        if len(told) == 2:
            raise RuntimeError("the terminal is gone")

    monkeypatch.setattr(console, "record", broken)
    assert decompose("in")[0] == 1
    assert [row["status"] for row in summary(tmp_path).values()] == ["ok", "ok", "unfinished"]


def test_dry_run_index_check_and_training_go_on_too(cli, tiny_model, tmp_path, monkeypatch):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        make_clip(tmp_path / "in" / name, 6)
    fails_at(monkeypatch, "_open", {"b.mp4": KeyError(31)})
    code, out, _ = cli("--json", "decompose", "in", "--dry-run", "--model", tiny_model, *ON)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["frames"] for row in rows] == [6, None, 6]
    assert "a bug: KeyError: 31" in rows[1]["remark"]
    code, out, _ = cli("--json", "data", "index", "in")
    assert (code, json.loads(out)["clips"]) == (0, 2)
    assert "a bug: KeyError: 31" in json.loads(out)["broken"]["in/b.mp4"]
    code, _, err = cli("data", "check", "in")
    assert code == 65
    assert "1 of 2 clips are broken" in err
    code, _, err = cli("data", "convert", "in", "out", "--keep-going")
    assert code == 3
    assert "a bug: KeyError: 31" in err
    assert len(list((tmp_path / "out/train").glob("0*"))) == 2


def test_what_is_missing_or_empty_among_inputs_is_named(decompose, tmp_path):
    make_clip(tmp_path / "a.mp4", 3)
    make_clip(tmp_path / "folder/b.mp4", 3)
    make_images(tmp_path / "pictures", 3)
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/notes.txt").write_text("no clip")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/1.png").write_text("no image")
    inputs = ["absent.mp4", "a.mp4", "empty", "folder", "texts", "pictures", "no*.mp4", "broken"]
    code, _, err = decompose(*inputs)
    assert code == 3
    assert {name: (row["status"], row["exit_code"]) for name, row in summary(tmp_path).items()} == {
        "absent.mp4": ("failed", 66),
        "a.mp4": ("ok", None),
        "empty": ("failed", 66),
        "b.mp4": ("ok", None),
        "texts": ("failed", 66),
        "pictures": ("ok", None),
        "no*.mp4": ("failed", 66),
        "broken": ("failed", 65),
    }
    for name in ("absent.mp4", "empty", "texts", "no*.mp4", "broken"):
        assert name in err
    assert "1 not a video or an image" in err


def test_where_nothing_can_be_read_the_code_is_no_input(decompose, tmp_path):
    (tmp_path / "empty").mkdir()
    for inputs in (["absent.mp4"], ["empty"], ["absent.mp4", "empty"]):
        code, _, err = decompose(*inputs)
        assert code == 66
        assert "error: " in err
    assert not (tmp_path / "out").exists()


def test_results_among_the_inputs_are_no_failures(decompose, tmp_path):
    make_clip(tmp_path / "a.mp4", 3)
    assert decompose("a.mp4")[0] == 0
    code, _, err = decompose("a.mp4", "out")
    assert code == 0
    assert "made by slotcli" in err
    code, _, err = decompose("out")
    assert code == 66
    assert "made by slotcli" in err
