"""The protocol of SlotContrast and VideoSAUR against loops of its definition, and known cases."""

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torchvision.transforms.functional import center_crop

from slotcli.build import build_model
from slotcli.errors import UsageError
from slotcli.evaluation.intervals import mean_interval, pooled_interval
from slotcli.evaluation.protocol import (
    ProtocolScorer,
    bicubic,
    central_square,
    nearest_exact,
    protocol_for,
    video_samples,
)
from slotcli.evaluation.segmenter import Segmenter
from slotcli.evaluation.sources import ClipSource
from slotcli.kernels import mask_argmax
from slotcli.model import normalise
from slotcli.spec import SlotModelSpec
from slotcli.types import Clip, SlotTrack

SHAPE = (3, 6, 7)


def by_definition(truth: np.ndarray, predicted: np.ndarray, background: bool) -> dict[str, float]:
    """FG-ARI and mBO of one video or frame from one-hot masks; a score without a value is left out.

    The first true mask is the background where there is one, and no mask at all otherwise.
    """
    ids = range(int(truth.max()) + 1)
    points = np.arange(truth.size)
    true_masks = [truth.reshape(-1) == number for number in ids]
    slots = [predicted.reshape(-1) == number for number in range(256)]
    labelled = any(mask.any() for mask in true_masks[0 if background else 1 :])
    objects = [mask for mask in true_masks[1:] if mask.any()]
    found: dict[str, float] = {}
    if labelled:
        table = [[0.0] * len(slots) for _ in objects]
        for point in points:
            for row, mask in enumerate(objects):
                if mask[point]:
                    table[row][int(predicted.reshape(-1)[point])] += 1.0
        pairs = sum(n * (n - 1) for row in table for n in row)
        rows = [sum(row) for row in table]
        columns = [sum(column) for column in zip(*table, strict=True)]
        of_rows = sum(n * (n - 1) for n in rows)
        of_columns = sum(n * (n - 1) for n in columns)
        total = sum(rows)
        chance = of_rows * of_columns / max(total * (total - 1), 1)
        least = (of_rows + of_columns) / 2 - chance
        found["fg_ari"] = (pairs - chance) / least if least else 1.0
    if objects:
        best = [max((m & s).sum() / (m | s).sum() for s in slots if s.any()) for m in objects]
        found["mbo"] = float(np.mean(best))
    return found


@pytest.mark.parametrize("background", [True, False])
def test_scores_equal_a_loop_over_one_hot_masks(background: bool) -> None:
    rng = np.random.default_rng(0)
    for number in range(24):
        objects, slots = rng.integers(1, 6, 2)
        truth, predicted = (
            rng.integers(0, count, SHAPE).astype(np.uint8) for count in (objects, slots)
        )
        if number % 3 == 0:
            truth[0] = 0  # a frame without objects
        found = video_samples(truth, predicted, background=background)
        parts = {"video": [(truth, predicted)], "image": list(zip(truth, predicted, strict=True))}
        for kind, pairs in parts.items():
            expected = [by_definition(one, other, background) for one, other in pairs]
            for score in ("fg_ari", "mbo"):
                wanted = [one.get(score) for one in expected]
                assert found[f"{kind}_{score}"] == [
                    None if value is None else pytest.approx(value, abs=1e-12) for value in wanted
                ]
        front = truth > 0
        if front.any():
            rand = adjusted_rand_score(truth[front], predicted[front])
            assert found["video_fg_ari"] == [pytest.approx(rand)]


