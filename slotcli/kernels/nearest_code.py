"""The lookup of a vector-quantised autoencoder, without a matrix of distances."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from slotcli.kernels import dispatch, reference

MOST_CHANNELS = 4


def nearest_code(
    latents: Float[Tensor, "rows c"], codes: Float[Tensor, "k c"]
) -> Int64[Tensor, " rows"]:
    """Index of each row's nearest code by squared Euclidean distance; ties go to the first code.

    It minimises |e|^2 / 2 - z.e, half the distance minus half of |z|^2, in float32 for narrower
    inputs, also under autocast. Of codes within rounding of the minimum it may return any. Has no
    gradient. van den Oord et al. 2017, Eq. 1.
    """
    return torch.ops.slotcli.nearest_code(latents.detach(), codes.detach())


torch.library.define("slotcli::nearest_code", "(Tensor latents, Tensor codes) -> Tensor")
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("slotcli::nearest_code", _device, torch.float32)


@torch.library.impl("slotcli::nearest_code", ("cpu", "cuda"))
def _nearest_code(latents: Tensor, codes: Tensor) -> Tensor:
    unsupported = None
    if not {latents.dtype, codes.dtype} <= {torch.float32, torch.bfloat16}:
        unsupported = f"it has no kernel for {latents.dtype} and {codes.dtype}"
    elif latents.shape[1] > MOST_CHANNELS:
        unsupported = f"{latents.shape[1]} channels are more than {MOST_CHANNELS}"
    if dispatch.takes_triton("nearest_code", latents.device, unsupported):
        from slotcli.kernels import triton_nearest_code

        return triton_nearest_code.nearest_code(latents, codes)
    return reference.nearest_code(latents, codes)


@torch.library.register_fake("slotcli::nearest_code")
def _fake(latents: Tensor, codes: Tensor) -> Tensor:
    return latents.new_empty(latents.shape[0], dtype=torch.int64)
