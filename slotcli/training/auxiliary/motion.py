"""Moving foreground of clips from a static camera: label-free pseudo-labels of objects."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

# Differences of brightness, as fractions of the full range: the probability of motion is 0 below
# the first and 1 above the second.
_STILL, _MOVING = 0.02, 0.08
# The camera counts as static if a quarter of the frame hardly changes: by less than this.
_CAMERA_MOVES = 0.02
# A shadow leaves at least this fraction of the light; any other difference is weighted by the
# second factor.
_DARKEST, _SHADED = 0.3, 2.0


def motion(frames: UInt8[Tensor, "t 3 h w"]) -> Float[Tensor, "t h w"]:
    """Probability in [0, 1] that a pixel differs from the clip's static background.

    The background is the median over time, lit or in a shadow (brightness distortion: Horprasert et
    al. 1999). If the whole frame changes, the camera moves, which says nothing about objects: the
    result is 0, with a linear transition.
    """
    scaled = frames.float() / 255
    background = scaled.median(dim=0).values
    change = (scaled - background).abs().amax(dim=1)
    # Smoothed, so that sensor noise does not count as motion of the camera.
    smooth = gaussian_blur(change, kernel_size=[5, 5], sigma=[1.0, 1.0])
    static = 1 - torch.quantile(smooth.flatten(), 0.25) / _CAMERA_MOVES
    light = (scaled * background).sum(dim=1) / background.square().sum(dim=0).clamp(min=1e-4)
    shaded = light.clamp(_DARKEST, 1)[:, None] * background
    change = torch.minimum(change, _SHADED * (scaled - shaded).abs().amax(dim=1))
    return ((change - _STILL) / (_MOVING - _STILL)).clamp(0, 1) * static.clamp(min=0)
