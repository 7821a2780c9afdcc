"""Files changed at random are read, or refused by an error of slotcli."""

from pathlib import Path

import numpy as np
import pytest
from movi_files import copied_tfds, made_up, write_frames, write_tar

from slotcli.data.formats.file_index import INDEX
from slotcli.data.formats.movi import Movi
from slotcli.errors import DataError, NoInputError


def make(layout: str, folder: Path) -> list[Path]:
    """A data set with an index where it can have one; the files to be damaged."""
    if layout == "records":
        copied_tfds(folder)
    elif layout == "tars":
        write_tar(folder / "movi_a-train-000000.tar", {"0": made_up(0), "1": made_up(1)})
    else:
        write_frames(folder / "train" / "00000000", made_up(0))
        return sorted(folder.rglob("*.png"))
    index = Movi(folder, "train", None).files.complete_index()
    assert index is not None
    (folder / INDEX).write_text(index.text())
    return [path for path in sorted(folder.iterdir()) if path.suffix != ".txt"]


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """With bytes changed, the end cut off, or a stretch replaced by one of another length."""
    result, start = bytearray(content), int(random.integers(len(content)))
    match int(random.integers(3)):
        case 0:
            for place in random.integers(0, len(content), 3):
                result[place] = int(random.integers(256))
        case 1:
            del result[start:]
        case _:
            result[start : start + int(random.integers(300))] = random.bytes(40)
    return bytes(result)


@pytest.mark.parametrize("layout", ["records", "tars", "frames"])
def test_damage_is_an_error_of_ours_or_none(tmp_path, layout):
    random = np.random.default_rng(0)
    files = make(layout, tmp_path / "data")
    refused = 0
    for number in range(60):
        path = files[number % len(files)]
        whole = path.read_bytes()
        path.write_bytes(mutated(whole, random))
        try:
            movi = Movi(tmp_path / "data", "train", None)
            for index in range(len(movi)):
                movi.verify(index)
                assert sum(len(piece.frames) for piece in movi.stream(index)) > 0
        except (DataError, NoInputError):
            refused += 1
        path.write_bytes(whole)
    assert refused > 10
