"""Decoders of features: masks without what they do not need, and no pictures."""

import pytest
import torch
from torch import Tensor, nn

from slotcli.decoders.base import RenderOptions
from slotcli.decoders.patch_mlp import PatchMlp
from slotcli.decoders.slot_mixer import SlotMixer
from slotcli.errors import UnavailableError

GRID = (3, 2)
ATTENTION = torch.zeros(2, 4, *GRID)


@pytest.fixture(params=["patch_mlp", "slot_mixer"])
def decoder(request: pytest.FixtureRequest) -> PatchMlp | SlotMixer:
    torch.manual_seed(0)
    sizes = {"grid": GRID, "slot_dim": 8, "features": 5, "channels": 16, "layers": 2}
    return PatchMlp(**sizes) if request.param == "patch_mlp" else SlotMixer(blocks=2, **sizes)


@pytest.fixture
def slots() -> Tensor:
    return torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1))


def test_masks_are_on_the_grid_and_sum_to_one(decoder: nn.Module, slots: Tensor) -> None:
    masks = decoder.soft_masks(slots, ATTENTION)
    assert masks.shape == (2, 4, *GRID)
    torch.testing.assert_close(masks.sum(1), torch.ones(2, *GRID))
    assert masks.std(dim=(2, 3)).max() > 1e-3  # they depend on the position
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(decoder.soft_masks(slots[:, order], ATTENTION), masks[:, order])
    alone = decoder.soft_masks(slots[1:], ATTENTION[1:])
    assert torch.equal(alone, masks[1:])


@torch.no_grad()
def test_the_patch_mlp_mixes_features_by_its_masks(slots: Tensor) -> None:
    """Slot by slot and patch by patch, in float64."""
    torch.manual_seed(0)
    decoder = PatchMlp(grid=GRID, slot_dim=8, features=5, channels=16, layers=2).double()
    slots = slots.double()
    masks = decoder.soft_masks(slots, ATTENTION).flatten(2)
    found = decoder.reconstruction(slots)
    for frame in range(2):
        for patch in range(6):
            each = [decoder.layers(slot + decoder.positions[0, 0, patch]) for slot in slots[frame]]
            shares = torch.stack([own[-1] for own in each]).softmax(0)
            torch.testing.assert_close(masks[frame, :, patch], shares)
            mixed = sum(share * own[:-1] for share, own in zip(shares, each, strict=True))
            torch.testing.assert_close(found[frame, patch], mixed)


@torch.no_grad()
def test_masks_take_no_features(decoder: nn.Module, slots: Tensor) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError("features were computed")

    heavy = decoder.layers[-1] if isinstance(decoder, PatchMlp) else decoder.renderer
    heavy.register_forward_hook(unwanted)
    decoder.soft_masks(slots, ATTENTION)
    with pytest.raises(AssertionError, match="features were computed"):
        decoder.reconstruction(slots)


def test_the_loss_is_of_the_features_alone(decoder: nn.Module, slots: Tensor) -> None:
    target = decoder.reconstruction(slots)[..., :5].detach().transpose(1, 2).unflatten(2, GRID)
    assert decoder.loss(slots, target).item() == pytest.approx(0, abs=1e-10)
    assert decoder.loss(slots, target + 2).item() == pytest.approx(4, rel=1e-4)


def test_there_are_no_pictures(decoder: nn.Module, slots: Tensor) -> None:
    assert not decoder.draws
    with pytest.raises(UnavailableError, match="no pictures") as caught:
        decoder.render(slots, RenderOptions())
    assert "things-128" in (caught.value.advice or "")
