"""Videos with masks of the user's own: where the masks are looked for, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_datasets import write_video

from slotcli.data.datasets import open_dataset
from slotcli.errors import DataError, NoInputError
from slotcli.spec import FolderSpec


def write_masks(folder: Path, frames: int, size: tuple[int, int] = (16, 24)) -> None:
    folder.mkdir(parents=True)
    for number in range(frames):
        labels = np.zeros(size, np.uint8)
        labels[: size[0] // 2] = 1 + number
        Image.fromarray(labels).save(folder / f"{number:05}.png")


def spec_of(folder: Path) -> FolderSpec:
    return FolderSpec(path=str(folder / "videos"), masks=str(folder / "masks"))


def test_labels_are_those_of_the_window(tmp_path):
    write_video(tmp_path / "videos" / "x" / "a.mkv", 6)
    write_masks(tmp_path / "masks" / "x" / "a", 6, (32, 48))  # of the source, larger than the copy
    data = open_dataset(spec_of(tmp_path), (8, 12))
    assert data.labelled
    clip = data.clip(0, 1, 2, stride=3)
    whole = open_dataset(FolderSpec(path=str(tmp_path / "videos")), (8, 12)).clip(0, 0, 6)
    assert torch.equal(clip.frames, whole.frames[[1, 4]])
    assert clip.labels is not None
    assert clip.labels[:, :4].unique(dim=1).unique(dim=2).flatten().tolist() == [2, 5]
    assert not clip.labels[:, 4:].any()


@pytest.mark.parametrize("masks", [5, 7])
def test_another_number_of_masks_is_an_error(tmp_path, masks):
    write_video(tmp_path / "videos" / "a.mkv", 6)
    write_masks(tmp_path / "masks" / "a", masks)
    data = open_dataset(spec_of(tmp_path), (8, 12))
    with pytest.raises(DataError, match=rf"{masks} masks, but a\.mkv has 6 frames"):
        data.clip(0, 0, 2)


def test_a_dot_in_the_name_of_a_folder_of_images_is_kept(tmp_path):
    for number in range(3):
        image = tmp_path / "videos" / "walk.1" / f"{number}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(image)
    write_masks(tmp_path / "masks" / "walk.1", 3)
    data = open_dataset(spec_of(tmp_path), (8, 12))
    labels = data.clip(0, 0, 3).labels
    assert labels is not None
    assert labels[:, 0, 0].tolist() == [1, 2, 3]


def test_two_videos_of_one_name_do_not_share_masks(tmp_path):
    for name in ("a.mkv", "b/c.mkv", "b/c.mp4"):
        write_video(tmp_path / "videos" / name, 6)
    write_masks(tmp_path / "masks" / "a", 6)
    write_masks(tmp_path / "masks" / "b" / "c", 6)
    with pytest.raises(DataError, match=r"masks of both b/c\.mkv and b/c\.mp4"):
        open_dataset(spec_of(tmp_path), (8, 12))


def test_a_video_without_masks_is_named(tmp_path):
    write_video(tmp_path / "videos" / "a.mkv", 2)
    write_video(tmp_path / "videos" / "b.mkv", 2)
    write_masks(tmp_path / "masks" / "a", 2)
    with pytest.raises(NoInputError, match=r"no masks of b\.mkv"):
        open_dataset(spec_of(tmp_path), (8, 12))
