"""The spatial broadcast decoder against Eq. 1 and against itself."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slotcli.codecs.vqvae import Vqvae
from slotcli.decoders.base import Decoder, RenderOptions
from slotcli.decoders.spatial_broadcast import SpatialBroadcast

SIZE = (32, 48)
ORDER = [2, 0, 1]


@pytest.fixture
def decoder() -> SpatialBroadcast:
    """Shares and pictures of an untrained decoder are nearly flat: its weights are enlarged."""
    torch.manual_seed(0)
    decoder = SpatialBroadcast(size=SIZE, slot_dim=12, channels=8).eval()
    with torch.no_grad():
        for index in (0, 2, 4, 6, 8):
            decoder.get_parameter(f"layers.{index}.weight").mul_(4)
    return decoder


@pytest.fixture
def slots() -> Tensor:
    return torch.randn(5, 3, 12, generator=torch.Generator().manual_seed(1))


def attention_of(slots: Tensor) -> Tensor:
    return torch.full((*slots.shape[:2], 8, 12), 1 / slots.shape[1])


def drawn_by_hand(
    decoder: SpatialBroadcast, slots: Tensor
) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Four numbers of each slot at each pixel, slot by slot, without a transposed convolution.

    Doubling is written as its definition: every value is set on an even place of an empty map of
    twice the size, and correlated with the flipped kernel.
    """
    weights = decoder.state_dict()
    rows, columns = SIZE[0] // 16, SIZE[1] // 16
    pictures, images = [], []
    for frame in slots:
        of_slots = []
        for slot in frame:
            grid = slot.new_zeros(len(slot), rows, columns)
            for i in range(rows):
                for j in range(columns):
                    y, x = i / (rows - 1), j / (columns - 1)
                    place = slot.new_tensor([y, x, 1 - y, 1 - x])
                    grid[:, i, j] = (
                        slot
                        + weights["position.project.weight"] @ place
                        + weights["position.project.bias"]
                    )
            for layer in (0, 2, 4, 6):
                sparse = grid.new_zeros(len(grid), 2 * grid.shape[1], 2 * grid.shape[2])
                sparse[:, ::2, ::2] = grid
                kernel = weights[f"layers.{layer}.weight"].flip(2, 3).transpose(0, 1)
                grid = F.conv2d(sparse[None], kernel, padding=2)[0]
                grid = (grid + weights[f"layers.{layer}.bias"][:, None, None]).clamp(min=0)
            last = weights["layers.8.weight"][:, :, 0, 0]
            bias = weights["layers.8.bias"][:, None, None]
            of_slots.append(torch.einsum("oc,chw->ohw", last, grid) + bias)
        exponents = [slot[3].exp() for slot in of_slots]
        image = torch.zeros_like(of_slots[0][:3])
        for slot, exponent in zip(of_slots, exponents, strict=True):
            image += slot[:3] * exponent / sum(exponents)
        pictures.append(of_slots)
        images.append(image)
    return pictures, images


@torch.no_grad()
def test_the_mixture_is_that_of_equation_1(decoder: SpatialBroadcast, slots: Tensor) -> None:
    decoder, slots = decoder.double(), slots[:2].double()
    of_slots, images = drawn_by_hand(decoder, slots)
    mixture = decoder.mixture(slots)
    pictures, shares = decoder.pictures(slots)
    for frame in range(2):
        torch.testing.assert_close(mixture[frame], images[frame], atol=1e-10, rtol=0)
        by_hand = torch.stack(of_slots[frame])
        torch.testing.assert_close(pictures[frame], by_hand[:, :3], atol=1e-10, rtol=0)
        torch.testing.assert_close(shares[frame], by_hand[:, 3].softmax(0), atol=1e-10, rtol=0)
    target = torch.rand_like(mixture)
    loss = sum(((images[i] - target[i]) ** 2).sum() for i in range(2)) / target.numel()
    torch.testing.assert_close(decoder.loss(slots, target), loss, atol=1e-10, rtol=0)


def test_it_is_a_decoder(decoder: SpatialBroadcast, slots: Tensor) -> None:
    assert isinstance(decoder, Decoder)
    frames = torch.rand(5, 3, *SIZE)
    assert torch.equal(decoder.target(frames), frames)


def test_shares_sum_to_one_and_differ(decoder: SpatialBroadcast, slots: Tensor) -> None:
    shares = decoder.soft_masks(slots, attention_of(slots))
    assert shares.shape == (5, 3, *SIZE)
    assert not shares.requires_grad
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(5, *SIZE))
    assert shares.max() > 0.6  # not what the flat attention says


