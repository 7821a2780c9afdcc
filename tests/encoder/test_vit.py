"""The vision transformer against timm's, which the authors of the published models ran."""

import pytest
import torch
from torch import Tensor

from slotcli.compute.precision import to_bf16
from slotcli.encoder.vit import Vit

timm = pytest.importorskip("timm")

_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
_DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
# Real widths, heads and patches; two of their twelve blocks. Each with the shapes tried.
_NETWORKS = {
    "vit_small_patch16_224.dino": (16, 384, 6, 14, False, 0, [(224, 224), (64, 112)]),
    "vit_base_patch8_224.dino": (8, 768, 12, 28, False, 0, [(64, 48)]),
    "vit_base_patch16_224.dino": (16, 768, 12, 14, False, 0, [(96, 64)]),
    "vit_small_patch14_dinov2.lvd142m": (14, 384, 6, 37, True, 0, [(98, 126)]),
    "vit_base_patch14_dinov2.lvd142m": (14, 768, 12, 37, True, 0, [(98, 56)]),
    "vit_small_patch14_reg4_dinov2.lvd142m": (14, 384, 6, 37, True, 4, [(56, 84)]),
    "vit_base_patch14_reg4_dinov2.lvd142m": (14, 768, 12, 37, True, 4, [(56, 84)]),
}


def ours(name: str, blocks: int = 2, with_keys: bool = False) -> Vit:
    patch, width, heads, side, layer_scale, registers, _ = _NETWORKS[name]
    with torch.device("meta"):  # its weights are timm's
        return Vit(
            patch=patch,
            width=width,
            heads=heads,
            blocks=blocks,
            grid=(side, side),
            layer_scale=layer_scale,
            registers=registers,
            with_keys=with_keys,
        )


def theirs(name: str) -> torch.nn.Module:
    """timm's network with weights that hide nothing: no scale near 0, tokens and positions of 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        network = timm.create_model(name, depth=2, num_classes=0, dynamic_img_size=True)
    for part, tensor in network.to_empty(device="cpu").eval().named_parameters():
        tensor.detach().normal_(generator=generator)
        if part.endswith("gamma"):
            tensor.detach().mul_(0.1).add_(0.5)
        elif tensor.dim() in (2, 4):
            tensor.detach().div_(tensor[0].numel() ** 0.5)
    return network


def loaded(network: torch.nn.Module, own: Vit) -> Vit:
    # What a published checkpoint lacks as well: the final norm is never applied.
    state = {key: value for key, value in network.state_dict().items() if "norm." not in key}
    own.load_state_dict(state, assign=True)
    return own.requires_grad_(False)


def frames(size: tuple[int, int], count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, *size, generator=generator) * 2 - 1


def for_timm(seen: Tensor) -> Tensor:
    return ((seen + 1) / 2 - _MEAN) / _DEVIATION


@torch.no_grad()
@pytest.mark.parametrize("name", _NETWORKS)
def test_tokens_of_the_last_block_equal_timms(name: str) -> None:
    network = theirs(name)
    own = loaded(network, ours(name))
    for size in _NETWORKS[name][-1]:
        seen = frames(size)
        (expected,) = network.forward_intermediates(
            for_timm(seen), indices=1, norm=False, intermediates_only=True
        )
        difference = (own(seen) - expected).norm() / expected.norm()
        assert difference < 1e-6


def test_the_keys_follow_the_tokens_where_gradients_are_computed() -> None:
    name = "vit_small_patch14_dinov2.lvd142m"
    network, seen = theirs(name), frames((42, 28))
    own = loaded(network, ours(name, with_keys=True))
    read: list[Tensor] = []
    network.get_submodule("blocks.1.attn.qkv").register_forward_hook(
        lambda module, inputs, output: read.append(output[:, 1:, 384:768])
    )
    with torch.no_grad():
        network.forward_features(for_timm(seen))
        assert own(seen).shape == (1, 384, 3, 2)
    both = own(seen)
    keys = both[:, 384:].flatten(2).transpose(1, 2)
    torch.testing.assert_close(keys, read[0], atol=1e-5, rtol=1e-5)
    assert not both.requires_grad


def test_it_learns_once_its_weights_are_not_frozen() -> None:
    own = Vit(patch=16, width=8, heads=2, blocks=1, grid=(2, 2))
    assert own(frames((32, 32))).requires_grad
    assert not own.requires_grad_(False)(frames((32, 32))).requires_grad


@torch.no_grad()
def test_a_frame_is_alone_and_half_precision_is_near() -> None:
    own = loaded(theirs("vit_small_patch16_224.dino"), ours("vit_small_patch16_224.dino"))
    seen = frames((64, 48), count=3)
    exact = own(seen)
    assert torch.equal(own(seen[1:2]), exact[1:2])
    to_bf16(own)
    near = own(seen.bfloat16()).float()
    assert 1e-5 < (near - exact).norm() / exact.norm() < 0.02
