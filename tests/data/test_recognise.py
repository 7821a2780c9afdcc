from pathlib import Path

import numpy as np
import pytest
from movi_files import copied_tfds, made_up, write_frames, write_tar
from PIL import Image

from slotcli.data.recognise import recognise
from slotcli.data.video_folder import VideoFolder
from slotcli.errors import NoInputError, UsageError


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)


def make(kind: str, folder: Path) -> None:
    """As little of a data set as shows what it is."""
    match kind:
        case "records":
            copied_tfds(folder / "movi_e" / "12x12" / "1.0.0")
        case "tars":
            write_tar(folder / "movi_e-train-000000.tar", {"0": made_up(0)})
        case "frames":
            write_frames(folder / "train" / "00000000", made_up(0), suffix=".jpg")
        case "clevrtex":
            picture(folder / "clevrtex_full" / "0" / "CLEVRTEX_full_000000.png")
        case "clevrtex inside":
            picture(folder / "17" / "CLEVRTEX_full_017000.png")
        case "celeba":
            picture(folder / "celeba" / "img_align_celeba" / "000001.jpg")
        case "davis":
            picture(folder / "DAVIS" / "JPEGImages" / "480p" / "bear" / "00000.jpg")
        case "ytvis":
            picture(folder / "train" / "JPEGImages" / "0a7b" / "00000.jpg")
        case "synth":
            (folder / "videos").mkdir(parents=True)
            (folder / "index.json").write_text("{}")
        case "images":
            picture(folder / "holiday" / "000000.png")


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        ("records", "movi"),
        ("tars", "movi"),
        ("frames", "movi"),
        ("clevrtex", "clevrtex"),
        ("clevrtex inside", "clevrtex"),
        ("celeba", "celeba"),
        ("davis", "davis"),
        ("ytvis", "ytvis"),
        ("synth", "synth"),
        ("images", "folder"),
    ],
)
def test_each_layout_is_known_by_its_names(tmp_path, made, kind):
    make(made, tmp_path / "data")
    assert recognise(tmp_path / "data") == kind


def test_the_inner_folder_of_celeba_is_known_beside_its_partition(tmp_path):
    make("celeba", tmp_path)
    inner = tmp_path / "celeba" / "img_align_celeba"
    assert recognise(inner) == "folder"
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    assert recognise(inner) == "celeba"


def test_what_could_be_two_things_is_not_guessed(tmp_path):
    make("celeba", tmp_path)
    make("davis", tmp_path)
    with pytest.raises(UsageError, match="could be any of celeba, davis"):
        recognise(tmp_path)


def test_nothing_known_says_what_was_looked_for(tmp_path):
    with pytest.raises(NoInputError) as caught:
        recognise(tmp_path / "absent")
    assert "no such folder" in caught.value.what
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(NoInputError) as caught:
        recognise(tmp_path)
    for sought in ("tfrecord", ".tar", "CLEVRTEX", "celeba", "JPEGImages", "videos"):
        assert sought in caught.value.advice


def test_a_folder_of_images_is_a_video_without_labels(tmp_path):
    make("images", tmp_path)
    folder = VideoFolder(tmp_path, None)
    assert (len(folder), folder.name(0), folder.labelled) == (1, "holiday", False)
    assert folder.clip(0, 0, 1).frames.shape == (1, 3, 4, 4)
