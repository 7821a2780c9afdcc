import json
import os
from pathlib import Path

import pytest

from slotcli.data.formats.file_index import INDEX, FileIndex, Part


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name * 10)
    return tmp_path


def find(path: Path) -> list[Part]:
    """As many parts as the file has letters, called by its content."""
    return [(letter, place, 1) for place, letter in enumerate(path.read_text())]


def unneeded(path: Path) -> list[Part]:
    raise AssertionError(f"{path} is known and need not be searched")


def indexed(folder: Path) -> None:
    index = FileIndex(folder)
    for name in ("a", "b"):
        assert index.parts(folder / name, find) == [(name, place, 1) for place in range(10)]
    (folder / INDEX).write_text(index.text())


def test_what_is_noted_need_not_be_searched_even_elsewhere(folder):
    indexed(folder)
    moved = folder.rename(folder.with_name("moved"))
    index = FileIndex(moved)
    assert index.remarks == []
    assert len(index.parts(moved / "b", unneeded)) == 10


@pytest.mark.parametrize("change", ["longer", "touched", "gone"])
def test_a_file_that_changed_is_searched_again_and_that_is_said(folder, change):
    indexed(folder)
    if change == "longer":
        (folder / "a").write_text("a" * 11)
    elif change == "touched":
        os.utime(folder / "a", ns=(1, 1))
    else:
        (folder / "a").unlink()
    index = FileIndex(folder)
    [remark] = index.remarks
    assert remark.startswith("1 files are not those")
    assert " a for one" in remark
    assert len(index.parts(folder / "b", unneeded)) == 10
    if change != "gone":
        assert len(index.parts(folder / "a", find)) == (11 if change == "longer" else 10)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace("slotcli.index/1", "slotcli.index/2"),
        lambda text: text.replace('["a", 0, 1]', '["a", -5, 1]'),
        lambda text: text.replace('["a", 0, 1]', '["a", 0]'),
        lambda text: text.replace("bytes", "size"),
    ],
)
def test_a_damaged_index_is_not_used_and_that_is_said(folder, damage):
    indexed(folder)
    text = (folder / INDEX).read_text()
    (folder / INDEX).write_text(damage(text))
    assert damage(text) != text
    index = FileIndex(folder)
    assert "cannot be read: the files were searched again" in index.remarks[0]
    assert len(index.parts(folder / "a", find)) == 10


def test_names_that_are_no_text_are_left_out_of_the_index(folder):
    odd = folder / os.fsdecode(b"\xff.txt")
    odd.write_text("x")
    index = FileIndex(folder)
    assert index.parts(odd, find) == [("x", 0, 1)]
    assert index.parts(folder / "a", find)
    assert list(json.loads(index.text())["files"]) == ["a"]
