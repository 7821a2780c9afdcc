"""Weights and inputs of the models that decode a transformer's features, made from names alone.

The rule is stated in fixtures/README.md.
"""

import json
import re
from pathlib import Path

import numpy as np
import torch
from authors_weights import draw, weight
from torch import Tensor

FIXTURES = Path(__file__).parents[1] / "fixtures"
# Name to shape of every tensor of the authors' five networks.
SHAPES: dict[str, dict[str, list[int]]] = json.loads((FIXTURES / "feature_models.json").read_text())
MODELS = list(SHAPES)
_TABLES = re.compile(r"(^initializer\.slots|\.cls_token|\.pos_embed|\.pos_emb)$")
_DOUBLED = re.compile(
    r"^(decoder|processor)\.(module\.)?(mlp\.layers\.\d+|to_q|corrector\.to_q)\.weight$"
)


def made(name: str, shape: tuple[int, ...]) -> Tensor:
    """One tensor of the authors' networks."""
    if name.endswith(".gamma") or _TABLES.search(name):
        values = torch.from_numpy(draw(name).standard_normal(shape, dtype=np.float32))
        return 0.5 + 0.1 * values if name.endswith(".gamma") else values
    return weight(name, shape) * (2 if _DOUBLED.match(name) else 1)


def state(model: str, *, with_backbone: bool = True) -> dict[str, Tensor]:
    """A network's tensors under the authors' names; zeros for a backbone that is not wanted."""
    return {
        name: made(name, tuple(shape))
        if with_backbone or ".backbone." not in name
        else torch.zeros(shape)
        for name, shape in SHAPES[model].items()
    }


def frames(size: int) -> Tensor:
    """A clip of three frames in [-1, 1]."""
    values = draw("input/frames").uniform(-1, 1, (1, 3, 3, size, size))
    return torch.from_numpy(values.astype(np.float32))


def normal_input(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(draw(f"input/{name}").standard_normal(shape, dtype=np.float32))


def error(found: Tensor, wanted: Tensor) -> float:
    """Relative Frobenius error."""
    difference = found.detach().double() - wanted.double()
    return float(difference.norm() / wanted.double().norm())