def test_known_cases() -> None:
    truth = np.zeros((2, 4, 6), np.uint8)
    truth[:, :2, :3], truth[:, 2:, 3:] = 1, 2
    perfect = video_samples(truth, truth + 3, background=True)
    assert perfect == {
        "video_fg_ari": [1.0],
        "video_mbo": [1.0],
        "image_fg_ari": [1.0, 1.0],
        "image_mbo": [1.0, 1.0],
    }
    # A slot of an object that changes with the frame is right in each frame, and wrong in the clip.
    renamed = truth.copy()
    renamed[1][truth[1] > 0] += 5
    swapped = video_samples(truth, renamed, background=True)
    assert swapped["image_mbo"] == [1.0, 1.0]
    assert swapped["video_mbo"] == [0.5]
    # More slots than objects: only the best counts, and is smaller than its object.
    halves = truth.copy()
    halves[:, 0, :3] = 7
    assert video_samples(truth, halves, background=True)["video_mbo"] == [0.75]
    # One object alone: divided, its pairs agree no more than by chance.
    one = (truth == 1).astype(np.uint8)
    assert video_samples(one, one, background=False)["video_fg_ari"] == [1.0]
    assert video_samples(one, halves, background=False)["video_fg_ari"] == [0.0]
    # One slot takes all.
    assert video_samples(truth, truth * 0, background=True)["video_mbo"] == [0.25]


def test_without_an_object_the_truth_decides() -> None:
    """With a true mask of the background their formula gives 1; without one the clip is skipped."""
    nothing, anything = np.zeros(SHAPE, np.uint8), np.ones(SHAPE, np.uint8)
    masked = video_samples(nothing, anything, background=True)
    assert masked["video_fg_ari"] == [1.0]
    assert masked["image_fg_ari"] == [1.0] * 3
    assert masked["video_mbo"] == [None]
    unlabelled = video_samples(nothing, anything, background=False)
    assert unlabelled["video_fg_ari"] == [None]
    assert unlabelled["image_fg_ari"] == unlabelled["image_mbo"] == [None] * 3
    ignored = video_samples(nothing + 255, anything, background=True)
    assert ignored["video_fg_ari"] == [None]


@pytest.mark.parametrize("shape", [(36, 64), (63, 40), (45, 48), (48, 45), (47, 45)])
def test_the_square_is_torchvisions(shape: tuple[int, int]) -> None:
    frames = torch.randint(0, 256, (2, 3, *shape), dtype=torch.uint8)
    labels = frames[:, 0]
    found = central_square(Clip(frames, labels))
    side = min(shape)
    assert torch.equal(found.frames, center_crop(frames, [side, side]))
    assert found.labels is not None
    assert torch.equal(found.labels, center_crop(labels, [side, side]))


@pytest.mark.parametrize("size", [(28, 28), (10, 10), (50, 50)])
def test_resizing_equals_opencvs(size: tuple[int, int]) -> None:
    frames = torch.randint(0, 256, (1, 3, 20, 20), dtype=torch.uint8)
    picture = frames[0].permute(1, 2, 0).numpy().astype(np.float32) / 255
    wanted = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    np.testing.assert_allclose(bicubic(frames, size)[0].permute(1, 2, 0), wanted, atol=1e-5)
    centres = ((np.arange(size[0]) + 0.5) * 20 / size[0]).astype(int)
    labels = frames[0, :1]
    assert torch.equal(nearest_exact(labels, size), labels[:, centres[:, None], centres])


def test_of_films_videosaur_scores_chunks_of_six() -> None:
    labels = torch.arange(14, dtype=torch.uint8)[:, None, None].expand(-1, 40, 60)
    clip = Clip(labels[:, None].expand(-1, 3, -1, -1), labels)
    films = protocol_for("videosaur", "ytvis", "m", (28, 28))
    parts = list(films.videos(clip))
    assert [part.frames[:, 0, 0, 0].tolist() for part in parts] == [
        list(range(6)),
        list(range(6, 12)),
    ]
    assert parts[0].frames.shape[2:] == (320, 320)
    assert (films.masks, films.background) == ((224, 224), False)
    assert protocol_for("videosaur", "ytvis", "m", (518, 518)).short_side == 518
    others = [protocol_for(name, kind, "m", (28, 28)) for name, kind in _WHOLE]
    assert [(one.chunk, one.short_side, one.background) for one in others] == [
        (None, 320, False),
        (None, None, False),
        (None, None, True),
        (None, None, True),
    ]
    assert all(len(list(one.videos(clip))) == 1 for one in others)
    with pytest.raises(UsageError, match="48x32"):
        protocol_for("slotcontrast", "movi", "m", (32, 48))


