"""Mutants through the whole program: a result, or an exit code, two lines and nothing left."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from hostile_inputs import FILES, IMAGES, VIDEOS, make_all, mutant_of, place

pytestmark = pytest.mark.slow

SEEDS = range(20 if "SLOTCLI_FUZZ" in os.environ else 10)
LEFT_BEHIND = {".part", ".journal", ".lock", ".old"}
ON = ["--device", "cpu", "--threads", "1", "--masks", "none"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    make_all(folder)
    return folder


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
    }


def check_refusal(err: str) -> None:
    lines = err.splitlines()
    assert [line for line in lines if line.startswith(("error", " "))] == lines[-2:], err
    assert lines[-2].startswith("error: "), err
    assert lines[-1].startswith("  "), err
    assert "Traceback" not in err, err
    assert "a bug in slotcli" not in err, err


def lay_out(sound: Path, folder: Path, name: str, seed: int) -> Path:
    """Writes a mutant of a kind: a file, or a folder in which every image is one."""
    if name != "images":
        path = folder / f"clip{seed}{FILES[name].suffix}"
        path.write_bytes(mutant_of(sound, name, seed))
        return path
    path = folder / f"clip{seed}"
    path.mkdir()
    for number, kind in enumerate(IMAGES):
        (path / f"{number}{FILES[kind].suffix}").write_bytes(mutant_of(sound, kind, seed))
    return path


@pytest.mark.parametrize("name", [*VIDEOS, "images"])
def test_mutants_of_a_clip(name: str, sound: Path, tmp_path: Path, cli, tiny_model: Path) -> None:
    (tmp_path / "in").mkdir()
    clips = [lay_out(sound, tmp_path / "in", name, seed) for seed in SEEDS]
    before = tree(tmp_path / "in")
    on = ["--model", tiny_model, *ON]
    code, _, err = cli("decompose", "in", "-r", "--out", "out", *on)
    assert code == (3 if "error" in err else 0), err
    assert "Traceback" not in err
    assert "a bug in slotcli" not in err
    assert tree(tmp_path / "in") == before
    rows = json.loads((tmp_path / "out/summary.json").read_text())["clips"]
    codes = {Path(row["source"]).name: row["exit_code"] or 0 for row in rows}
    assert codes.keys() == {clip.name for clip in clips}
    assert set(codes.values()) <= {0, 3, 65}, codes
    assert set(codes.values()) & {0, 3}, codes
    whole = {path.parent.name for path in (tmp_path / "out").glob("*/result.json")}
    assert whole == {name for name, code in codes.items() if code != 65}
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == whole
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix in LEFT_BEHIND]
    # One by one they end the program with the code that the summary gives them.
    refused = [clip for clip in clips if codes[clip.name] == 65][:2]
    for clip in refused:
        before = tree(tmp_path)
        code, said, err = cli("decompose", clip, "--out", "new/out", *on)
        assert (code, said) == (65, "")
        check_refusal(err)
        assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("slot file", ["info", "FILE"]),
        ("forged slot file", ["info", "FILE"]),
        ("forged slot file", ["export", "FILE", "--out", "new/out", "--masks", "ffv1"]),
        ("weights", ["info", "FILE"]),
        ("forged weights", ["info", "FILE"]),
        ("definition", ["config", "validate", "FILE"]),
    ],
)
def test_mutants_of_a_file(kind: str, command: list[str], sound: Path, tmp_path: Path, cli) -> None:
    for seed in SEEDS:
        path = tmp_path / f"mutant{seed}{FILES[kind].suffix}"
        path.write_bytes(mutant_of(sound, kind, seed))
        before = tree(tmp_path)
        given = [str(path) if word == "FILE" else word for word in command]
        code, said, err = cli(*[word.replace("new", f"new{seed}") for word in given])
        if code == 0:
            continue
        assert code == (78 if kind == "definition" else 65), (seed, err)
        check_refusal(err)
        assert said == ""
        assert tree(tmp_path) == before, seed


def test_results_stay_under_out(sound: Path, tmp_path: Path, cli, tiny_model: Path) -> None:
    """Whatever a source is called, or is a link to."""
    clip = place(sound, "mp4", 0).read_bytes()
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "far/away/clip.mp4").write_bytes(clip)
    (tmp_path / "here").mkdir()
    (tmp_path / "here/link.mp4").symlink_to(tmp_path / "far/away/clip.mp4")
    (tmp_path / "here/..mp4").write_bytes(clip + b"\0")
    (tmp_path / "here/...mp4").write_bytes(clip + b"\0\0")
    (tmp_path / "here/dots").symlink_to("..")
    before = tree(tmp_path)
    sources = [
        "here/link.mp4",
        "here/..mp4",
        "here/...mp4",
        "here/../far/../missing/../here/link.mp4",
        tmp_path / "far/away/clip.mp4",
        "missing/..",
        "missing/../..",
        "/missing/../../etc",
        "here/dots/absent.mp4",
    ]
    code, _, err = cli("decompose", *sources, "--out", "out", "--model", tiny_model, *ON)
    assert code == 3, err
    after = tree(tmp_path)
    new = sorted(path for path in after.keys() - before.keys() if not path.startswith("out/"))
    assert new == ["out"]
    assert before.items() <= after.items()
    results = sorted(path.parent.name for path in (tmp_path / "out").rglob("result.json"))
    assert results == ["...mp4", "..mp4", "link.mp4"]


HOSTILE = "<script>alert(1)<&\"'>.mp4"


def test_pages_escape_names(sound: Path, tmp_path: Path, cli, tiny_model: Path) -> None:
    for name in (HOSTILE, "second.mp4"):
        (tmp_path / name).write_bytes(place(sound, "mp4", int(name != HOSTILE)).read_bytes())
    code, _, err = cli(
        "decompose", HOSTILE, "second.mp4", "--out", "out", "--model", tiny_model, *ON
    )
    assert code == 0, err
    pages = sorted((tmp_path / "out").rglob("*.html"))
    assert tmp_path / "out" / HOSTILE / "report.html" in pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text, page
        assert "alert(1)" in text or "second" in str(page)
