"""Sizes that fit nothing are found when a model is built, and told as a matter of configuration."""

from pathlib import Path

import pytest
import torch

from slotcli.build import build, build_shapes, count_parameters
from slotcli.checkpoint import DEFINITION, model_folders
from slotcli.definition import load_definition, parse_spec, spec_json
from slotcli.errors import ConfigError
from slotcli.spec import CodecModelSpec, SlotModelSpec

Spec = CodecModelSpec | SlotModelSpec


def changed(spec: Spec, **changes: object) -> Spec:
    """The spec with values at keys__joined__like__this."""
    values = spec_json(spec)
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = values
        for parent in parents:
            node = node[parent]
        node[last] = value
    return parse_spec(values, "tests")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"slot_dim": 18}, "18 does not divide into the predictor's 4 heads"),
        ({"encoder__backbone__channels": 12}, "12 channels does not divide into 8 groups"),
        ({"encoder__backbone__channels": 40}, "80 channels does not divide into 32 groups"),
        ({"decoder__channels": 20}, "20 channels does not divide into 8 groups"),
        ({"decoder__channels": 24, "decoder__multipliers": [1, 1]}, "24 channels .* heads of 32"),
        ({"decoder__multipliers": [1, 3, 5], "decoder__channels": 24}, "72 channels"),
        # Each level divides, but not what it is given by the level across: 96 + 40.
        ({"decoder__multipliers": [5, 12], "decoder__channels": 8}, "136 channels"),
        ({"decoder__codec__channels": 20}, "20 channels does not divide into 8 groups"),
        ({"decoder__codec__multipliers": [1, 9]}, "72 channels does not divide into 32 groups"),
    ],
)
def test_a_width_that_does_not_divide_is_refused(
    tiny_slot_spec: SlotModelSpec, changes: dict[str, object], what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        build(changed(tiny_slot_spec, **changes))


def test_a_slot_model_without_predictor_has_no_heads(tiny_slot_spec: SlotModelSpec) -> None:
    assert build(changed(tiny_slot_spec, slot_dim=18, encoder__predictor=None))


def test_a_frame_that_the_codec_cannot_halve_is_refused(tiny_codec_spec: CodecModelSpec) -> None:
    with pytest.raises(ConfigError, match=r"\[32, 31\] does not divide by 2"):
        build(changed(tiny_codec_spec, size=[32, 31]))


def test_a_network_has_at_least_one_level(tiny_codec_spec: CodecModelSpec) -> None:
    with pytest.raises(ConfigError, match="multipliers"):
        changed(tiny_codec_spec, codec__multipliers=[])


def test_parameters_are_counted_without_being_made(tiny_slot_spec: SlotModelSpec) -> None:
    state = torch.get_rng_state()
    counted = count_parameters(tiny_slot_spec)
    assert torch.equal(torch.get_rng_state(), state)
    assert counted == sum(parameter.numel() for parameter in build(tiny_slot_spec).parameters())


@pytest.mark.parametrize("folder", model_folders(), ids=lambda folder: folder.name)
def test_only_what_files_hold_is_without_values_on_the_meta_device(folder: Path) -> None:
    network = build_shapes(load_definition(folder / DEFINITION))
    held = network.state_dict().keys()
    buffers = dict(network.named_buffers())
    assert {name for name, buffer in buffers.items() if buffer.is_meta} <= held
    names = {name for name, _ in network.named_parameters()}
    assert names <= held
    for name, module in network.named_modules():
        plain = vars(module).values()
        assert not any(isinstance(value, torch.Tensor) and value.is_meta for value in plain), name


def test_constants_are_those_of_a_network_with_memory(tiny_slot_spec: SlotModelSpec) -> None:
    spec = changed(tiny_slot_spec, decoder__null_tokens=0)
    network, real = build_shapes(spec), build(spec)
    compared = 0
    for name, buffer in network.named_buffers():
        if name not in network.state_dict():
            assert torch.equal(buffer, real.get_buffer(name)), name
            compared += 1
    assert compared >= 3  # the positions' grid, the schedule, no null tokens
