import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from slotcli.checkpoint import load_model
from slotcli.decoders.base import RenderOptions
from slotcli.errors import DataError
from slotcli.evaluation.baselines import BASELINES
from slotcli.evaluation.model_scores import (
    CODEC,
    COLOUR_GRIDS,
    FIRST_FRAME,
    IDENTITY,
    MEAN_COLOUR,
    MODEL,
    MOSAIC,
    better_baselines,
    count_undefined,
    evaluate_model,
    evenly_spaced,
    label_scores,
    mean_scores,
    picture_scores,
)
from slotcli.evaluation.reconstruction import PSNR_CEILING, mse_sum
from slotcli.evaluation.segmenter import Segmenter
from slotcli.evaluation.sources import ClipSource
from slotcli.model import SlotModel, normalise
from slotcli.scenes import render_clip
from slotcli.types import Clip

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture
def model(tiny_model) -> SlotModel:
    return load_model(str(tiny_model)).slot_model()[1]


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render_clip(3, "A", 5, (32, 32))


def test_a_model_that_knows_the_truth_beats_every_baseline(clip: Clip) -> None:
    assert clip.labels is not None
    truth = clip.labels.numpy()
    video, frames = label_scores(lambda frames: truth[None] + 1, clip, 4, seed=0)
    assert list(video) == list(frames) == [MODEL, *BASELINES]
    assert set(video[MODEL].values()) == set(frames[MODEL].values()) == {1.0}
    assert video[MODEL].keys() - frames[MODEL].keys() == {IDENTITY}
    rows = mean_scores([video])
    assert all(not better_baselines(rows, score) for score in frames[MODEL])
    assert better_baselines(mean_scores([video | {"grid": video[MODEL]}]), "miou") == ["grid"]


def test_a_clip_without_labels_is_refused(clip: Clip) -> None:
    with pytest.raises(DataError, match="labels"):
        label_scores(pytest.fail, replace(clip, labels=None), 4, seed=0)


def test_clips_without_objects_are_counted_and_left_out_of_the_mean(clip: Clip) -> None:
    assert clip.labels is not None
    empty = Clip(clip.frames, torch.zeros_like(clip.labels))

    def segment(frames: torch.Tensor) -> np.ndarray:
        return np.zeros((1, 5, 32, 32), np.uint8)

    each = [label_scores(segment, one, 4, seed=0)[0] for one in (clip, empty)]
    assert count_undefined(each) == {"fg_ari": 1, "fg_miou": 1, "mbo": 1, IDENTITY: 1}
    found = mean_scores(each)["grid"]
    assert (found["mbo"].count, found["mbo"].dropped) == (1, 1)
    assert found["mbo"].mean == each[0]["grid"]["mbo"]
    assert found["ari"].count == 2


def test_labels_chosen_before_upsampling_are_blocks(model: SlotModel, clip: Clip) -> None:
    shares = model.soft_masks(model.encode(clip.frames[None]))
    before = Segmenter(model, CPU, "before")(clip.frames[None])
    coarse = shares.argmax(2).numpy()
    scale = 32 // coarse.shape[-1]
    assert scale > 1
    assert np.array_equal(before, coarse.repeat(scale, -1).repeat(scale, -2))
    assert not np.array_equal(before, Segmenter(model, CPU)(clip.frames[None]))


def test_pictures_are_scored_beside_their_bounds(model: SlotModel, clip: Clip) -> None:
    segment = Segmenter(model, CPU)
    rows = picture_scores(model, segment, clip, CPU, 2, None)
    assert list(rows) == [MODEL, CODEC, FIRST_FRAME, MEAN_COLOUR, MOSAIC]
    chosen = evenly_spaced(5, 2)
    frames = normalise(clip.frames)
    slots = model.encode(clip.frames[None]).slots[0, chosen]
    for row, drawn in {
        MODEL: model.decoder.render(slots, RenderOptions()),
        CODEC: model.decoder.codec(frames[chosen]).frames.detach(),
        FIRST_FRAME: frames[:1].expand(2, -1, -1, -1),
        MEAN_COLOUR: frames[chosen].mean((2, 3), keepdim=True).expand(2, -1, 32, 32),
    }.items():
        expected = mse_sum((frames[chosen] + 1) / 2, (drawn + 1) / 2)
        assert rows[row]["mse"] == pytest.approx(expected, rel=1e-4)
        assert rows[row]["lpips"] is None
    assert rows[MOSAIC]["mse"] < 0.8 * rows[MEAN_COLOUR]["mse"]
    still = Clip(clip.frames[:1].expand(3, -1, -1, -1))
    assert picture_scores(model, segment, still, CPU, 2, None)[FIRST_FRAME]["psnr"] == PSNR_CEILING


def test_colour_grids_are_scored_without_the_decoder(tiny_drawing_model, clip: Clip) -> None:
    drawing = load_model(str(tiny_drawing_model)).slot_model()[1]
    rows = picture_scores(drawing, Segmenter(drawing, CPU), clip, CPU, 2, None)
    assert list(rows) == [MODEL, CODEC, FIRST_FRAME, MEAN_COLOUR, MOSAIC, COLOUR_GRIDS]
    # An untrained decoder draws nothing; the grids need none.
    assert rows[COLOUR_GRIDS]["mse"] < rows[MEAN_COLOUR]["mse"] < rows[MODEL]["mse"]


def test_every_system_is_evaluated(tiny_system, clip: Clip) -> None:
    spec, module = load_model(str(tiny_system)).slot_model()
    length = 1 if spec.encoder.predictor is None else 3
    short = Clip(clip.frames[:length], None if clip.labels is None else clip.labels[:length])
    found = evaluate_model(
        module,
        spec.num_slots,
        ClipSource(["a", "b"], True, lambda number: short),
        CPU,
        argmax="after",
        rendered=1,
        pictures=1,
        lpips=None,
        scored=lambda scores, done, total: None,
    )
    assert [len(found.video), len(found.frames), len(found.pictures)] == [2, 2, 1]
    assert (CODEC in found.pictures[0]) == (spec.codec is not None)
    values = [value for row in found.pictures[0].values() for value in row.values()]
    assert np.isfinite([value for value in values if value is not None]).all()


def test_clips_are_forgotten_once_they_are_scored(model: SlotModel) -> None:
    """Their number costs no memory: while a clip loads, only the last one's frames are there."""
    alive: list[weakref.ref[torch.UntypedStorage]] = []
    heard: list[tuple[str, int, int]] = []
    gc.freeze()  # collecting what the whole session holds, for each clip, takes seconds

    def load(number: int) -> Clip:
        gc.collect()
        assert not any(reference() for reference in alive[:-1])
        clip = render_clip(number, "A", 8, (32, 32))
        alive.append(weakref.ref(clip.frames.untyped_storage()))
        return clip

    found = evaluate_model(
        model,
        4,
        ClipSource(["a", "b", "c"], True, load),
        CPU,
        argmax="after",
        rendered=3,
        pictures=2,
        lpips=None,
        scored=lambda scores, done, total: heard.append((scores.name, done, total)),
    )
    assert heard == [("a", 1, 3), ("b", 2, 3), ("c", 3, 3)]
    assert [clip.name for clip in found.clips] == ["a", "b", "c"]
    assert found.audit is not None
    assert found.audit.clips == 3
    gc.unfreeze()
