from collections.abc import Iterator

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from slotcli.evaluation.reconstruction import PSNR_CEILING, mse_sum, psnr, ssim

pytestmark = pytest.mark.slow


def cases(count: int = 1000) -> Iterator[tuple[Tensor, Tensor]]:
    """Single images in float64 with what was made of them: noise, blur, flat ones, wild values."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        h, w = torch.randint(11, 20, (2,), generator=generator).tolist()
        coarse = torch.rand((1, 3, 4, 5), generator=generator, dtype=torch.float64)
        original = torch.nn.functional.interpolate(coarse, (h, w), mode="bicubic").clamp(0, 1)
        noise = torch.randn(original.shape, generator=generator, dtype=torch.float64)
        match number % 5:
            case 0:
                yield original, original + 0.1 * noise
            case 1:
                yield original, torch.nn.functional.avg_pool2d(original, 3, 1, 1)
            case 2:
                yield original, torch.full_like(original, 0.3)
            case 3:
                yield torch.full_like(original, 0.3), original
            case 4:
                yield original, 4 * noise


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """Four of these images in float32, as they are scored."""
    generator = torch.Generator().manual_seed(0)
    original = torch.rand((4, 3, 40, 33), generator=generator)
    return original, original + 0.1 * torch.randn(original.shape, generator=generator)


def scikit_image_ssim(x: np.ndarray, y: np.ndarray) -> float:
    return structural_similarity(
        x * 255,
        y * 255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=0,
    )


def test_mse_and_psnr_are_a_line_of_numpy_in_a_thousand_cases() -> None:
    for original, rebuilt in cases():
        x, y = (image.clamp(0, 1).numpy() for image in (original, rebuilt))
        error = (x - y) ** 2
        assert mse_sum(original, rebuilt) == pytest.approx(error.sum(), rel=1e-12)
        assert psnr(original, rebuilt) == pytest.approx(-10 * np.log10(error.mean()), rel=1e-12)


def test_ssim_is_scikit_images_in_a_thousand_cases() -> None:
    for original, rebuilt in cases():
        x, y = (image[0].clamp(0, 1).numpy() for image in (original, rebuilt))
        assert ssim(original, rebuilt) == pytest.approx(scikit_image_ssim(x, y), abs=1e-9)


def test_a_batch_in_single_precision_is_the_mean_of_its_images(
    images: tuple[Tensor, Tensor],
) -> None:
    x, y = (batch.clamp(0, 1).double().numpy() for batch in images)
    errors = [(a - b) ** 2 for a, b in zip(x, y, strict=True)]
    assert mse_sum(*images) == pytest.approx(np.mean([error.sum() for error in errors]), rel=1e-5)
    expected = np.mean([-10 * np.log10(error.mean()) for error in errors])
    assert psnr(*images) == pytest.approx(expected, rel=1e-5)
    each = [scikit_image_ssim(a, b) for a, b in zip(x, y, strict=True)]
    assert ssim(*images) == pytest.approx(np.mean(each), abs=1e-5)


def test_scores_by_hand() -> None:
    """Half a level everywhere: squared error 1/4, 6.02 dB; flat images agree in their means only.

    For means 0 and 1/2 without variance, SSIM is C1 / (1/4 + C1) with C1 = 0.0001.
    """
    black, gray = torch.zeros(1, 3, 12, 12), torch.full((1, 3, 12, 12), 0.5)
    assert mse_sum(black, gray) == pytest.approx(3 * 12 * 12 / 4)
    assert psnr(black, gray) == pytest.approx(6.0206, abs=1e-4)
    assert ssim(black, gray) == pytest.approx(0.0001 / 0.2501, rel=1e-5)


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
