"""Labels against interpolation by hand in float64, and as an operation that torch knows about."""

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

from slotcli.kernels import mask_argmax


def upsample_by_hand(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with pixel centres at halves and clamped borders (align_corners=False)."""
    out = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            corners = []
            for place, new, old in ((y, size[0], image.shape[0]), (x, size[1], image.shape[1])):
                centre = max((place + 0.5) * old / new - 0.5, 0)
                low = min(int(centre), old - 1)
                corners.append((low, min(low + 1, old - 1), centre - low))
            (y0, y1, fy), (x0, x1, fx) = corners
            top = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
            bottom = image[y1, x0] * (1 - fx) + image[y1, x1] * fx
            out[y, x] = top * (1 - fy) + bottom * fy
    return out


@pytest.mark.parametrize("slots", [1, 2, 6])
@pytest.mark.parametrize("size", [(16, 16), (13, 22), (4, 5), (3, 2), (1, 9)])
def test_it_agrees_with_float64_interpolation(slots: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    attention = rng.dirichlet(np.ones(slots), size=(2, 4, 5)).transpose(0, 3, 1, 2)
    labels = mask_argmax(torch.tensor(attention, dtype=torch.float32), size).numpy()
    assert labels.dtype == np.uint8
    for frame, found in zip(attention, labels, strict=True):
        upsampled = np.stack([upsample_by_hand(slot, size) for slot in frame])
        best = np.sort(upsampled, axis=0)
        clear = best[-1] - (best[-2] if slots > 1 else -1) > 1e-5
        assert clear.mean() > 0.99
        np.testing.assert_array_equal(found[clear], upsampled.argmax(0)[clear])


def all_at_once(attention: Tensor, size: tuple[int, int]) -> Tensor:
    """With a full-size map for each slot."""
    return F.interpolate(attention.float(), size, mode="bilinear", align_corners=False).argmax(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [(64, 64), (50, 90), (11, 7)])
def test_slot_by_slot_is_all_at_once(size: tuple[int, int], dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(0)
    attention = torch.randn(3, 11, 16, 16, generator=rng).mul(2).softmax(1).to(dtype)
    assert torch.equal(mask_argmax(attention, size).long(), all_at_once(attention, size))


def test_a_tie_goes_to_the_first_slot() -> None:
    assert mask_argmax(torch.full((1, 3, 2, 2), 1 / 3), (5, 5)).max() == 0
    attention = torch.randint(0, 2, (3, 7, 5, 5), generator=torch.Generator().manual_seed(0))
    found = mask_argmax(attention.float(), (20, 10)).long()
    assert torch.equal(found, all_at_once(attention, (20, 10)))


def test_torch_finds_nothing_wrong_with_the_operation() -> None:
    opcheck(torch.ops.slotcli.mask_argmax.default, (torch.rand(2, 3, 4, 5), (7, 9)))


def test_it_is_compiled_whole_and_for_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    # What checks shapes in tests looks into tensors, which a compiler cannot follow.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    compiled = torch.compile(mask_argmax, fullgraph=True, dynamic=True, backend="aot_eager")
    for frames, size in ((2, (7, 9)), (3, (16, 12))):
        attention = torch.rand(frames, 3, 4, 5, requires_grad=True)
        assert torch.equal(compiled(attention, size), mask_argmax(attention, size))
    torch._dynamo.reset()


class Labels(torch.nn.Module):
    def forward(self, attention: Tensor) -> Tensor:
        return mask_argmax(attention, (8, 6))


def test_it_is_exported_as_one_operation() -> None:
    attention = torch.rand(2, 3, 4, 5)
    exported = torch.export.export(Labels(), (attention,))
    assert "slotcli.mask_argmax.default" in str(exported.graph)
    assert torch.equal(exported.module()(attention), mask_argmax(attention, (8, 6)))


def test_shapes_on_a_gpu_that_is_not_there() -> None:
    with FakeTensorMode():
        labels = mask_argmax(torch.empty(2, 3, 4, 5, device="cuda"), (7, 9))
    assert (labels.shape, labels.dtype, labels.device.type) == ((2, 7, 9), torch.uint8, "cuda")
