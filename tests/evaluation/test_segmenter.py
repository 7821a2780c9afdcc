import numpy as np
import pytest
import torch

from slotcli.checkpoint import load_model
from slotcli.errors import NumericError
from slotcli.evaluation import segmenter
from slotcli.evaluation.model_scores import evenly_spaced
from slotcli.evaluation.segmenter import Segmenter, resize_frames
from slotcli.kernels import mask_argmax
from slotcli.model import SlotModel
from slotcli.tracks.labelling import Labelling
from slotcli.tracks.transform import Transform


@pytest.fixture
def model(tiny_model) -> SlotModel:
    module = load_model(str(tiny_model)).module
    assert isinstance(module, SlotModel)
    return module


def _frames(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def test_chunks_of_clips_and_frames_change_nothing(model, monkeypatch):
    frames = _frames(3, 5, 3, 32, 32)
    whole = Segmenter(model, torch.device("cpu"))(frames)
    track = model.encode(frames)
    flat = mask_argmax(model.soft_masks(track).flatten(0, 1), (32, 32))
    assert (whole == flat.unflatten(0, (3, 5)).numpy()).mean() > 0.999
    monkeypatch.setattr(segmenter, "CLIPS", 2)
    monkeypatch.setattr(segmenter, "FRAMES", 2)
    # Rounding differs with the batch, so a few pixels between two slots may fall the other way.
    assert (Segmenter(model, torch.device("cpu"))(frames) == whole).mean() > 0.999


def test_labels_have_the_frames_own_size(model):
    labels = Segmenter(model, torch.device("cpu"))(_frames(1, 2, 3, 50, 41))
    assert labels.shape == (1, 2, 50, 41)
    assert labels.max() < 4


def test_broken_weights_are_a_numeric_error(model):
    with torch.no_grad():
        model.encoder.initial_slots.fill_(torch.nan)
    with pytest.raises(NumericError, match="frame 0"):
        Segmenter(model, torch.device("cpu"))(_frames(1, 1, 3, 32, 32))


def test_shrinking_to_half_averages_four_pixels():
    frames = _frames(2, 2, 3, 8, 12)
    halved = frames.float().unflatten(4, (6, 2)).unflatten(3, (4, 2)).mean((4, 6))
    assert (resize_frames(frames, (4, 6)).float() - halved).abs().max() <= 0.5
    assert resize_frames(frames, (8, 12)) is frames


@pytest.mark.parametrize(
    ("length", "places"), [(1, [0]), (2, [1]), (3, [1, 2]), (24, [6, 12, 17, 23])]
)
def test_frames_to_draw_leave_out_the_first(length, places):
    assert evenly_spaced(length).tolist() == places


def test_guided_labels_are_those_that_decompose_makes_of_stored_shares(model):
    frames = _frames(2, 3, 3, 50, 41)
    labels = Segmenter(model, torch.device("cpu"), "guided", size=(32, 32))(frames)
    shares = model.soft_masks(model.encode(resize_frames(frames, (32, 32))))
    transform = Transform((50, 41), (0, 0, 50, 41), (32, 32))
    for clip in range(2):
        for time in range(3):
            frame = frames[clip, time].permute(1, 2, 0).numpy()
            own = Labelling(transform, edges="guided").labels(shares[clip, time].numpy(), frame)
            assert (labels[clip, time] + 1 == own).mean() > 0.999