def test_slots_are_a_set(decoder: SpatialBroadcast, slots: Tensor) -> None:
    attention = attention_of(slots)
    shares = decoder.soft_masks(slots, attention)
    moved = decoder.soft_masks(slots[:, ORDER], attention)
    torch.testing.assert_close(moved, shares[:, ORDER], atol=1e-6, rtol=1e-5)
    assert (moved - shares).abs().max() > 1e-2
    picture = decoder.render(slots, RenderOptions())
    torch.testing.assert_close(
        decoder.render(slots[:, ORDER], RenderOptions()), picture, atol=1e-5, rtol=1e-5
    )


def test_a_frame_is_the_same_to_the_last_bit_beside_any_others(
    decoder: SpatialBroadcast, slots: Tensor
) -> None:
    attention = attention_of(slots)
    picture, shares = decoder.render(slots, RenderOptions()), decoder.soft_masks(slots, attention)
    for size in (1, 2, 3):
        parts = slots.split(size)
        assert torch.equal(torch.cat([decoder.render(p, RenderOptions()) for p in parts]), picture)
        masks = [decoder.soft_masks(p, attention_of(p)) for p in parts]
        assert torch.equal(torch.cat(masks), shares)
    assert (picture[0] - picture[1]).abs().max() > 1e-2


@torch.no_grad()
def test_drawing_frame_by_frame_equals_drawing_all_at_once(
    decoder: SpatialBroadcast, slots: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, (_, shares) = decoder.mixture(slots), decoder.pictures(slots)
    assert image.abs().max() > 1
    at_once: list[int] = []
    pictures = decoder.pictures

    def spy(slots: Tensor) -> tuple[Tensor, Tensor]:
        at_once.append(len(slots))
        return pictures(slots)

    monkeypatch.setattr(decoder, "pictures", spy)
    rendered, masks = decoder.render(slots, RenderOptions()), decoder.soft_masks(slots, image)
    torch.testing.assert_close(rendered, image.clamp(-1, 1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(masks, shares, atol=1e-5, rtol=1e-5)
    assert set(at_once) == {1}


def test_everything_learns(decoder: SpatialBroadcast, slots: Tensor) -> None:
    slots.requires_grad_()
    loss = decoder.loss(slots, torch.rand(5, 3, *SIZE))
    loss.backward()
    assert slots.grad is not None
    assert slots.grad.abs().amin(dim=2).min() > 0
    assert all(p.grad is not None and p.grad.any() for p in decoder.parameters())


@pytest.mark.parametrize(("channels", "layers"), [(64, 614_916), (128, 1_844_228)])
def test_the_published_sizes(channels: int, layers: int) -> None:
    with torch.device("meta"):
        decoder = SpatialBroadcast(size=(128, 128), slot_dim=192, channels=channels)
    assert decoder.grid_size == (8, 8)
    assert sum(p.numel() for p in decoder.layers.parameters()) == layers
    assert sum(p.numel() for p in decoder.position.parameters()) == 960


def test_on_latents_it_learns_and_decodes_what_the_codec_makes_of_frames() -> None:
    """A mixture that equals the latents has no loss, and is drawn as the codec draws them."""
    torch.manual_seed(0)
    codec = Vqvae(8, (1, 2), 1, 4, 16).eval()
    decoder = SpatialBroadcast(
        size=SIZE, slot_dim=12, channels=8, codec=codec, depth=4, doublings=3
    )
    frames = torch.rand(2, 3, *SIZE) * 2 - 1
    latents = decoder.target(frames)
    torch.testing.assert_close(latents, codec.encode(frames))
    slots = torch.randn(2, 3, 12)
    mixture = decoder.mixture(slots)
    assert mixture.shape == latents.shape
    torch.testing.assert_close(decoder.loss(slots, latents), (mixture - latents).square().mean())
    assert decoder.loss(slots, mixture).item() < 1e-12
    drawn = decoder.render(slots, RenderOptions())
    torch.testing.assert_close(drawn, codec.decode(mixture).clamp(-1, 1), atol=1e-5, rtol=1e-4)
    shares = decoder.soft_masks(slots, attention_of(slots))
    torch.testing.assert_close(shares.sum(1), torch.ones(2, *latents.shape[-2:]))


def test_the_codec_stays_as_it_is() -> None:
    codec = Vqvae(8, (1, 2), 1, 4, 16)
    decoder = SpatialBroadcast(
        size=SIZE, slot_dim=12, channels=8, codec=codec, depth=4, doublings=3
    ).train()
    assert not codec.training
    assert not any(parameter.requires_grad for parameter in codec.parameters())
    assert {name.split(".")[0] for name, p in decoder.named_parameters() if p.requires_grad} == {
        "position",
        "layers",
    }
