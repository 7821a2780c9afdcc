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
# A shadow leaves this much of the light or more, and differs otherwise by less than half of what a
# thing does.
_DARKEST, _SHADED = 0.3, 2.0


def motion(frames: UInt8[Tensor, "t 3 h w"]) -> Float[Tensor, "t h w"]:
    """How surely each pixel is not what mostly stands there, from 0 to 1.

    That is the median over time, in the light or in a shadow (brightness distortion: Horprasert et
    al. 1999). Where the whole picture changes the camera moves, and as nothing is known of objects
    then, all is 0; between rest and motion it fades out.
    """
    scaled = frames.float() / 255
    ground = scaled.median(dim=0).values
    change = (scaled - ground).abs().amax(dim=1)
    # Noise of the camera is no motion of it.
    smooth = gaussian_blur(change, kernel_size=[5, 5], sigma=[1.0, 1.0])
    rest = 1 - torch.quantile(smooth.flatten(), 0.25) / _RESTLESS
    light = (scaled * ground).sum(dim=1) / ground.square().sum(dim=0).clamp(min=1e-4)
    shaded = light.clamp(_DARKEST, 1)[:, None] * ground
    change = torch.minimum(change, _SHADED * (scaled - shaded).abs().amax(dim=1))
    return ((change - _STILL) / (_MOVING - _STILL)).clamp(0, 1) * rest.clamp(min=0)
