import torch

from slotcli.data.datasets import VALIDATION_SEEDS, SynthDataset
from slotcli.data.held_out import held_out_clips
from slotcli.data.scenes import render_clip
from slotcli.spec import SynthSpec


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
