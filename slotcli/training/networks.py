"""Lets a run's networks compute at half precision, compiled, or with recomputed activations.

The networks are the backbone, the decoder's, and the two halves of a codec in training. Everything
around them stays in float32: slot attention, distances to codes, the noise schedule, losses, and
the targets of a frozen codec. So does every evaluation, which computes no gradients.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slotcli.codecs import autoencoder
from slotcli.codecs.dvae import Dvae
from slotcli.codecs.vqvae import Vqvae
from slotcli.compute.precision import TrainPrecision
from slotcli.decoders import token_transformer
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.decoders.token_transformer import TokenTransformer
from slotcli.diffusion import unet
from slotcli.encoder.backbone import BasicBlock
from slotcli.model import SlotModel

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_BLOCKS = (
    BasicBlock,
    unet.ResBlock,
    unet.TransformerBlock,
    token_transformer.Block,
    autoencoder.ResBlock,
)


def trained_networks(module: nn.Module) -> list[nn.Module]:
    """The networks of a task's module, each a function of tensors to one tensor."""
    if isinstance(module, Vqvae | Dvae):
        return [module.encoder, module.decoder]
    if not isinstance(module, SlotModel):
        raise TypeError(f"{type(module).__name__} is nothing that a task trains")
    decoder = module.decoder
    if isinstance(decoder, LatentDiffusion):
        rendering = [decoder.unet]  # the codec is frozen
    elif isinstance(decoder, TokenTransformer):
        rendering = list(decoder.blocks)
    else:
        rendering = decoder.networks
    return [module.encoder.backbone, *rendering]


def compile_networks(module: nn.Module) -> None:
    """Compiles each network at its first step; to be called before the other two functions.

    Checkpointed blocks are then traced as such, and autocast stays outside.
    """
    for network in trained_networks(module):
        _train_as(network, torch.compile(network.forward))


def recompute_blocks(module: nn.Module) -> None:
    """Keeps only the inputs of the networks' blocks; the backward pass recomputes the rest.

    Dropout is sampled identically, so losses and gradients are bitwise identical.
    """
    for network in trained_networks(module):
        for block in network.modules():
            if isinstance(block, _BLOCKS):
                _train_as(block, partial(checkpoint, block.forward, use_reentrant=False))


def use_precision(module: nn.Module, precision: TrainPrecision) -> None:
    """Lets the networks compute under autocast; weights, gradients and results are float32."""
    if precision == "fp32":
        return
    for network in trained_networks(module):
        _train_as(network, partial(_narrow, network.forward, _DTYPES[precision]))


def _narrow(
    forward: Callable[..., Tensor], dtype: torch.dtype, x: Tensor, *others: object
) -> Tensor:
    with torch.autocast(x.device.type, dtype):
        return forward(x, *others).float()


def _train_as(network: nn.Module, form: Callable[..., Tensor]) -> None:
    """Replaces a network's forward by `form` wherever gradients are computed.

    Unlike with a wrapping module, the weights keep their names, and checkpoints fit.
    """
    plain = network.forward

    def forward(*inputs: object) -> Tensor:
        return form(*inputs) if torch.is_grad_enabled() else plain(*inputs)

    network.forward = forward
