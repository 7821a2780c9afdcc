"""Random numbers for a part of a batch, equal to those of a process with the whole batch.

Noise, timesteps and dropout are then the same however a batch is divided; bitwise on a CPU.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from slotcli.training.parallel.peers import Part

aten = torch.ops.aten
_IN_PLACE = {
    aten.bernoulli_.float,
    aten.exponential_.default,
    aten.normal_.default,
    aten.uniform_.default,
}
_LIKE = {aten.randn_like.default, aten.rand_like.default}
_SIZED = {aten.randint.low: 2, aten.randint.default: 1}  # index of the size among the arguments
# A permutation of all rows together, and fused attention: on a CPU it has no dropout, and on a GPU
# its dropout cannot be reached from here.
_LEFT_ALONE = {
    aten.randperm.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
}


class DrawnForTheBatch(TorchDispatchMode):
    """In this mode random operations sample for the whole batch, and keep the part's rows.

    The first dimension of every tensor sampled without a generator must be the rows. Exact for
    parts of two rows or more: from a single row the memory order of the batch is unknown. On a GPU
    attention samples its own dropout. Raises NotImplementedError for any other random operation.
    """

    def __init__(self, part: Part) -> None:
        super().__init__()
        self._part = part

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        drawn = torch.Tag.nondeterministic_seeded in func.tags and func not in _LEFT_ALONE
        # Operations with their own generator are not part of the step: scenes are rendered with
        # one.
        if not drawn or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        if func in _IN_PLACE:
            drawn = func(self._whole(args[0]), *args[1:], **kwargs)
            return args[0].copy_(self._rows(drawn))
        if func in _LIKE:
            return self._rows(func(self._whole(args[0]), *args[1:], **kwargs))
        if func in _SIZED:
            index = _SIZED[func]
            first, *rest = args[index]
            size = [first * self._part.count, *rest]
            return self._rows(func(*args[:index], size, *args[index + 1 :], **kwargs))
        if func is aten.native_dropout.default:
            x, probability, training = args
            kept = self._rows(func(self._whole(x).fill_(1), probability, training)[1])
            return x * kept * (1 / (1 - probability)), kept
        raise NotImplementedError(f"{func} has no form for a part of a batch")

    def _whole(self, x: Tensor) -> Tensor:
        """An empty tensor for all parts, with its dimensions in the memory order of `x`."""
        order = sorted(range(x.dim()), key=lambda d: -x.stride(d))
        size = [x.shape[0] * self._part.count, *x.shape[1:]]
        back = [order.index(d) for d in range(x.dim())]
        return x.new_empty([size[d] for d in order]).permute(back)

    def _rows(self, whole: Tensor) -> Tensor:
        size = len(whole) // self._part.count
        return whole[self._part.index * size :][:size]
