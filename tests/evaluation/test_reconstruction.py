import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from slotcli.evaluation.reconstruction import PSNR_CEILING, mse_sum, psnr, ssim


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((4, 3, 6, 7), generator=generator)
    original = torch.nn.functional.interpolate(coarse, (40, 33), mode="bicubic").clamp(0, 1)
    return original, original + 0.1 * torch.randn(original.shape, generator=generator)


def scikit_image_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """scikit-image's steps for one channel: filter with reflection, cut the margin, average."""

    def window(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, truncate=3.5)

    ux, uy = window(x), window(y)
    vx, vy, vxy = window(x * x) - ux * ux, window(y * y) - uy * uy, window(x * y) - ux * uy
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * ux * uy + c1) * (2 * vxy + c2) / ((ux**2 + uy**2 + c1) * (vx + vy + c2))
    return similarity[5:-5, 5:-5].mean()


def test_mse_and_psnr_are_those_of_a_loop(images: tuple[Tensor, Tensor]) -> None:
    x, y = (batch.clamp(0, 1).double().numpy() for batch in images)
    errors = [(a - b) ** 2 for a, b in zip(x, y, strict=True)]
    assert mse_sum(*images) == pytest.approx(np.mean([error.sum() for error in errors]), rel=1e-5)
    expected = np.mean([-10 * np.log10(error.mean()) for error in errors])
    assert psnr(*images) == pytest.approx(expected, rel=1e-5)


def test_ssim_is_scikit_images(images: tuple[Tensor, Tensor]) -> None:
    x, y = (batch.clamp(0, 1).double().numpy() * 255 for batch in images)
    pairs = zip(x.reshape(-1, 40, 33), y.reshape(-1, 40, 33), strict=True)
    expected = np.mean([scikit_image_ssim(a, b) for a, b in pairs])
    assert ssim(*images) == pytest.approx(expected, abs=1e-5)


def test_identical_images(images: tuple[Tensor, Tensor]) -> None:
    original, _ = images
    assert mse_sum(original, original) == 0
    assert psnr(original, original) == PSNR_CEILING
    assert ssim(original, original) == pytest.approx(1)


def test_values_outside_the_range_are_clamped() -> None:
    white = torch.ones(1, 3, 12, 12)
    assert mse_sum(white, white + 5) == 0
    assert mse_sum(white, white - 5) == 3 * 12 * 12
    assert psnr(white, white - 5) == 0
    assert ssim(white, white + 5) == pytest.approx(1)
