"""Training fits the deblocking filter to the renderings of its own weights."""

import shutil
from pathlib import Path

import pytest
import torch

from slotcli.build import build_model
from slotcli.checkpoint import WEIGHTS, load_model, read_tensors
from slotcli.data.rendered import SynthDataset
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.definition import parse_spec, spec_json
from slotcli.model import normalise
from slotcli.spec import SlotModelSpec, SynthSpec
from slotcli.training.loop import train
from slotcli.training.tasks.slots import SlotTask
from slotcli.types import ClipBatch


def with_filter(spec: SlotModelSpec, **options: object) -> SlotModelSpec:
    values = spec_json(spec)
    values["decoder"]["deblocking"] = True
    values["train"] |= {"steps": 4, "evaluate_every": 2, "deblocking_frames": 20} | options
    changed = parse_spec(values, "tests")
    assert isinstance(changed, SlotModelSpec)
    return changed


def task_of(spec: SlotModelSpec, clips: SynthDataset) -> SlotTask:
    torch.manual_seed(0)
    frames = torch.stack([clips.clip(index, 0, 3).frames for index in range(2)])
    return SlotTask(spec, build_model(spec), clips, ClipBatch(frames), torch.device("cpu"))


@pytest.fixture
def clips() -> SynthDataset:
    return SynthDataset(SynthSpec(mix={"A": 1.0}, clips=4, frames=3), (32, 32))


@pytest.fixture(params=["cached encoder", "clips"])
def spec(request: pytest.FixtureRequest, tiny_drawing_spec: SlotModelSpec) -> SlotModelSpec:
    cached = request.param == "cached encoder"
    return with_filter(tiny_drawing_spec, cache_encoder=cached, freeze_encoder=cached)


def test_its_renderings_come_nearer_to_the_frames(spec: SlotModelSpec, clips: SynthDataset) -> None:
    task = task_of(spec, clips)
    model = task.module.eval()
    decoder = model.decoder
    assert isinstance(decoder, LatentDiffusion)
    assert decoder.deblocking is not None
    frames = normalise(torch.stack([clips.clip(index, 0, 3).frames for index in range(4)]))
    with torch.no_grad():
        track = model.encoder(frames)

    def error() -> float:
        drawn = decoder.render(track.slots.flatten(0, 1), RenderOptions(), track.layout)
        return (drawn - frames.flatten(0, 1)).square().mean().item()

    before = error()
    task.complete()
    assert error() < 0.8 * before
    fitted = decoder.deblocking.weight.clone()
    task.complete()
    assert torch.equal(decoder.deblocking.weight, fitted)  # to renderings without the filter


def test_weights_hold_the_filter_and_a_resumed_run_the_same(
    spec: SlotModelSpec, clips: SynthDataset, tmp_path: Path
) -> None:
    def run() -> dict[str, torch.Tensor]:
        train(spec, task_of(spec, clips), tmp_path, resume=True, command=["tests"], progress=_none)
        return read_tensors(tmp_path / WEIGHTS)[0]

    whole = run()
    assert whole["decoder.deblocking.weight"].abs().max() > 0
    shutil.rmtree(tmp_path / "state" / "step-00000004")  # as if killed before it was saved
    (tmp_path / WEIGHTS).unlink()
    resumed = run()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    loaded = load_model(str(tmp_path)).slot_model()[1].decoder
    assert isinstance(loaded, LatentDiffusion)
    assert loaded.deblocking is not None
    assert torch.equal(loaded.deblocking.weight, whole["decoder.deblocking.weight"])


def _none(*_: object) -> None:
    pass
