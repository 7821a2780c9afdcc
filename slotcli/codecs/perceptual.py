"""What a codec's reconstruction should keep besides its pixels."""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.errors import UnavailableError

_VGG = "vgg16-397923af.pth"


def gradient_loss(
    frames: Float[Tensor, "b 3 h w"], wanted: Float[Tensor, "b 3 h w"], scales: int = 3
) -> Float[Tensor, ""]:
    """Mean absolute difference of horizontal and vertical image gradients over halved scales.

    Stands in for a pretrained perceptual loss where its weights cannot be had: blur costs.
    """
    loss = frames.new_zeros(())
    for scale in range(scales):
        if scale:
            frames, wanted = F.avg_pool2d(frames, 2), F.avg_pool2d(wanted, 2)
        for axis in (-1, -2):
            loss = loss + F.l1_loss(frames.diff(dim=axis), wanted.diff(dim=axis))
    return loss / scales


def lpips_vgg() -> nn.Module:
    """LPIPS on VGG16 (Zhang et al. 2018), frozen, as the paper's codec was trained.

    Raises UnavailableError where the trunk's weights are not in torch's cache: nothing is
    downloaded behind the user's back, and a random trunk would be no loss at all.
    """
    import lpips

    weights = Path(torch.hub.get_dir()) / "checkpoints" / _VGG
    if not weights.is_file():
        raise UnavailableError(
            f"{weights}: the VGG16 weights of the perceptual loss are missing.",
            "Put that torchvision file there, or --set train.perceptual_weight=0"
            " (and train.gradient_weight=1).",
        )
    return lpips.LPIPS(net="vgg", verbose=False).requires_grad_(False).eval()
