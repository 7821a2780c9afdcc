from collections import Counter

import pytest
import torch
from sprite_assets import make_assets

from slotcli.data.dataset import Dataset
from slotcli.data.datasets import open_dataset
from slotcli.data.held_out import held_out_clips, validation_data
from slotcli.definition import parse_spec, spec_json
from slotcli.errors import ConfigError
from slotcli.spec import MixtureSpec, SpritesSpec, SynthSpec


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    objects, photographs = make_assets(tmp_path_factory.mktemp("assets"))
    sprites = SpritesSpec(objects=str(objects), photographs=str(photographs), clips=50, frames=8)
    synth = SynthSpec(mix={"A": 1.0}, clips=3, frames=3)
    parts = ({"share": 0.25, "data": synth}, {"share": 0.75, "data": sprites})
    return MixtureSpec.model_validate({"parts": parts})


def test_parts_have_their_shares_and_every_clip_comes_up(spec):
    data = open_dataset(spec, (16, 24))
    assert isinstance(data, Dataset)
    assert data.labelled
    parts = [data.locate(index)[0] for index in range(400)]
    assert parts.count(0) == pytest.approx(100, abs=2)
    assert parts[:20].count(0) in (4, 5, 6)
    found = Counter(data.locate(index) for index in range(len(data)))
    assert {place for part, place in found if part == 0} == set(range(3))
    assert {place for part, place in found if part == 1} == set(range(50))
    assert len({data.name(index) for index in range(len(data))}) == len(data)
    lengths = {data.frames(index) for index in range(20)}
    assert lengths == {3, 8}
    index = parts.index(1)
    part, place = data.locate(index)
    assert torch.equal(
        data.clip(index, 1, 2, 3).frames, data.parts[part].clip(place, 1, 2, 3).frames
    )


def test_held_out_clips_are_of_every_parts_own(spec):
    data = open_dataset(spec, (16, 24))
    held_out = validation_data(data, spec, (16, 24))
    assert held_out.parts[1].name(0) == "held-out-sprites-0"
    batch = held_out_clips(held_out, spec, (16, 24), clips=8)
    assert batch.frames.shape == (8, 6, 3, 16, 24)
    assert batch.labels is not None
    assert batch.labels.shape == (8, 6, 16, 24)


def test_a_definition_names_parts_and_wrong_shares_are_refused(spec, tiny_slot_spec):
    values = spec_json(tiny_slot_spec)
    values["train"]["data"] = spec.model_dump(mode="json")
    read = parse_spec(values, "tests")
    assert read.train.data == spec
    values["train"]["data"]["parts"][0]["share"] = 0.5
    with pytest.raises(ConfigError, match=r"add up to 1\.25, not 1"):
        parse_spec(values, "tests")
    values["train"]["data"] = {"kind": "mixture", "parts": []}
    with pytest.raises(ConfigError, match="parts"):
        parse_spec(values, "tests")
