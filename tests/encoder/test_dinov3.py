"""DINOv3: tokens against timm's, the rotation against a loop, the names in files."""

import math

import pytest
import torch
from torch import Tensor

from slotcli.build import build_model, vit_shapes
from slotcli.definition import parse_spec, spec_json
from slotcli.encoder.rotary import rotated, rotation
from slotcli.encoder.vit import Vit
from slotcli.errors import ConfigError
from slotcli.files.model_folders import sources
from slotcli.published.vit_weights import backbone_tensors
from slotcli.spec import SlotModelSpec, VitSpec

timm = pytest.importorskip("timm")

CPU = torch.device("cpu")
_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
_DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
NETWORKS = {"vit_small_patch16_dinov3": "dinov3-vits16", "vit_base_patch16_dinov3": "dinov3-vitb16"}


def ours(name: str, blocks: int = 2) -> Vit:
    """The network of the table of sources, with fewer blocks and no weights."""
    return vit_shapes(VitSpec.model_validate({**(sources()[name].vit or {}), "blocks": blocks}))


def theirs(name: str) -> torch.nn.Module:
    """timm's network with weights that hide nothing."""
    generator = torch.Generator().manual_seed(0)
    network = timm.create_model(name, depth=2, num_classes=0).eval()
    for part, tensor in network.named_parameters():
        tensor.detach().normal_(generator=generator)
        if "gamma" in part:
            tensor.detach().mul_(0.1).add_(0.5)
        elif tensor.dim() in (2, 4):
            tensor.detach().div_(tensor[0].numel() ** 0.5)
    return network


def loaded(own: Vit, state: dict[str, Tensor]) -> Vit:
    own.load_state_dict(backbone_tensors(state, 2), assign=True)
    return own.requires_grad_(False)


@torch.no_grad()
@pytest.mark.parametrize("biases", ["", "_qkvb"])
@pytest.mark.parametrize("name", NETWORKS)
def test_tokens_equal_timms(name: str, biases: str) -> None:
    network = theirs(name + biases)
    own = loaded(ours(NETWORKS[name]), network.state_dict())
    # As many pixels as its users have, once; the rotation depends on the grid alone.
    for size in [(256, 256), (96, 160)] if (name, biases) in _LARGE else [(64, 112)]:
        seen = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
        (expected,) = network.forward_intermediates(
            ((seen + 1) / 2 - _MEAN) / _DEVIATION, indices=1, norm=False, intermediates_only=True
        )
        assert (own(seen) - expected).norm() / expected.norm() < 1e-6


_LARGE = [("vit_small_patch16_dinov3", ""), ("vit_base_patch16_dinov3", "_qkvb")]


def test_the_rotation_against_a_loop() -> None:
    """Row, then column, in the first half of a head's channels and again in the second."""
    prefix, (height, width), channels = 2, (2, 3), 8
    heads = torch.randn(1, 1, prefix + 6, channels, generator=torch.Generator().manual_seed(0))
    found = rotated(heads, rotation((height, width), channels, prefix, CPU))[0, 0]
    assert torch.equal(found[:prefix], heads[0, 0, :prefix])
    for row in range(height):
        for column in range(width):
            patch = prefix + row * width + column
            place = 2 * (row + 0.5) / height - 1, 2 * (column + 0.5) / width - 1
            periods = [1.0, 100 ** (2 / 4)]
            angles = [2 * math.pi * one / period for one in place for period in periods]
            for channel, angle in enumerate(angles):
                x, y = heads[0, 0, patch, channel].item(), heads[0, 0, patch, channel + 4].item()
                wanted = x * math.cos(angle) - y * math.sin(angle)
                other = y * math.cos(angle) + x * math.sin(angle)
                assert found[patch, channel].item() == pytest.approx(wanted, abs=1e-5)
                assert found[patch, channel + 4].item() == pytest.approx(other, abs=1e-5)


def test_metas_layout_is_the_same_network() -> None:
    state = {
        name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma"): tensor
        for name, tensor in theirs("vit_small_patch16_dinov3_qkvb").state_dict().items()
    }
    wanted = backbone_tensors(state, 2)
    meta = {}
    for name, tensor in state.items():
        if name.endswith("q_bias"):
            keys = torch.full_like(tensor, 7.0)  # what its mask removes
            bias = name.replace("q_bias", "qkv.bias")
            meta[bias] = torch.cat([tensor, keys, state[name.replace("q_bias", "v_bias")]])
            meta[f"{bias}_mask"] = torch.ones_like(meta[bias])
        elif not name.endswith("v_bias"):
            meta[name.replace("reg_token", "storage_tokens")] = tensor
    meta |= {"mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.ones(16)}
    meta |= {"local_cls_norm.weight": torch.ones(384)}
    found = backbone_tensors(meta, 2)
    assert found.keys() == wanted.keys() == ours("dinov3-vits16").state_dict().keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    bias = found["blocks.1.attn.qkv.bias"].chunk(3)
    assert [bool(part.any()) for part in bias] == [True, False, True]


def test_a_definition_has_a_table_of_positions_or_none(
    feature_specs: dict[str, SlotModelSpec],
) -> None:
    values = spec_json(feature_specs["patch_mlp"])
    backbone = values["encoder"]["backbone"]
    with pytest.raises(ConfigError, match="table of positions"):
        parse_spec(
            values | {"encoder": values["encoder"] | {"backbone": backbone | {"grid": None}}}, "t"
        )
    rotary = backbone | {"grid": None, "positions": "rotary", "registers": 4}
    spec = parse_spec(values | {"encoder": values["encoder"] | {"backbone": rotary}}, "t")
    assert isinstance(spec, SlotModelSpec)
    torch.manual_seed(0)
    model = build_model(spec).eval()
    assert not any("pos_embed" in name for name in model.state_dict())
    frames = torch.randint(0, 256, (1, 2, 3, 28, 28), dtype=torch.uint8)
    track = model.encode(frames)
    assert model.soft_masks(track).shape == (1, 2, 3, 4, 4)
    vit = model.encoder.backbone
    there, elsewhere = torch.zeros(1, 3, 28, 28), torch.zeros(1, 3, 28, 28)
    there[:, :, :7, :7] = elsewhere[:, :, 21:, 21:] = 1.0
    with torch.no_grad():  # the same patch at another place is another token
        first, last = vit(there)[0, :, 0, 0], vit(elsewhere)[0, :, 3, 3]
    assert (first - last).norm() / first.norm() > 1e-5
