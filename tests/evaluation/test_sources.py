"""Where clips to judge by come from: any data set, at the model's size."""

from pathlib import Path

import numpy as np
import pytest
from movi_files import TFDS, copied_tfds, made_up, tfds_truth, write_frames

from slotcli.data.formats.file_index import INDEX
from slotcli.errors import DataError, NoInputError, UsageError
from slotcli.evaluation.sources import ClipSource, open_source


def opened(reference: Path | str, **options: object) -> ClipSource:
    usual = {"clips": 9, "frames": 9, "size": (12, 12), "first_seed": 0}
    return open_source(str(reference), **(usual | options))  # pyright: ignore


def test_a_published_data_set_gives_its_test_split_with_labels():
    source = opened(TFDS)
    truth = tfds_truth("test")
    assert (len(source.names), source.labelled) == (len(truth), True)
    for number, (_, (video, labels)) in enumerate(truth):
        clip = source.load(number)
        assert clip.labels is not None
        assert (clip.frames.permute(0, 2, 3, 1).numpy() == video).all()
        assert (clip.labels.numpy() == labels).all()


def test_clips_frames_size_and_split_are_as_asked_for():
    source = opened(TFDS, split="train", clips=2, frames=4, size=(6, 6))
    assert len(source.names) == 2
    clip = source.load(1)
    assert clip.labels is not None
    assert (clip.frames.shape, clip.labels.shape) == ((4, 3, 6, 6), (4, 6, 6))
    assert (clip.labels.numpy() == tfds_truth("train")[1][1][1][:4, ::2, ::2]).all()
    with pytest.raises(NoInputError, match="validation"):
        opened(TFDS, split="validation")


def test_a_broken_clip_is_an_error_when_it_is_loaded_and_names_the_file(tmp_path):
    folder = copied_tfds(tmp_path / "movi")
    path = folder / "movi_e-test.tfrecord-00001-of-00002"
    path.write_bytes(path.read_bytes()[:-9])
    source = opened(folder)
    assert len(source.load(0).frames) == 6
    with pytest.raises(DataError, match=r"test\.tfrecord-00001-of-00002, record 0"):
        source.load(1)


def test_the_kind_can_be_said_where_it_would_not_be_recognised(tmp_path):
    write_frames(tmp_path / "test" / "00000000", made_up(0))
    assert opened(tmp_path).labelled
    as_videos = opened(tmp_path, kind="folder")
    assert (as_videos.names, as_videos.labelled) == (["test/00000000"], False)
    with pytest.raises(NoInputError, match="CLEVRTex"):
        opened(tmp_path, kind="clevrtex")


def test_a_stale_index_is_passed_on_as_a_remark(tmp_path):
    folder = copied_tfds(tmp_path / "movi")
    assert opened(folder).remarks == ()
    (folder / INDEX).write_text("{}")
    assert INDEX in opened(folder).remarks[0]


def test_nothing_there_and_no_such_tier_are_told_apart(tmp_path):
    with pytest.raises(NoInputError, match="no such folder"):
        opened(tmp_path / "absent")
    with pytest.raises(NoInputError, match="no data that is known"):
        opened(tmp_path)
    with pytest.raises(UsageError, match="no such tier"):
        opened("synth:Z")
    assert np.asarray(opened("synth:A", clips=1, frames=2).load(0).frames).shape[0] == 2
