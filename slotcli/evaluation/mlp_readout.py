"""A small multilayer perceptron as a readout: one hidden layer, trained with AdamW."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor, nn

from slotcli.evaluation.readouts import (
    Features,
    Fitted,
    Scaling,
    Target,
    fit_constant,
    inner_parts,
)

HIDDEN = 64
STOPS = (0, 25, 50, 100, 200, 400)  # steps after which training may end
DECAYS = (1e-3, 1e-1, 1.0)  # decoupled weight decay, per unit of the learning rate
_RATE = 3e-3
_BATCH = 256
_AT_ONCE = 8192  # rows; bounds the memory of predictions


def fit_mlp(
    features: Features,
    target: Target,
    clips: Int64[np.ndarray, " n"],
    *,
    categorical: bool,
    seed: int,
) -> Fitted:
    """A perceptron whose weight decay and number of steps are chosen by the inner folds.

    It begins as the training rows' mean, or their frequencies of classes, and stays there if no
    step improves the inner folds. Deterministic by `seed` on the CPU, whatever torch's own state.
    """
    codes, own = np.unique(target, return_inverse=True)
    if len(codes) == 1:
        return fit_constant(features, target, clips, categorical=categorical, seed=seed)
    # The scale of the target is common to all inner folds, for their losses are added up.
    mean, deviation = (0.0, 1.0) if categorical else (float(target.mean()), float(target.std()))
    wanted = torch.from_numpy(own) if categorical else torch.from_numpy((target - mean) / deviation)
    wanted = wanted if categorical else wanted.float()[:, None]
    outputs = len(codes) if categorical else 1
    parts = inner_parts(target, clips, categorical=categorical, seed=seed)
    members = [(train, held, decay) for decay in DECAYS for train, held in parts]
    losses = np.zeros((len(STOPS), len(members)))
    rows = [train for train, _, _ in members]
    decays = [decay for *_, decay in members]
    trained = _train(features, wanted, outputs, rows, decays, STOPS, seed)
    for number, networks in enumerate(trained):
        for member, (_, held, _) in enumerate(members):
            shown = networks.of(member, features[held])
            losses[number, member] = _loss(shown[None], wanted[held][None], "sum").item()
    total = losses.reshape(len(STOPS), len(DECAYS), len(parts)).sum(-1)
    stop, choice = (int(index) for index in np.unravel_index(total.argmin(), total.shape))
    every = np.arange(len(target))
    *_, final = _train(
        features, wanted, outputs, [every], [DECAYS[choice]], STOPS[: stop + 1], seed
    )

    def predict(shown: Features) -> Target:
        found = final.of(0, shown).double().numpy()
        return codes[found.argmax(1)] if categorical else found[:, 0] * deviation + mean

    return Fitted(predict, {"steps": float(STOPS[stop]), "weight_decay": DECAYS[choice]})


class _Networks:
    """m perceptrons of one shape, each with the scaling of its own training rows."""

    def __init__(self, scalings: list[Scaling], outputs: Float[Tensor, "m k"], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        count, dim = len(scalings), len(scalings[0].mean)
        self._mean = torch.from_numpy(np.stack([own.mean for own in scalings])[:, None])
        deviations = np.stack([own.deviation for own in scalings])[:, None]
        self._deviation = torch.from_numpy(deviations)
        first = torch.randn(1, dim, HIDDEN, generator=generator) * (2 / max(dim, 1)) ** 0.5
        self.weights = [
            first.repeat(count, 1, 1).requires_grad_(),
            torch.zeros(count, HIDDEN, outputs.shape[1], requires_grad=True),
        ]
        self.biases = [
            torch.zeros(count, 1, HIDDEN, requires_grad=True),
            outputs[:, None].clone().requires_grad_(),
        ]

    def __call__(self, features: Float64[Tensor, "m b d"]) -> Float32[Tensor, "m b k"]:
        # In float64 up to here: a mean far from 0 would cost a float32 its digits.
        scaled = ((features - self._mean) / self._deviation).float()
        hidden = torch.baddbmm(self.biases[0], scaled, self.weights[0]).relu()
        return torch.baddbmm(self.biases[1], hidden, self.weights[1])

    @torch.no_grad()
    def of(self, member: int, features: Features) -> Float32[Tensor, "n k"]:
        """The outputs of one of the networks."""
        found = list[Tensor]()
        first, second = (own[member] for own in self.weights)
        bias, last = (own[member] for own in self.biases)
        for part in torch.from_numpy(features).split(_AT_ONCE):
            scaled = ((part - self._mean[member]) / self._deviation[member]).float()
            found.append((scaled @ first + bias).relu() @ second + last)
        return torch.cat(found)


def _train(
    features: Features,
    wanted: Tensor,
    outputs: int,
    rows: Sequence[np.ndarray],
    decays: Sequence[float],
    stops: Sequence[int],
    seed: int,
) -> Iterator[_Networks]:
    """Trains a network per set of rows, all in one batch, and yields them after each stop.

    They do not influence each other: the loss is a sum, and Adam scales every weight by itself.
    """
    table = torch.from_numpy(features)
    networks = _Networks(
        [Scaling.of(features[own]) for own in rows],
        torch.stack([_first_outputs(wanted[own], outputs) for own in rows]),
        seed,
    )
    size = min(_BATCH, len(features))
    generator = torch.Generator().manual_seed(seed + 1)
    indices = [torch.from_numpy(own) for own in rows]
    optimiser = torch.optim.Adam([*networks.weights, *networks.biases], lr=_RATE)
    kept = 1 - _RATE * torch.tensor(decays)[:, None, None]
    for step in range(stops[-1] + 1):
        if step in stops:
            yield networks
        if step == stops[-1]:
            break
        drawn = [own[torch.randint(len(own), (size,), generator=generator)] for own in indices]
        batch = torch.stack(drawn)
        optimiser.zero_grad()
        with torch.enable_grad():
            _loss(networks(table[batch]), wanted[batch], "mean").backward()
        with torch.no_grad():
            for weights in networks.weights:
                weights.mul_(kept)
        optimiser.step()


def _first_outputs(wanted: Tensor, outputs: int) -> Float[Tensor, " k"]:
    """The best constant outputs: the mean, or logarithms of the frequencies of classes."""
    if wanted.is_floating_point():
        return wanted.mean(0)
    counts = torch.bincount(wanted, minlength=outputs).float()
    return (counts / counts.sum()).clamp(min=1e-3).log()


def _loss(found: Float[Tensor, "m b k"], wanted: Tensor, reduction: str) -> Tensor:
    """The sum over members of their mean, or of their summed, losses."""
    if wanted.is_floating_point():
        each = (found - wanted).square().sum(-1)
    else:
        each = nn.functional.cross_entropy(found.mT, wanted, reduction="none")
    return (each.mean(1) if reduction == "mean" else each.sum(1)).sum()
