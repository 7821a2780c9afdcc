import math

import pytest
import torch
from torch import nn

from slotcli.spec import OptimiserSpec
from slotcli.training.optimiser import Average, learning_rate

SPEC = OptimiserSpec(
    steps=1000, batch_size=1, learning_rate=1.0, final_learning_rate=0.1, warmup=0.05
)


def rate(step: int) -> float:
    return learning_rate(SPEC, 1.0, step)


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    assert rate(0) == pytest.approx(0.1 + 0.9 / 50)
    steps = [rate(step + 1) - rate(step) for step in range(49)]
    assert steps == pytest.approx([0.9 / 50] * 49)
    assert rate(49) == rate(50) == 1.0


def test_cosine_falls_to_the_final_rate() -> None:
    assert rate(50 + 475) == pytest.approx(0.55)
    quarter = 0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2
    assert rate(50 + 950 // 4) == pytest.approx(quarter, abs=2e-3)
    assert all(rate(step) > rate(step + 1) for step in range(50, 999))
    assert rate(999) == pytest.approx(0.1, abs=1e-5)


def test_the_peak_scales_a_group_but_not_the_final_rate() -> None:
    assert learning_rate(SPEC, 3.0, 50) == 3.0
    assert learning_rate(SPEC, 3.0, 1000) == pytest.approx(0.1)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_runs_of_a_step_or_two_have_rates(steps: int, warmup: float) -> None:
    spec = SPEC.model_copy(update={"steps": steps, "warmup": warmup})
    for step in range(steps):
        assert 0 < learning_rate(spec, 1.0, step) <= 1


def module_with(value: float) -> nn.Linear:
    module = nn.Linear(2, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_average_follows_its_closed_form(decay: float) -> None:
    """After n updates: every value weighted by its own share and all decays that came later."""
    values = [3.0, -1.0, 4.0, 1.5, -9.0, 2.0, 6.0, 5.0, 3.5, 8.0, 9.0, -7.0]
    module = module_with(values[0])
    average = Average(module, decay)
    for value in values[1:]:
        nn.init.constant_(module.weight, value)
        average.update()
    decays = [min(decay, (1 + n) / (10 + n)) for n in range(1, len(values))]
    weights = [1.0, *[1 - own for own in decays]]
    wanted = sum(
        weight * value * math.prod(decays[index:])
        for index, (weight, value) in enumerate(zip(weights, values, strict=True))
    )
    assert average.shadow["weight"][0].tolist() == pytest.approx([wanted, wanted], rel=1e-5)


def test_without_decay_the_average_is_the_module() -> None:
    module = module_with(1.0)
    average = Average(module, 0.0)
    nn.init.constant_(module.weight, 0.1)
    average.update()
    assert torch.equal(average.shadow["weight"], module.weight)


def test_the_average_is_applied_for_a_while_only() -> None:
    module = module_with(1.0)
    average = Average(module, 0.9)
    nn.init.constant_(module.weight, 5.0)
    with average.applied():
        assert module.weight[0].tolist() == [1, 1]
    assert module.weight[0].tolist() == [5, 5]
    assert average.shadow["weight"][0].tolist() == [1, 1]


def test_frozen_parameters_are_not_averaged() -> None:
    module = nn.Sequential(module_with(1.0), module_with(2.0).requires_grad_(False))
    assert list(Average(module, 0.9).shadow) == ["0.weight"]
