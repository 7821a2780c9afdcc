"""A frozen encoder's outputs that are kept: those that it gives, each clip encoded once."""

import pytest
import torch

from slotcli.build import build_model
from slotcli.checkpoint import LoadedModel, start_from
from slotcli.data.rendered import SynthDataset
from slotcli.data.windows import Window
from slotcli.definition import parse_spec, spec_json
from slotcli.errors import ConfigError, DataError
from slotcli.model import SlotModel, normalise
from slotcli.spec import SlotModelSpec, SynthSpec
from slotcli.training.encoder_cache import EncodedClips
from slotcli.training.parallel.peers import Part
from slotcli.training.tasks.slots import SlotTask
from slotcli.types import ClipBatch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clips() -> SynthDataset:
    return SynthDataset(SynthSpec(mix={"A": 1.0}, clips=2, frames=4), (32, 32))


@pytest.fixture
def model(tiny_drawing_spec: SlotModelSpec) -> SlotModel:
    torch.manual_seed(0)
    return build_model(tiny_drawing_spec)


def test_what_is_kept_is_what_the_networks_say_of_whole_clips(
    model: SlotModel, clips: SynthDataset
) -> None:
    kept = EncodedClips(model, clips, CPU)
    runs = 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    model.encoder.backbone.register_forward_pre_hook(count)
    windows = [Window(1, 3, False), Window(0, 0, True), Window(1, 1, False)]
    model.train()
    for _ in range(2):
        slots, seen, targets = kept.of(windows)
    assert runs == 2
    assert model.encoder.training
    model.eval()
    for row, window in enumerate(windows):
        frames = clips.clip(window.index, 0, 4).frames
        normal = normalise(frames.flip(-1) if window.flip else frames)
        with torch.no_grad():
            track, target = model.encoder(normal[None]), model.decoder.target(normal)
        assert track.appearance is not None
        assert seen.appearance is not None
        for found, wanted in (
            (slots, track.slots[0]),
            (seen.attention, track.attention[0]),
            (seen.appearance, track.appearance[0]),
            (targets, target),
        ):
            assert found.dtype == torch.float32
            torch.testing.assert_close(found[row], wanted[window.start], atol=2e-3, rtol=2e-3)


def test_clips_that_do_not_fit_are_refused(model: SlotModel, clips: SynthDataset) -> None:
    with pytest.raises(ConfigError, match="2 clips would take"):
        EncodedClips(model, clips, CPU, bound=10_000).of([Window(0, 0, False)])


def test_only_the_decoder_learns_from_frames_in_parts(
    model: SlotModel, tiny_drawing_spec: SlotModelSpec, clips: SynthDataset
) -> None:
    train = tiny_drawing_spec.train.model_copy(update={"batch_size": 4})
    spec = tiny_drawing_spec.model_copy(update={"train": train})
    held_out = ClipBatch(torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8))
    task = SlotTask(spec, model, clips, held_out, CPU)
    assert "mask" not in task.figures
    groups = task.parameter_groups()
    assert {id(p) for group in groups for p in group["params"]} == {
        id(p) for p in model.decoder.parameters() if p.requires_grad
    }
    with task.batches:
        loss, figures = task.loss(task.batch(0), 0)
        loss.backward()
        halves = [task.batches.of(1, Part(index, 2)) for index in range(2)]
        assert [*halves[0], *halves[1]] == list(task.batches.of(1, Part()))
    assert figures == {}
    assert all(p.grad is None for p in model.encoder.parameters())


def test_an_encoder_is_taken_from_and_into_a_model_without_a_decoder(
    model: SlotModel, tiny_drawing_spec: SlotModelSpec, tmp_path
) -> None:
    values = spec_json(tiny_drawing_spec)
    values["decoder"] = {"kind": "none"}
    values["train"] |= {"codec": None, "cache_encoder": False}
    spec = parse_spec(values, "tests")
    assert isinstance(spec, SlotModelSpec)
    masks_only = build_model(spec)
    before = {name: tensor.clone() for name, tensor in model.decoder.state_dict().items()}
    remark = start_from(model, LoadedModel(spec, masks_only, 0, "", tmp_path))
    assert remark is not None
    assert "untrained" in remark
    for name, tensor in masks_only.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], tensor)
    assert all(torch.equal(t, before[name]) for name, t in model.decoder.state_dict().items())
    other = build_model(spec)
    remark = start_from(other, LoadedModel(tiny_drawing_spec, model, 0, "", tmp_path))
    assert remark is not None
    assert "does not use" in remark
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(other.encoder.state_dict()[name], tensor)
    values["num_slots"] += 1
    wider = parse_spec(values, "tests")
    assert isinstance(wider, SlotModelSpec)
    with pytest.raises(DataError, match="do not fit"):
        start_from(build_model(wider), LoadedModel(tiny_drawing_spec, model, 0, "", tmp_path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"freeze_encoder": False}, "needs train.freeze_encoder"),
        ({"contrast_weight": 1.0}, "an encoder that learns"),
        ({"next_frame": 0.5}, "layout of a frame to come"),
    ],
)
def test_what_a_cached_encoder_cannot_do_is_refused(
    tiny_drawing_spec: SlotModelSpec, changes: dict[str, object], said: str
) -> None:
    values = spec_json(tiny_drawing_spec)
    values["train"] |= changes
    with pytest.raises(ConfigError, match=said):
        parse_spec(values, "tests")
