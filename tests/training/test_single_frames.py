"""The frames that a codec learns from, and its figure on those held out."""

import math

import numpy as np
import pytest
import torch

from slotcli.build import build_codec
from slotcli.codecs.dvae import Dvae
from slotcli.codecs.vqvae import Vqvae
from slotcli.data.rendered import SynthDataset
from slotcli.model import denormalise, normalise
from slotcli.spec import CodecModelSpec, SynthSpec
from slotcli.training.parallel.peers import Part
from slotcli.training.tasks.single_frames import draw_frames, reconstruction_figures


@pytest.fixture(scope="module")
def clips() -> SynthDataset:
    return SynthDataset(SynthSpec(mix={"A": 1.0}, clips=4, frames=3), (32, 32))


def test_frames_are_those_of_the_clips_and_some_are_mirrored(
    clips: SynthDataset, tiny_codec_spec: CodecModelSpec
) -> None:
    options = tiny_codec_spec.train.model_copy(update={"batch_size": 40, "flip": True})
    frames = draw_frames(clips, options, 3)
    assert torch.equal(draw_frames(clips, options, 3), frames)
    assert not torch.equal(draw_frames(clips, options, 4), frames)
    every = torch.cat([clips.clip(index, 0, 3).frames for index in range(4)])
    upright, mirrored = (
        torch.stack([(frame == known).flatten(1).all(1).any() for frame in frames])
        for known in (every, every.flip(-1))
    )
    assert (upright | mirrored).all()
    assert 5 < int(mirrored.sum()) < 35


def test_frames_in_a_row_are_of_one_clip_and_squares_are_parts_of_them(
    clips: SynthDataset, tiny_codec_spec: CodecModelSpec
) -> None:
    changed = {"batch_size": 12, "flip": True, "frames_per_clip": 3}
    options = tiny_codec_spec.train.model_copy(update=changed)
    whole = draw_frames(clips, options, 3)
    every = [clips.clip(index, 0, 3).frames for index in range(4)]
    every += [clip.flip(-1) for clip in every]
    for group in whole.split(3):
        assert any(torch.equal(group, clip) for clip in every)
    squares = draw_frames(clips, options.model_copy(update={"crop": 8}), 3)
    assert squares.shape == (12, 3, 8, 8)
    found = [
        (frame.unfold(1, 8, 1).unfold(2, 8, 1) == square[:, None, None]).all(-1).all(-1).all(0)
        for frame, square in zip(whole, squares, strict=True)
    ]
    assert all(places.any() for places in found)
    corners = {tuple(places.nonzero()[0].tolist()) for places in found}
    assert len(corners) > 6


def test_parts_of_a_batch_are_its_rows(
    clips: SynthDataset, tiny_codec_spec: CodecModelSpec
) -> None:
    changed = {"batch_size": 6, "frames_per_clip": 3, "crop": 8}
    options = tiny_codec_spec.train.model_copy(update=changed)
    parts = [draw_frames(clips, options, 2, Part(index, 3)) for index in range(3)]
    assert torch.equal(torch.cat(parts), draw_frames(clips, options, 2))


@pytest.mark.parametrize("kind", ["vqvae", "dvae"])
def test_figures_are_of_all_frames_together(kind: str, tiny_codec_spec: CodecModelSpec) -> None:
    torch.manual_seed(0)
    codec: Vqvae | Dvae = Dvae(8, 12) if kind == "dvae" else build_codec(tiny_codec_spec)
    frames = torch.randint(256, (11, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        drawn = denormalise(codec.decode(codec.encode(normalise(frames))))
    off = drawn.numpy().astype(np.float64) - frames.numpy()
    found = reconstruction_figures(codec, frames, torch.device("cpu"))
    psnr = 20 * math.log10(255) - 10 * math.log10(np.mean(off**2))
    assert found["psnr"] == pytest.approx(psnr, abs=1e-4)
    colours = [found[f"error_{colour}"] for colour in ("red", "green", "blue")]
    assert colours == pytest.approx(np.sqrt(np.mean(off**2, axis=(0, 2, 3))).tolist())

    def powers(x: np.ndarray) -> float:  # BT.601: of what is not luma, at half the scale
        luma = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
        blue, red = (x[:, 2] - luma) / 1.772, (x[:, 0] - luma) / 1.402
        return float(np.mean(blue**2 + red**2))

    wanted = powers(off) / powers(frames.numpy().astype(np.float64))
    assert found["chroma_error"] == pytest.approx(wanted, rel=1e-3)


def test_gray_frames_have_no_chroma_to_be_lost(tiny_codec_spec: CodecModelSpec) -> None:
    gray = torch.randint(256, (2, 1, 32, 32), dtype=torch.uint8).expand(-1, 3, -1, -1)
    found = reconstruction_figures(build_codec(tiny_codec_spec), gray, torch.device("cpu"))
    assert found["chroma_error"] is None
