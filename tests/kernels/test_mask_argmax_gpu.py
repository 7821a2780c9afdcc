import pytest
import torch
import torch.nn.functional as F

from slotcli.kernels import dispatch, mask_argmax

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((3, 15, 32, 32), (128, 128)),
        ((2, 11, 32, 32), (481, 853)),
        ((2, 7, 64, 48), (20, 31)),
        ((2, 1, 1, 1), (3, 5)),
    ],
)
def test_it_agrees_with_float64(
    shape: tuple[int, int, int, int], size: tuple[int, int], dtype: torch.dtype
) -> None:
    rng = torch.Generator("cuda").manual_seed(0)
    attention = torch.randn(shape, generator=rng, device="cuda").mul(2).softmax(1).to(dtype)
    with dispatch.use_backend("triton"):
        labels, again = mask_argmax(attention, size), mask_argmax(attention, size)
    assert torch.equal(labels, again)
    shares = F.interpolate(attention.double(), size, mode="bilinear", align_corners=False)
    best = shares.amax(1)
    # The slot found has the best share, to within rounding: of the weights at far pixels, too.
    torch.testing.assert_close(
        shares.gather(1, labels.long()[:, None])[:, 0], best, atol=1e-4, rtol=0
    )
    assert (labels == shares.argmax(1)).double().mean() > 0.998


def test_a_tie_goes_to_the_first_slot() -> None:
    rng = torch.Generator("cuda").manual_seed(0)
    attention = torch.randint(0, 2, (2, 6, 5, 5), generator=rng, device="cuda").float()
    with dispatch.use_backend("triton"):
        labels = mask_argmax(attention, (10, 20))
    shares = F.interpolate(attention.double(), (10, 20), mode="bilinear", align_corners=False)
    assert torch.equal(labels.long(), shares.argmax(1))


def test_it_is_captured_in_a_graph() -> None:
    attention = torch.rand(2, 5, 16, 16, device="cuda")
    with dispatch.use_backend("triton"):
        mask_argmax(attention, (64, 48))
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            labels = mask_argmax(attention, (64, 48))
        attention.uniform_()
        graph.replay()
        assert torch.equal(labels, mask_argmax(attention, (64, 48)))
