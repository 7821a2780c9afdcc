"""pretrain --data on a published data set: its splits, and what is said of them."""

import json
from pathlib import Path

import pytest
from movi_files import copied_tfds, made_up, write_frames

from slotcli.checkpoint import load_model

STEPS = ("train.steps=1", "train.evaluate_every=1", "train.batch_size=2")


@pytest.fixture
def pretrain(cli, tmp_path: Path, tiny_codec: Path):
    values = json.loads(load_model(str(tiny_codec)).spec.model_dump_json(exclude_none=True))

    def toml(value: object) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
        return json.dumps(value)

    definition = tmp_path / "model.toml"
    definition.write_text("".join(f"{key} = {toml(value)}\n" for key, value in values.items()))

    def run(data: Path) -> tuple[int, str, str]:
        sets = [part for value in STEPS for part in ("--set", value)]
        places = ("--config", definition, "--out", tmp_path / "run", "--data", data)
        return cli("pretrain", *places, "--device", "cpu", "--threads", 1, *sets)

    return run


def test_a_published_data_set_is_recognised_and_its_training_split_taken(pretrain, tmp_path):
    for split, clips in (("train", 3), ("validation", 2)):
        for number in range(clips):
            write_frames(tmp_path / "movi" / split / f"{number:08d}", made_up(number))
    code, _, err = pretrain(tmp_path / "movi")
    assert code == 0, err
    assert "training on the train split of movi" in err
    assert "3 clips" in err
    assert "instead" not in err
    data = load_model(str(tmp_path / "run")).spec.train.data
    assert data.model_dump() == {"kind": "movi", "path": "movi", "split": "train"}


def test_without_a_validation_split_that_is_said(pretrain, tmp_path):
    code, _, err = pretrain(copied_tfds(tmp_path / "movi"))
    assert code == 0, err
    assert "nothing of the split validation" in err
    assert "training clips instead, without their labels" in err


def test_of_rendered_scenes_only_the_videos_are_clips(cli, pretrain, tmp_path):
    made = ("--tier", "A", "--clips", 2, "--frames", 2, "--size", "32", "--device", "cpu")
    assert cli("data", "synth", tmp_path / "scenes", *made)[0] == 0
    code, _, err = pretrain(tmp_path / "scenes")
    assert (code, "2 clips" in err) == (0, True), err


def test_a_missing_file_stops_training_before_it_begins(pretrain, tmp_path):
    folder = copied_tfds(tmp_path / "movi")
    (folder / "movi_e-train.tfrecord-00001-of-00002").unlink()
    code, _, err = pretrain(folder)
    assert (code, "movi_e-train.tfrecord-00001-of-00002 is missing" in err) == (65, True)
    assert not (tmp_path / "run").exists()
    assert pretrain(tmp_path / "absent")[0] == 66
