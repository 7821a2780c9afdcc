"""Codec losses beside the pixel error: LPIPS, image gradients, chroma."""

import warnings
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.errors import DataError, UnavailableError

Trunk = Literal["vgg", "alex", "squeeze"]

# torchvision's weights; the digits before the suffix begin the file's sha256.
TRUNK_FILES: dict[Trunk, str] = {
    "vgg": "vgg16-397923af.pth",
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}

_CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def gradient_loss(
    frames: Float[Tensor, "b 3 h w"], wanted: Float[Tensor, "b 3 h w"], scales: int = 3
) -> Float[Tensor, ""]:
    """Mean absolute difference of horizontal and vertical image gradients over halved scales.

    It penalises blur: a substitute for LPIPS where the pretrained weights are not available.
    """
    loss = frames.new_zeros(())
    for scale in range(scales):
        if scale:
            frames, wanted = F.avg_pool2d(frames, 2), F.avg_pool2d(wanted, 2)
        for axis in (-1, -2):
            loss = loss + F.l1_loss(frames.diff(dim=axis), wanted.diff(dim=axis))
    return loss / scales


def chroma(frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2 h w"]:
    """Blue and red differences (BT.601) of RGB frames, at their scale; of gray ones 0."""
    return torch.einsum("kc,bchw->bkhw", frames.new_tensor(_CHROMA), frames)


def trunk_file(trunk: Trunk) -> Path:
    """Path of an LPIPS trunk's weights in torch's cache; the file may not exist."""
    return Path(torch.hub.get_dir()) / "checkpoints" / TRUNK_FILES[trunk]


def lpips_network(trunk: Trunk, weights: Path) -> nn.Module:
    """LPIPS 0.1 (Zhang et al. 2018) on a trunk with torchvision's weights, frozen.

    It takes two batches [b 3 h w] in [-1, 1] to their distances [b 1 1 1]. Raises DataError for a
    file of anything but that trunk's weights; nothing is ever downloaded or left random.
    """
    import lpips

    # On the meta device tensors have no values, so no random weight can remain.
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision's deprecated interface
        network = lpips.LPIPS(net=trunk, pretrained=False, pnet_rand=True, verbose=False)
    heads = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{trunk}.pth"
    network.load_state_dict(
        torch.load(heads, weights_only=True, map_location="cpu"), strict=False, assign=True
    )
    try:
        saved = torch.load(weights, weights_only=True, map_location="cpu")
        # lpips keeps torchvision's layer indices, but prefixes the names of its own slices.
        state = {
            name: saved["features." + name.partition(".")[2]] for name in network.net.state_dict()
        }
        network.net.load_state_dict(state, assign=True)
    # A damaged or foreign file can make its reader raise nearly anything.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{weights}: not the weights of an LPIPS trunk ({trunk}): {reason}.",
            f"Use torchvision's file {TRUNK_FILES[trunk]}.",
        ) from None
    return network.requires_grad_(False).eval()


def lpips_vgg() -> nn.Module:
    """`lpips_network` on VGG16, with which the paper's codec was trained.

    Raises UnavailableError if the trunk's weights are not in torch's cache: they are never
    downloaded without the user's knowledge, and a random trunk would be a meaningless loss.
    """
    weights = trunk_file("vgg")
    if not weights.is_file():
        raise UnavailableError(
            f"{weights}: the VGG16 weights of the perceptual loss are missing.",
            "Put that torchvision file there, or --set train.perceptual_weight=0"
            " (and train.gradient_weight=1).",
        )
    return lpips_network("vgg", weights)
