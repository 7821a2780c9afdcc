"""Slot attention against Algorithm 1 written out in float64."""

import numpy as np
import pytest
import torch

from slotcli.encoder.slot_attention import SlotAttention

Weights = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def layer_norm(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]


def gru(update: np.ndarray, state: np.ndarray, w: Weights) -> np.ndarray:
    """Cho et al. 2014: reset and update gates, and a candidate that the reset gate filters."""
    from_update = np.split(w["gru.weight_ih"] @ update + w["gru.bias_ih"], 3)
    from_state = np.split(w["gru.weight_hh"] @ state + w["gru.bias_hh"], 3)
    reset = sigmoid(from_update[0] + from_state[0])
    keep = sigmoid(from_update[1] + from_state[1])
    candidate = np.tanh(from_update[2] + reset * from_state[2])
    return (1 - keep) * candidate + keep * state


def algorithm_1(
    features: np.ndarray, slots: np.ndarray, w: Weights, iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """One image: features [p, d], slots [n, d]."""
    inputs = layer_norm(features, w, "norm_inputs")
    keys, values = inputs @ w["keys.weight"].T, inputs @ w["values.weight"].T
    attention = np.empty(0)
    for _ in range(iterations):
        queries = layer_norm(slots, w, "norm_slots") @ w["queries.weight"].T
        logits = queries @ keys.T / np.sqrt(slots.shape[1])
        exps = np.exp(logits - logits.max(0))
        attention = exps / exps.sum(0)
        weights = attention + 1e-6
        updates = weights / weights.sum(1, keepdims=True) @ values
        slots = np.stack(
            [gru(update, slot, w) for update, slot in zip(updates, slots, strict=True)]
        )
        hidden = layer_norm(slots, w, "mlp.0") @ w["mlp.1.weight"].T + w["mlp.1.bias"]
        slots = slots + np.maximum(hidden, 0) @ w["mlp.3.weight"].T + w["mlp.3.bias"]
    return slots, attention


@pytest.fixture
def corrector() -> SlotAttention:
    torch.manual_seed(0)
    module = SlotAttention(12)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize(("slots", "positions"), [(4, 9), (1, 9), (3, 1)])
def test_it_agrees_with_the_algorithm(
    corrector: SlotAttention, iterations: int, slots: int, positions: int
) -> None:
    features, initial = torch.randn(2, positions, 12), 3 * torch.randn(2, slots, 12) + 1
    weights = {name: p.detach().double().numpy() for name, p in corrector.named_parameters()}
    with torch.no_grad():
        found, attention = corrector(initial, features, corrector.statistics(features), iterations)
    for b in range(2):
        wanted, wanted_attention = algorithm_1(
            features[b].double().numpy(), initial[b].double().numpy(), weights, iterations
        )
        np.testing.assert_allclose(found[b], wanted, atol=2e-5, rtol=2e-5)
        np.testing.assert_allclose(attention[b], wanted_attention, atol=1e-5)


@torch.no_grad()
def test_the_state_of_the_gru_is_not_normalised(corrector: SlotAttention) -> None:
    """LayerNorm hides a slot's scale, so slots ten times as long differ only through the state."""
    torch.nn.init.ones_(corrector.norm_slots.weight)
    torch.nn.init.zeros_(corrector.norm_slots.bias)
    for parameter in corrector.mlp.parameters():
        parameter.zero_()
    corrector.gru.bias_ih[12:24] = corrector.gru.bias_hh[12:24] = 20.0  # the update gate: keep
    corrector.gru.weight_ih[12:24] = corrector.gru.weight_hh[12:24] = 0.0
    slots = 10 * torch.randn(1, 3, 12)
    features = torch.randn(1, 5, 12)
    found, _ = corrector(slots, features, corrector.statistics(features), 2)
    torch.testing.assert_close(found, slots)


@torch.no_grad()
def test_half_precision_keeps_the_attention_whole(corrector: SlotAttention) -> None:
    features, slots = torch.randn(2, 30, 12), torch.randn(2, 4, 12)
    wanted, wanted_attention = corrector(slots, features, corrector.statistics(features), 1)
    corrector.bfloat16()
    features, slots = features.bfloat16(), slots.bfloat16()
    found, attention = corrector(slots, features, corrector.statistics(features), 1)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(attention.sum(1), torch.ones(2, 30))
    assert (found - wanted).norm() < 2e-2 * wanted.norm()
    assert (attention - wanted_attention).norm() < 3e-2 * wanted_attention.norm()
