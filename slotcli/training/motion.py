"""Where a clip moves before a camera at rest: a hint at objects that needs no labels."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

# Differences of brightness, as shares of the whole range: below the first nothing moves, above the
# second something certainly does.
_STILL, _MOVING = 0.02, 0.08
# A camera is at rest if a quarter of the picture hardly changes, and does not count from here on.
_RESTLESS = 0.02


def motion(frames: UInt8[Tensor, "t 3 h w"]) -> Float[Tensor, "t h w"]:
    """How surely each pixel is not what mostly stands there, from 0 to 1.

    That is the median over time. Where the whole picture changes the camera moves, and as nothing
    is known of objects then, all is 0; between rest and motion it fades out.
    """
    scaled = frames.float() / 255
    change = (scaled - scaled.median(dim=0).values).abs().amax(dim=1)
    change = gaussian_blur(change, kernel_size=[5, 5], sigma=[1.0, 1.0])
    rest = 1 - torch.quantile(change.flatten(), 0.25) / _RESTLESS
    return ((change - _STILL) / (_MOVING - _STILL)).clamp(0, 1) * rest.clamp(min=0)
