"""Half precision: what is rounded, how far results move, and that it is recorded."""

import copy

import pytest
import torch
from PIL import Image
from torch import nn

from slotcli.build import build_model
from slotcli.compute.precision import cast_like, precision_of, to_bf16
from slotcli.decoders.base import RenderOptions
from slotcli.spec import SlotModelSpec
from slotcli.tracks.slot_file import read_slot_file

pytestmark = pytest.mark.slow


@torch.inference_mode()
def test_every_system_draws_nearly_the_same_pictures(system_spec: SlotModelSpec) -> None:
    torch.manual_seed(0)
    decoder = build_model(system_spec).decoder
    assert isinstance(decoder, nn.Module)
    for parameter in decoder.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    slots, drawing = torch.randn(2, 3, 16), RenderOptions("ddim", 2)
    exact = decoder.eval().render(slots, drawing)
    rounded = copy.deepcopy(decoder)
    to_bf16(*rounded.networks)
    assert {precision_of(network) for network in rounded.networks} <= {"bf16"}
    found = rounded.render(slots, drawing)
    assert found.dtype == torch.float32
    if rounded.networks:
        assert not torch.equal(found, exact)
    # Half a percent of the range, but for the few places where another code is the nearest.
    assert ((found - exact).abs() < 0.02).float().mean() > 0.9


def test_only_what_goes_into_a_halved_network_is_rounded() -> None:
    network, x = nn.Conv2d(3, 4, 1), torch.randn(1, 3, 2, 2)
    assert cast_like(network, x) is x
    to_bf16(network)
    assert cast_like(network, x).dtype == torch.bfloat16
    assert network.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("given", "kept"), [((), "fp32"), (("--precision", "bf16"), "bf16")])
def test_masks_are_exact_unless_asked_otherwise(cli, tmp_path, tiny_model, given, kept) -> None:
    (tmp_path / "frames").mkdir()
    picture = torch.randint(256, (40, 40, 3), dtype=torch.uint8).numpy()
    Image.fromarray(picture).save(tmp_path / "frames" / "0.png")
    code, _, err = cli("decompose", "frames", "--out", "out", "--model", tiny_model, *given)
    assert code == 0, err
    found = read_slot_file(tmp_path / "out" / "frames" / "clip.slots.safetensors")
    assert found.metadata["run"]["precision"] == kept
