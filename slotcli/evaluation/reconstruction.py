"""Reconstruction scores, each a mean over images.

All take images in [0, 1] and clamp them to that range first. LPIPS, which needs a trained network,
is in `perceptual`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

PSNR_CEILING = 100.0  # dB; that of identical images is infinite, and so would be the mean
SSIM_SIGMA, SSIM_RADIUS = 1.5, 5  # the 11x11 window of Wang et al.
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # for a data range of 1


def mse_sum(original: Float[Tensor, "b c h w"], rebuilt: Float[Tensor, "b c h w"]) -> float:
    """Return the squared error summed over an image's channels and pixels (SlotDiffusion's MSE)."""
    return float(_squared_error(original, rebuilt).sum((1, 2, 3)).mean())


def psnr(original: Float[Tensor, "b c h w"], rebuilt: Float[Tensor, "b c h w"]) -> float:
    """Return the peak signal to noise ratio in dB, at most PSNR_CEILING for an image."""
    error = _squared_error(original, rebuilt).mean((1, 2, 3))
    return float((-10 * error.log10()).clamp(max=PSNR_CEILING).mean())


def ssim(original: Float[Tensor, "b c h w"], rebuilt: Float[Tensor, "b c h w"]) -> float:
    """Return the structural similarity, 1 for identical images; h and w are at least 11.

    Wang et al. (2004) as scikit-image computes it with `gaussian_weights=True`, `sigma=1.5`,
    `use_sample_covariance=False`: a mean over channels and over the pixels whose whole window lies
    in the image.
    """
    x, y = original.clamp(0, 1), rebuilt.clamp(0, 1)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    variance_x = _window_mean(x * x) - mean_x**2
    variance_y = _window_mean(y * y) - mean_y**2
    covariance = _window_mean(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + SSIM_C1) * (2 * covariance + SSIM_C2)) / (
        (mean_x**2 + mean_y**2 + SSIM_C1) * (variance_x + variance_y + SSIM_C2)
    )
    return float(similarity.mean())


def _squared_error(
    original: Float[Tensor, "b c h w"], rebuilt: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b c h w"]:
    return (original.clamp(0, 1) - rebuilt.clamp(0, 1)) ** 2


def _window_mean(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c hv wv"]:
    """Gaussian mean of every window that lies entirely in the image."""
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=torch.float64)
    weights = torch.softmax(-(offsets**2) / (2 * SSIM_SIGMA**2), dim=0).tolist()
    # Shifted sums instead of a convolution, whose TensorFloat-32 is too coarse for the variances.
    for axis in (-2, -1):
        valid = images.shape[axis] - 2 * SSIM_RADIUS
        total = weights[0] * images.narrow(axis, 0, valid)
        for i, weight in enumerate(weights[1:], start=1):
            total.add_(images.narrow(axis, i, valid), alpha=weight)
        images = total
    return images
