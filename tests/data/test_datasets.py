"""Opening data sets by their specs, and videos with and without an index."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from movi_files import TFDS

from slotcli.data import video_folder
from slotcli.data.dataset import Dataset
from slotcli.data.datasets import open_dataset
from slotcli.data.formats.file_index import INDEX
from slotcli.data.rendered import SynthDataset
from slotcli.data.video_folder import VideoFolder
from slotcli.errors import DataError
from slotcli.spec import FolderSpec, PublicSpec, SynthSpec


def write_video(path: Path, frames: int, *, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=12)
        video.height, video.width, video.pix_fmt = 16, 24, "bgr0"
        for _ in range(frames):
            picture = random.integers(0, 256, (16, 24, 3), dtype=np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode())
    return path


def test_each_spec_opens_what_it_names(tmp_path):
    write_video(tmp_path / "x" / "a.mkv", 3)
    synth = open_dataset(SynthSpec(clips=2, frames=2, mix={"A": 1.0}, seed=5), (16, 16))
    folder = open_dataset(FolderSpec(path=str(tmp_path)), (16, 16))
    movi = open_dataset(PublicSpec(kind="movi", path=str(TFDS), split="test"), (6, 6))
    for dataset, name, labelled in [
        (synth, "A-5", True),
        (folder, "x/a.mkv", False),
        (movi, "00000-000", True),
    ]:
        assert isinstance(dataset, Dataset)
        assert (dataset.name(0), dataset.labelled) == (name, labelled)
    assert isinstance(synth, SynthDataset)
    assert movi.clip(0, 0, 2).frames.shape == (2, 3, 6, 6)


def test_a_stream_is_the_clip(tmp_path):
    write_video(tmp_path / "a.mkv", 70)
    folder = VideoFolder(tmp_path, None)
    assert folder.frames(0) == 70
    pieces = list(folder.stream(0))
    assert max(len(piece.frames) for piece in pieces) <= 32
    assert torch.equal(torch.cat([piece.frames for piece in pieces]), folder.clip(0, 0, 70).frames)
    movi = open_dataset(PublicSpec(kind="movi", path=str(TFDS)), (12, 12))
    [piece] = movi.stream(1)
    assert torch.equal(piece.frames, movi.clip(1, 0, 6).frames)


def test_an_indexed_video_is_not_decoded_to_be_counted(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mkv", 5)
    write_video(tmp_path / "b.mkv", 6)
    (tmp_path / INDEX).write_text(VideoFolder(tmp_path, None).index.text())
    write_video(tmp_path / "b.mkv", 7, seed=1)
    opened: list[str] = []
    really = video_folder.open_clip

    def noticed(path: Path):
        opened.append(path.name)
        return really(path)

    monkeypatch.setattr(video_folder, "open_clip", noticed)
    folder = VideoFolder(tmp_path, None)
    assert opened == ["b.mkv"]  # which has changed
    assert [folder.frames(0), folder.frames(1)] == [5, 7]
    assert "b.mkv" in folder.index.remarks[0]


def test_a_video_that_changes_while_it_is_in_use_is_an_error(tmp_path):
    write_video(tmp_path / "a.mkv", 5)
    folder = VideoFolder(tmp_path, None)
    write_video(tmp_path / "a.mkv", 4)
    with pytest.raises(DataError, match=r"a\.mkv has changed"):
        folder.clip(0, 0, 5)


def test_a_damaged_video_ends_its_stream_with_an_error(tmp_path):
    path = write_video(tmp_path / "a.mkv", 20)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    folder = VideoFolder(tmp_path, None)
    assert 0 < folder.frames(0) < 20
    with pytest.raises(DataError, match=r"a\.mkv is damaged"):
        list(folder.stream(0))
