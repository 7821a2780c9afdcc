import pytest
import torch

from slotcli.kernels import dispatch, nearest_code

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 1000, 40_000])
@pytest.mark.parametrize(("k", "channels"), [(1, 1), (61, 3), (4096, 3), (4096, 4)])
def test_it_agrees_with_float64(rows: int, k: int, channels: int, dtype: torch.dtype) -> None:
    """The found code is as near as the nearest, to within rounding, and nearly always the same."""
    rng = torch.Generator("cuda").manual_seed(rows)
    latents = torch.randn(rows, channels + 1, generator=rng, device="cuda", dtype=dtype)[:, 1:]
    codes = torch.randn(channels, k, generator=rng, device="cuda").T
    with dispatch.use_backend("triton"):
        found, again = nearest_code(latents, codes), nearest_code(latents, codes)
    wanted = nearest_code(latents.double(), codes.double())
    assert torch.equal(found, again)
    assert (found == wanted).double().mean() > 0.999
    distances = (
        (latents.double() - codes.double()[code]).square().sum(1) for code in (found, wanted)
    )
    torch.testing.assert_close(*distances, atol=1e-5, rtol=1e-5)


def test_ties_go_to_the_first_code() -> None:
    rng = torch.Generator("cuda").manual_seed(1)
    latents = torch.randint(-2, 3, (30_000, 3), generator=rng, device="cuda").float()
    codes = torch.randint(-2, 3, (350, 3), generator=rng, device="cuda").float()
    for rows in (latents, latents[:500]):
        with dispatch.use_backend("triton"):
            found = nearest_code(rows, codes)
        assert torch.equal(found, (rows[:, None] - codes).square().sum(2).argmin(1))


def test_it_is_captured_in_a_graph() -> None:
    latents, codes = torch.randn(2048, 3, device="cuda"), torch.randn(512, 3, device="cuda")
    with dispatch.use_backend("triton"):
        nearest_code(latents, codes)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = nearest_code(latents, codes)
        latents.normal_()
        graph.replay()
        assert torch.equal(found, nearest_code(latents, codes))
