"""EfficientNet-Lite0: timm's network, tap for tap, and the pyramid over it."""

import pytest
import torch
from torch import nn

from slotcli.encoder.efficientnet import TAPS, EfficientNetLite0, FeaturePyramid
from slotcli.published.imagenet import fold_batch_norms

timm = pytest.importorskip("timm")


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """timm's network, its BatchNorms with statistics that are not those of a new one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(
            "tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=(1, 2, 3, 4)
        )
        for name, tensor in network.state_dict().items():
            # Convolutions have no bias here, so every other tensor is a BatchNorm's.
            if "conv" not in name and tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand_like(tensor))
    return network.eval()


def named_as_the_package(network: nn.Module) -> dict[str, torch.Tensor]:
    """timm's tensors under the names of the PyPI package's file."""
    names, block = {"conv_stem": "_conv_stem", "bn1": "_bn0"}, 0
    for stage, blocks in enumerate(network.blocks):
        for index in range(len(blocks)):
            inside = f"blocks.{stage}.{index}."
            parts = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv"}
            parts |= {"bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
            if stage == 0:  # has no expansion
                parts = {"conv_dw": "_depthwise_conv", "bn1": "_bn1"}
                parts |= {"conv_pw": "_project_conv", "bn2": "_bn2"}
            names |= {inside + own: f"_blocks.{block}.{name}" for own, name in parts.items()}
            block += 1
    return {
        f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": tensor
        for name, tensor in network.state_dict().items()
    }


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (32, 224)])
@torch.no_grad()
def test_all_taps_are_those_of_timm(theirs: nn.Module, size: tuple[int, int]) -> None:
    ours = EfficientNetLite0()
    ours.load_state_dict(fold_batch_norms(named_as_the_package(theirs)))
    frames = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found, wanted = ours(frames), theirs(frames)
    assert [tap.shape[1] for tap in found] == list(TAPS.values())
    for tap, exact in zip(found, wanted, strict=True):
        assert exact.std() > 0
        torch.testing.assert_close(tap, exact, rtol=1e-5, atol=1e-5 * exact.abs().max().item())


def test_a_frozen_trunk_has_no_gradient_and_a_free_one_has() -> None:
    pyramid = FeaturePyramid(16)
    frames = torch.rand(1, 3, 32, 64)
    pyramid.trunk.requires_grad_(False)
    pyramid(frames).sum().backward()
    assert all(weight.grad is None for weight in pyramid.trunk.parameters())
    assert pyramid.lateral[0].weight.grad is not None
    pyramid.trunk.requires_grad_(True)
    pyramid(frames).sum().backward()
    assert pyramid.trunk.stem.weight.grad is not None


def test_maps_are_a_quarter_of_the_frames() -> None:
    assert FeaturePyramid(16)(torch.rand(1, 3, 64, 96)).shape == (1, 16, 16, 24)
