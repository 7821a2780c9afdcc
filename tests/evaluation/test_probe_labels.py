from pathlib import Path

import numpy as np
import pytest

from slotcli.errors import DataError, NoInputError, SlotcliError, UsageError
from slotcli.evaluation.probe_labels import LabelRow, Labels, read_labels


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str | bytes, **options: list[str]) -> Labels:
        path = tmp_path / "labels.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_labels(path, **options)  # type: ignore[arg-type]

    return read


def test_rows_name_objects_and_scenes_in_frames_and_over_clips(read) -> None:
    labels = read("object, clip ,x,frame\n3,a.mp4,1.5,0\n,a.mp4,2,1.0\n\n2,b.mp4,3,\n,b.mp4,,nan\n")
    assert labels.rows == [
        LabelRow(2, "a.mp4", 0, 3),
        LabelRow(3, "a.mp4", 1, None),
        LabelRow(5, "b.mp4", None, 2),
        LabelRow(6, "b.mp4", None, None),
    ]
    assert [row.level for row in labels.rows] == [
        "object in a frame",
        "scene in a frame",
        "object over a clip",
        "scene over a clip",
    ]
    [x] = labels.columns
    assert x.values[:3].tolist() == [1.5, 2, 3]
    assert x.missing.tolist() == [3]


def test_numbers_and_classes_are_told_apart_with_a_reason(read) -> None:
    text = "clip,x,n,shape,mixed\na,1e3,2,cube,7\nb,-2.5,10,ball,7\nc,NaN,2,,NA\nd,0,3,cube,many\n"
    x, n, shape, mixed = read(text).columns
    assert x.classes is n.classes is None
    assert (x.looks_like_classes, n.looks_like_classes) == (False, True)
    assert shape.classes == ("ball", "cube")
    np.testing.assert_equal(shape.values, [1, 0, np.nan, 1])
    assert shape.reason == "'cube' on line 2 is not a number"
    assert (mixed.classes, mixed.reason) == (("7", "many"), "'many' on line 5 is not a number")
    _, n, _, _ = read(text, classes=["n"]).columns
    assert (n.classes, n.reason) == (("2", "3", "10"), "asked for by --classes")
    assert [own.name for own in read(text, targets=["shape", "x"]).columns] == ["shape", "x"]


def test_files_of_spreadsheets_and_quoted_cells_are_read(read) -> None:
    labels = read(b'\xef\xbb\xbfclip,note\r\n"a, b.mp4","x, y"\r\n')
    assert labels.rows[0].clip == "a, b.mp4"
    assert labels.columns[0].classes == ("x, y",)


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("video,x\na,1\n", DataError, "no column 'clip', but video, x"),
        ("", DataError, "no column 'clip', but none"),
        ("clip,x\n", NoInputError, "no rows"),
        ("clip,frame\na,1\n", DataError, "no column to read"),
        (",clip,x\n0,a,1\n", DataError, "Column 1 of .* has no name"),
        ("clip,x,x\na,1,2\n", DataError, "two columns 'x'"),
        ("clip,x\na,1,2\n", DataError, "Line 2 .* has 3 cells, the header 2"),
        ("clip,x\n,1\n", DataError, "Line 2 .* names no clip"),
        ("clip,frame,x\na,first,1\n", DataError, "Line 2 .*frame 'first' is not a whole number"),
        ("clip,object,x\na,-1,1\n", DataError, "object '-1' is not"),
        ("clip,object,x\na,1.5,1\n", DataError, "object '1.5' is not"),
        ("clip,object,x\na,inf,1\n", DataError, "object 'inf' is not"),
        ("clip,x\na,1\nb,2\na,3\n", DataError, "Lines 2 and 4 .* the same thing"),
        ("clip,x\na,1\nb,inf\n", DataError, "Line 3 .*x is infinite"),
        (b"clip,x\n\xff\xfe,1\n", DataError, "no CSV file in UTF-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    read, text: str | bytes, kind: type[SlotcliError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        read(text)


def test_columns_that_do_not_exist_are_refused(read, tmp_path) -> None:
    for option in ("targets", "classes"):
        with pytest.raises(UsageError, match=f"--{option} y: .* has no such column"):
            read("clip,x\na,1\n", **{option: ["y"]})
    with pytest.raises(NoInputError):
        read_labels(tmp_path / "absent.csv")
