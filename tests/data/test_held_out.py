from pathlib import Path

import pytest
import torch
from movi_files import made_up, write_frames

from slotcli.data.datasets import open_dataset
from slotcli.data.formats.splits import NoSplitError
from slotcli.data.held_out import held_out_clips, validation_data
from slotcli.data.rendered import SynthDataset
from slotcli.scenes import render_clip
from slotcli.scenes.seeds import VALIDATION_SEEDS
from slotcli.spec import FolderSpec, PublicSpec, SynthSpec

SEEDS = {"train": range(2), "validation": range(10, 13)}


def test_held_out_scenes_are_those_of_their_seeds_in_the_mix_of_training() -> None:
    spec = SynthSpec(mix={"A": 0.5, "C": 0.5}, clips=8)
    data = SynthDataset(spec, (16, 24))
    held_out = held_out_clips(data, spec, (16, 24), clips=4, frames=2)
    assert held_out.labels is not None
    assert {data.tier(index) for index in range(4)} == {"A", "C"}
    for index in range(4):
        alone = render_clip(VALIDATION_SEEDS + index, data.tier(index), 2, (16, 24))
        assert alone.labels is not None
        assert torch.equal(held_out.frames[index], alone.frames)
        assert torch.equal(held_out.labels[index], alone.labels)


def test_a_published_data_set_holds_out_its_validation_split(tmp_path: Path) -> None:
    truths = {split: [made_up(seed) for seed in seeds] for split, seeds in SEEDS.items()}
    for split, clips in truths.items():
        for number, truth in enumerate(clips):
            write_frames(tmp_path / split / f"{number:08d}", truth)
    spec = PublicSpec(kind="movi", path=str(tmp_path))
    data = open_dataset(spec, (10, 14))
    unseen = validation_data(data, spec, (10, 14))
    held_out = held_out_clips(unseen, spec, (10, 14), clips=3, frames=2)
    assert held_out.labels is not None
    for place, (video, labels) in enumerate(truths["validation"]):
        # The middle two of four frames.
        assert (held_out.frames[place].permute(0, 2, 3, 1).numpy() == video[1:3]).all()
        assert (held_out.labels[place].numpy() == labels[1:3]).all()


def test_without_a_validation_split_there_is_nothing_held_out(tmp_path: Path) -> None:
    write_frames(tmp_path / "train" / "00000000", made_up(0))
    spec = PublicSpec(kind="movi", path=str(tmp_path))
    with pytest.raises(NoSplitError, match="validation"):
        validation_data(open_dataset(spec, (10, 14)), spec, (10, 14))


def test_a_folder_of_videos_has_only_itself(tmp_path: Path) -> None:
    write_frames(tmp_path / "clip", made_up(0), masks=False)
    spec = FolderSpec(path=str(tmp_path))
    data = open_dataset(spec, (10, 14))
    assert validation_data(data, spec, (10, 14)) is data
    assert held_out_clips(data, spec, (10, 14)).labels is None
