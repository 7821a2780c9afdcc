import json

import pytest

from slotcli.errors import DataError
from slotcli.tracks.transform import Transform


def test_round_trip_through_json():
    transform = Transform(source_size=(20, 30), crop=(1, 5, 19, 20), model_size=(16, 16))
    assert Transform.from_json(json.loads(json.dumps(transform.to_json()))) == transform
    assert transform.crop_size == (19, 20)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"source_size": [20, 30], "crop": [0, 0, 20, 30]},
        {"source_size": [20, 30], "crop": [0, 0, 21, 30], "model_size": [8, 8]},
        {"source_size": [20, 30], "crop": [-1, 0, 20, 30], "model_size": [8, 8]},
        {"source_size": [20, 30], "crop": [0, 0, 20, 30], "model_size": [0, 8]},
        {"source_size": [20.0, 30], "crop": [0, 0, 20, 30], "model_size": [8, 8]},
        {"source_size": [True, 30], "crop": [0, 0, 1, 30], "model_size": [8, 8]},
        {"source_size": [1 << 40, 30], "crop": [0, 0, 20, 30], "model_size": [8, 8]},
        {"source_size": [1 << 16, 1 << 16], "crop": [0, 0, 20, 30], "model_size": [8, 8]},
        {"source_size": "ab", "crop": [0, 0, 20, 30], "model_size": [8, 8]},
    ],
)
def test_impossible_transforms_are_refused(data):
    with pytest.raises(DataError):
        Transform.from_json(data)
