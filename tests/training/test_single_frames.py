"""The frames that a codec learns from, and its figure on those held out."""

import math

import numpy as np
import pytest
import torch

from slotcli.build import build_codec
from slotcli.codecs.dvae import Dvae
from slotcli.codecs.vqvae import Vqvae
from slotcli.data.datasets import SynthDataset
from slotcli.model import denormalise, normalise
from slotcli.spec import CodecModelSpec, SynthSpec
from slotcli.training.single_frames import draw_frames, psnr_alone


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


@pytest.mark.parametrize("kind", ["vqvae", "dvae"])
def test_psnr_is_of_all_frames_together(kind: str, tiny_codec_spec: CodecModelSpec) -> None:
    torch.manual_seed(0)
    codec: Vqvae | Dvae = Dvae(8, 12) if kind == "dvae" else build_codec(tiny_codec_spec)
    frames = torch.randint(256, (11, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        drawn = denormalise(codec.decode(codec.encode(normalise(frames))))
    error = np.mean((drawn.numpy().astype(np.float64) - frames.numpy()) ** 2)
    found = psnr_alone(codec, frames, torch.device("cpu"))
    assert found == pytest.approx(20 * math.log10(255) - 10 * math.log10(error), abs=1e-4)
