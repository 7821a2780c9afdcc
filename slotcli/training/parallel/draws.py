"""Random numbers of a part of a batch: those that a process with the whole batch would draw.

Noise, timesteps and dropout then are the same however a batch is divided, to the bit on a CPU.
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
_SIZED = {aten.randint.low: 2, aten.randint.default: 1}  # the place of the size among arguments
# An order of all rows together; and fused attention. On a CPU that has no dropout, and on a GPU its
# dropout cannot be reached from here.
_LEFT_ALONE = {
    aten.randperm.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
}


class DrawnForTheBatch(TorchDispatchMode):
    """Within it, what is drawn at random is drawn for the whole batch, and a part's rows taken.

    Rows are the first dimension of all that is drawn without a generator. Exact where a part has
    two rows or more: of a single one, how a batch would lie in memory cannot be told. On a GPU
    attention draws its own dropout. Raises NotImplementedError for a way of drawing that is not
    known here.
    """

    def __init__(self, part: Part) -> None:
        super().__init__()
        self._part = part

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        drawn = torch.Tag.nondeterministic_seeded in func.tags and func not in _LEFT_ALONE
        # What has a generator of its own is no draw of the step's: scenes are rendered with one.
        if not drawn or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        if func in _IN_PLACE:
            drawn = func(self._whole(args[0]), *args[1:], **kwargs)
            return args[0].copy_(self._rows(drawn))
        if func in _LIKE:
            return self._rows(func(self._whole(args[0]), *args[1:], **kwargs))
        if func in _SIZED:
            place = _SIZED[func]
            first, *rest = args[place]
            size = [first * self._part.count, *rest]
            return self._rows(func(*args[:place], size, *args[place + 1 :], **kwargs))
        if func is aten.native_dropout.default:
            x, share, training = args
            kept = self._rows(func(self._whole(x).fill_(1), share, training)[1])
            return x * kept * (1 / (1 - share)), kept
        raise NotImplementedError(f"{func} has no form for a part of a batch")

    def _whole(self, x: Tensor) -> Tensor:
        """An empty tensor for all parts, with its dimensions in the order in memory of `x`."""
        order = sorted(range(x.dim()), key=lambda d: -x.stride(d))
        size = [x.shape[0] * self._part.count, *x.shape[1:]]
        back = [order.index(d) for d in range(x.dim())]
        return x.new_empty([size[d] for d in order]).permute(back)

    def _rows(self, whole: Tensor) -> Tensor:
        size = len(whole) // self._part.count
        return whole[self._part.index * size :][:size]
