"""LPIPS: perceptual distance between reconstructions and originals."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from slotcli.checkpoint import file_sha256
from slotcli.codecs.perceptual import TRUNK_FILES, Trunk, lpips_network, trunk_file
from slotcli.errors import NoInputError, UnavailableError, printable

FRAMES = 16  # per batch, which bounds the memory
SMALLEST_SIDE = 32  # pixels; below, the deepest layers have no output


class Lpips:
    """LPIPS 0.1 (Zhang et al. 2018) with a trunk from a file, and the origin of its weights.

    `published` is False if the file is not torchvision's: then the distance is not comparable with
    published values.
    """

    def __init__(self, trunk: Trunk, weights: Path, device: torch.device) -> None:
        self.trunk = trunk
        self.sha256 = file_sha256(weights)
        digits = TRUNK_FILES[trunk].removesuffix(".pth").rpartition("-")[2]
        self.published = self.sha256.startswith(digits)
        self._network = lpips_network(trunk, weights).to(device)

    @torch.no_grad()
    def __call__(
        self, original: Float[Tensor, "b 3 h w"], rebuilt: Float[Tensor, "b 3 h w"]
    ) -> float:
        """Return the mean distance of images, 0 for identical ones; h and w are at least 32.

        Values are clamped to [-1, 1] first. The paper's were not, but values beyond black and
        white are not visible in a frame.
        """
        parts = (frames.clamp(-1, 1).split(FRAMES) for frames in (original, rebuilt))
        total = sum(float(self._network(x, y).sum()) for x, y in zip(*parts, strict=True))
        return total / len(original)


def open_lpips(trunk: Trunk, weights: Path | None, device: torch.device) -> Lpips:
    """LPIPS with the weights of a file, by default the one in torch's cache.

    Raises UnavailableError if the cache has none (nothing is downloaded), NoInputError if
    `weights` is no file, DataError if the file holds other weights.
    """
    if weights is not None:
        if not weights.is_file():
            raise NoInputError(f"{printable(weights)}: there is no such file.", "Check the path.")
        return Lpips(trunk, weights, device)
    cached = trunk_file(trunk)
    if not cached.is_file():
        raise UnavailableError(
            f"{printable(cached)} is missing.",
            "Put that torchvision file there, or give its path with --lpips-weights.",
        )
    return Lpips(trunk, cached, device)
