"""The model and the samples that come along, as a newcomer meets them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from slotcli.checkpoint import load_model
from slotcli.evaluation.baselines import grid, kmeans_colour, kmeans_colour_position, stripes
from slotcli.evaluation.label_free import used_slots
from slotcli.evaluation.picture_figures import picture_figures
from slotcli.evaluation.segmentation import segmentation_scores
from slotcli.evaluation.verdict import Verdict, judge
from slotcli.spec import CodecModelSpec, SlotModelSpec
from slotcli.tracks.masks import read_masks
from slotcli.video.reader import open_clip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"


@pytest.mark.parametrize("tier", ["tier-a", "tier-c", "tier-e"])
def test_samples_have_masks_of_their_size(tier: str) -> None:
    with open_clip(SAMPLES / f"{tier}.mp4") as reader:
        frames = np.concatenate([chunk.frames for chunk in reader.chunks(8)])
    truth = np.stack(list(read_masks(SAMPLES / f"{tier}.masks.mkv")))
    assert truth.shape == frames.shape[:3] == (24, 128, 128)
    assert set(np.unique(truth)) == set(range(int(truth.max()) + 1))


def test_the_default_model_beats_trivial_divisions_of_a_sample(cli, tmp_path: Path) -> None:
    code, _, err = cli("decompose", SAMPLES / "tier-a.mp4", "--out", tmp_path, "--threads", 1)
    assert code == 0, err
    assert "things-128" in err  # it says which model it used
    found = np.stack(list(read_masks(tmp_path / "tier-a.mp4" / "masks")))
    truth = np.stack(list(read_masks(SAMPLES / "tier-a.masks.mkv")))
    own = segmentation_scores(truth, found)
    with open_clip(SAMPLES / "tier-a.mp4") as reader:
        pictures = np.concatenate([chunk.frames for chunk in reader.chunks(8)])
    frames = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    for trivial in (stripes, grid, kmeans_colour, kmeans_colour_position):
        other = segmentation_scores(truth, trivial(frames, 8, 0))
        assert own.miou is not None
        assert other.miou is not None
        assert own.miou > other.miou
        assert own.ari is not None
        assert other.ari is not None
        # A plain background is one colour: there clusters of colour fit most pixels.
        assert own.ari > other.ari or trivial is kmeans_colour


@pytest.mark.parametrize("model", ["things-128", "tiny-64"])
def test_a_shipped_model_passes_its_audit(cli, model: str) -> None:
    code, out, err = cli("audit", "--model", model, "--clips", 6, "--threads", 1)
    assert code == 0, out + err
    assert out.splitlines()[-1].startswith("Passed: ")


@pytest.mark.parametrize("tier", ["tier-a", "tier-c", "tier-e"])
def test_true_masks_of_a_sample_pass_and_clusters_of_it_do_not(tier: str) -> None:
    with open_clip(SAMPLES / f"{tier}.mp4") as reader:
        frames = np.concatenate([chunk.frames for chunk in reader.chunks(8)])
    truth = np.stack(list(read_masks(SAMPLES / f"{tier}.masks.mkv")))
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()
    windows = [slice(start, start + 6) for start in (0, 6, 12, 18)]
    assert _of_labels([(pictures[part], truth[part]) for part in windows]).passed
    for trivial in (grid, kmeans_colour, kmeans_colour_position):
        found = trivial(pictures, 8, 0)
        assert not _of_labels([(pictures[part], found[part]) for part in windows]).passed


def _of_labels(clips: list[tuple[torch.Tensor, np.ndarray]]) -> Verdict:
    used = float(np.mean([used_slots(labels[None], 255) for _, labels in clips]))
    return judge({**vars(picture_figures(clips)), "used_slots": used}, clips=1)


@pytest.mark.parametrize("name", ["things-128", "tiny-64"])
def test_a_shipped_codec_is_the_one_inside_its_model(name: str) -> None:
    model, codec = load_model(name), load_model(f"vqvae-{name}")
    assert isinstance(model.spec, SlotModelSpec)
    assert isinstance(codec.spec, CodecModelSpec)
    assert model.spec.decoder.codec == codec.spec.codec
    inside = model.module.get_submodule("decoder.codec").state_dict()
    for name, tensor in codec.module.state_dict().items():
        torch.testing.assert_close(inside[name], tensor, rtol=1e-3, atol=1e-4)
