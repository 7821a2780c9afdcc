"""Opacities of cut-outs and of the holes they leave, from hard masks at the source's size."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from slotcli.types import Size

DEFAULT_FEATHER = 0.01  # of the shorter side of a frame


def feather_pixels(size: Size, feather: float | None) -> float:
    """The width of soft borders in pixels: as given, or a hundredth of the shorter side."""
    return max(2.0, DEFAULT_FEATHER * min(size)) if feather is None else feather


def hole(mask: Bool[np.ndarray, "h w"], feather: float) -> Float32[np.ndarray, "h w"]:
    """1 on the mask and up to `feather` pixels around it, then falling to exactly 0 over as many.

    The margin takes in the mixed pixels of an object's border.
    """
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # 0 is a pixel of the mask, so the nearest one outside has distance 1.
    return np.clip((2 * feather + 1 - distance) / max(feather, 1.0), 0, 1).astype(np.float32)


def cutout(mask: Bool[np.ndarray, "h w"], feather: float) -> Float32[np.ndarray, "h w"]:
    """Rises from 0 outside of the mask to 1 at half of `feather` pixels inside."""
    whole = np.pad(mask, 1, mode="edge").astype(np.uint8)  # the frame's edge is no border
    distance = cv2.distanceTransform(whole, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return np.clip(distance / (feather / 2 + 1), 0, 1).astype(np.float32)


def placed(
    frame: UInt8[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    affine: Float64[np.ndarray, "2 3"],
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """Pixels, multiplied by their opacity, and opacity after an affine map; bilinear."""
    size = (frame.shape[1], frame.shape[0])
    if np.array_equal(affine, [[1, 0, 0], [0, 1, 0]]):
        return frame * alpha[..., None], alpha
    kept = cv2.warpAffine(frame * alpha[..., None], affine, size, flags=cv2.INTER_LINEAR)
    return np.asarray(kept), np.asarray(cv2.warpAffine(alpha, affine, size))


def over(
    base: UInt8[np.ndarray, "h w 3"],
    pixels: Float32[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
) -> UInt8[np.ndarray, "h w 3"]:
    """`pixels`, multiplied by `alpha`, laid over `base`; where `alpha` is 0, `base` bit for bit."""
    changed = np.array(base)
    where = alpha > 0
    rest = base[where] * (1 - alpha[where, None])
    changed[where] = np.rint(pixels[where] + rest).clip(0, 255).astype(np.uint8)
    return changed
