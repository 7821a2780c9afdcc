"""Adam's learning rate over a run, and an exponential moving average of the weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from slotcli.spec import OptimiserSpec


def learning_rate(spec: OptimiserSpec, peak: float, step: int) -> float:
    """Linear warm-up from the final rate to `peak`, then a cosine back to it. Paper, appendix D.

    With an exponential decay, the warm-up is from 0, and the final rate is in proportion to `peak`.
    """
    warmup = max(1, round(spec.warmup * spec.steps))
    if spec.decay == "exponential":
        if step < warmup:
            return peak * step / warmup
        done = (step - warmup) / max(1, spec.steps - warmup)
        return peak * (spec.final_learning_rate / spec.learning_rate) ** done
    if step < warmup:
        share = (step + 1) / warmup
    else:
        share = (1 + math.cos(math.pi * (step - warmup) / max(1, spec.steps - warmup))) / 2
    return spec.final_learning_rate + (peak - spec.final_learning_rate) * share


class Average:
    """An exponential moving average of a module's trainable parameters; a decay of 0 copies them.

    The decay rises from 0.1 with the number of updates, so that the start of a run is forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._parameters = {
            name: parameter
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self.shadow = {
            name: parameter.detach().clone() for name, parameter in self._parameters.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        # One call for all parameters: a loop over them costs as much as a layer.
        move = get_ema_multi_avg_fn(decay)
        live = [parameter.detach() for parameter in self._parameters.values()]
        move(list(self.shadow.values()), live, self.updates)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Lets the module hold the averaged weights within this context."""
        live = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._put(self.shadow)
        try:
            yield
        finally:
            self._put(live)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