_WHOLE = [
    ("slotcontrast", "ytvis"),
    ("slotcontrast", "davis"),
    ("videosaur", "movi"),
    ("slotcontrast", None),
]


def test_at_the_models_size_labels_are_those_of_the_segmenter(
    feature_specs: dict[str, SlotModelSpec],
) -> None:
    """What differs is resizing alone; a clip of more than one chunk carries its slots on."""
    torch.manual_seed(0)
    model = build_model(feature_specs["patch_mlp"]).eval()
    frames = torch.randint(0, 256, (18, 3, 28, 28), dtype=torch.uint8)
    truth = frames[:, 0] // 100
    device = torch.device("cpu")
    clip = ClipSource(["one"], True, lambda _: Clip(frames, truth))
    protocol = protocol_for("slotcontrast", "movi", "m", (28, 28))
    rows = ProtocolScorer(protocol, clip, model, "model", 3, device)(0)
    labels = Segmenter(model, device)(frames[None])[0]
    assert len(np.unique(labels)) > 1
    expected = video_samples(truth.numpy(), labels, background=True)
    assert rows["model"] == expected
    assert set(rows) > {"model", "grid"}
    assert all(len(samples["image_mbo"]) == 18 for samples in rows.values())


def test_slotcurri_scores_the_way_back(feature_specs: dict[str, SlotModelSpec]) -> None:
    """To the end in one pass of the encoder, from there to the start frame by frame."""
    torch.manual_seed(0)
    model = build_model(feature_specs["patch_mlp"]).eval()
    frames = torch.randint(0, 256, (18, 3, 28, 28), dtype=torch.uint8)
    truth = frames[:, 0] // 100
    source = ClipSource(["one"], True, lambda _: Clip(frames, truth))
    samples = {}
    for name in ("slotcontrast", "slotcurri"):
        protocol = protocol_for(name, "movi", "m", (28, 28))
        scorer = ProtocolScorer(protocol, source, model, "model", 3, torch.device("cpu"))
        samples[name] = scorer(0)["model"]
    unit = normalise(frames)[None]
    with torch.inference_mode():
        track = model.encoder(unit)
        tracks = [SlotTrack(track.slots[:, -1:], track.attention[:, -1:])]
        for number in reversed(range(17)):
            tracks.append(model.encoder(unit[:, number : number + 1], tracks[-1].slots[:, -1]))
        masks = torch.cat([model.soft_masks(own)[0] for own in reversed(tracks)])
    labels = mask_argmax(masks, (28, 28)).numpy()
    assert samples["slotcurri"] == video_samples(truth.numpy(), labels, background=True)
    assert samples["slotcurri"] != samples["slotcontrast"]
    with pytest.raises(UsageError, match="--protocol slotcontrast"):
        protocol_for("slotcurri", "movi", "m", (28, 28), turns_back=False)


def test_frames_of_all_clips_count_alike() -> None:
    clips = [[0.0, 0.2, None], [1.0], [0.3, 0.5, 0.7]]
    found = pooled_interval(clips, seed=0)
    assert found.mean == pytest.approx((0.2 + 1.0 + 1.5) / 6)
    assert (found.count, found.dropped) == (6, 1)
    assert found.mean is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.mean < found.high
    single = pooled_interval([[0.5], [0.1], [0.9]], seed=0)
    assert single == mean_interval([0.5, 0.1, 0.9], seed=0)
    assert pooled_interval([[0.1, 0.3], [None]], seed=0).low is None
    assert pooled_interval([[]], seed=0).mean is None
