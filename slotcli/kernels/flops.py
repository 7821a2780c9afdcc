"""FLOPs of the operations, for the `custom_mapping` of torch.utils.flop_counter.

They are not registered there, because that module imports Triton, which a CPU does not need.
"""

import torch


def _nearest_code(latents: torch.Size, codes: torch.Size, **_) -> int:
    """One product of all rows with all codes."""
    return 2 * latents[0] * codes.numel()


def _slot_read(inputs: torch.Size, mean, rstd, queries: torch.Size, *_, **__) -> int:
    """Two products of the slots with all positions."""
    return 4 * inputs.numel() * queries[1]


def _slot_read_backward(grad_read: torch.Size, _, inputs: torch.Size, *__, **___) -> int:
    """Two products to recompute the forward pass, two for the inputs' gradient, one for queries."""
    return 10 * inputs.numel() * grad_read[1]


def _slot_cross_attention(x: torch.Size, queries: torch.Size, *_, **__) -> int:
    """Two products of all positions with the queries of all heads."""
    return 4 * x.numel() * queries[1]


# Two FLOPs per multiply-add of a matrix product; nothing else counts.
FLOPS = {
    torch.ops.slotcli.nearest_code: _nearest_code,
    torch.ops.slotcli.slot_cross_attention: _slot_cross_attention,
    torch.ops.slotcli.slot_read: _slot_read,
    torch.ops.slotcli.slot_read_backward: _slot_read_backward,
}
