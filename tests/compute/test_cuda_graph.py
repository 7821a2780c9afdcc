"""What is recorded, with which buffers, and when it is freed. A stand-in for the device's graph
computes anew from the buffers when it is replayed, and writes to the same results, as a graph does.
"""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from slotcli.build import build_model
from slotcli.compute import cuda_graph
from slotcli.compute.cuda_graph import MOST_GRAPHS, CudaGraphs
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.kernels.dispatch import use_backend
from slotcli.model import SlotModel
from slotcli.spec import SlotModelSpec

pytestmark = pytest.mark.slow


class StandIn:
    """Results lie where they lay, whatever is computed later."""

    made: list["StandIn"]

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function, self.results, self.replays, self.freed = function, function(), 0, False
        self.made.append(self)

    def replay(self) -> None:
        assert not self.freed
        self.replays += 1
        now = pytree.tree_leaves(self.function())
        for result, value in zip(pytree.tree_leaves(self.results), now, strict=True):
            result.copy_(value)

    def reset(self) -> None:
        self.freed = True


def record(function: Callable[[], Any], like: Tensor) -> tuple[StandIn, Any]:
    graph = StandIn(function)
    return graph, graph.results


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU passes for a device with graphs from here on."""
    monkeypatch.setattr(StandIn, "made", [], raising=False)
    monkeypatch.setattr(cuda_graph, "uses_graphs", lambda device: True)
    monkeypatch.setattr(cuda_graph, "capture", record)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[StandIn]:
    """All graphs made in the test."""
    stand_in(monkeypatch)
    return StandIn.made


@pytest.fixture
def layer() -> nn.Linear:
    return nn.Linear(3, 3).eval()


@pytest.fixture
def model(tiny_slot_spec: SlotModelSpec) -> SlotModel:
    torch.manual_seed(0)
    model = build_model(tiny_slot_spec)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return model.eval()


def affine(layer: nn.Linear) -> Callable[[Tensor, list[Tensor]], tuple[Tensor, Tensor]]:
    return lambda x, last: (layer(x) + last[0], x * last[1])


@torch.no_grad()
def test_a_replay_computes_what_a_call_does(made: list[StandIn], layer: nn.Linear) -> None:
    graphs, last = CudaGraphs("It"), [torch.randn(3), torch.randn(3)]
    bound = graphs.bind(layer, affine(layer), last)
    inputs = torch.randn(4, 2, 3)
    found = [bound(x) for x in inputs]
    for x, (shifted, scaled) in zip(inputs, found, strict=True):
        assert torch.equal(shifted, layer(x) + last[0])
        assert torch.equal(scaled, x * last[1])
    assert [graph.replays for graph in made] == [4]


@torch.no_grad()
def test_bindings_of_one_graph_keep_their_own_arguments(
    made: list[StandIn], layer: nn.Linear
) -> None:
    graphs, x = CudaGraphs("It"), torch.randn(2, 3)
    first, second = ([torch.randn(3), torch.randn(3)] for _ in range(2))
    one, other = (graphs.bind(layer, affine(layer), last) for last in (first, second))
    for bound, last in ((one, first), (other, second), (one, first), (one, first)):
        assert torch.equal(bound(x)[1], x * last[1])
    assert len(made) == 1


@torch.no_grad()
def test_bound_arguments_are_copied_once(made: list[StandIn], layer: nn.Linear) -> None:
    last, x = [torch.randn(3), torch.randn(3)], torch.randn(2, 3)
    bound = CudaGraphs("It").bind(layer, affine(layer), last)
    before = bound(x)[1]
    last[1] += 1
    assert torch.equal(bound(x)[1], before)


@torch.no_grad()
def test_the_least_recently_used_graph_is_freed(made: list[StandIn], layer: nn.Linear) -> None:
    bound = CudaGraphs("It").bind(layer, layer)
    for rows in (1, 2, 1, 3, 1):
        bound(torch.zeros(rows, 3))
    assert MOST_GRAPHS == 2
    assert [graph.freed for graph in made] == [False, True, False]
    assert [graph.replays for graph in made] == [3, 1, 1]


@torch.no_grad()
def test_other_weights_and_other_forms_have_other_graphs(
    made: list[StandIn], layer: nn.Linear
) -> None:
    graphs, x = CudaGraphs("It"), torch.zeros(1, 3)
    graphs.bind(layer, layer)(x)
    layer.weight += 1  # in place: a graph reads what is there
    graphs.bind(layer, layer)(x)
    assert len(made) == 1
    layer.weight = nn.Parameter(layer.weight + 1)
    graphs.bind(layer, layer)(x)
    assert len(made) == 2
    with use_backend("reference"):
        graphs.bind(layer, layer)(x)
    assert len(made) == 3


def test_gradients_are_refused(layer: nn.Linear) -> None:
    with pytest.raises(ValueError, match="no_grad"):
        CudaGraphs("It").bind(layer, layer)


@torch.no_grad()
def test_nothing_is_recorded_in_training(made: list[StandIn], layer: nn.Linear) -> None:
    x = torch.randn(1, 3)
    assert torch.equal(CudaGraphs("It").bind(layer.train(), layer)(x), layer(x))
    assert made == []


def test_where_functions_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLOTCLI_CUDA_GRAPHS", raising=False)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert not cuda_graph.uses_graphs(cpu)
    assert cuda_graph.uses_graphs(cuda)
    before = torch.is_autocast_enabled("cuda")
    torch.set_autocast_enabled("cuda", True)
    assert not cuda_graph.uses_graphs(cuda)
    torch.set_autocast_enabled("cuda", before)
    monkeypatch.setenv("SLOTCLI_CUDA_GRAPHS", "0")
    assert not cuda_graph.uses_graphs(cuda)


@torch.no_grad()
def test_a_failure_is_said_once_and_costs_speed_alone(
    made: list[StandIn],
    layer: nn.Linear,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    graphs, x = CudaGraphs("The denoising"), torch.randn(1, 3)
    graphs.bind(layer, layer)(x)

    def fail(function: Callable[[], Any], like: Tensor) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nAnd more.")

    monkeypatch.setattr(cuda_graph, "capture", fail)
    with caplog.at_level(logging.WARNING, "slotcli.kernels"):
        for rows in (2, 3, 1):
            bound = graphs.bind(layer, layer)
            for _ in range(2):
                x = torch.randn(rows, 3)
                assert torch.equal(bound(x), layer(x))
    assert [record.message for record in caplog.records] == [
        "The denoising runs without a CUDA graph, and slower: "
        "operation not permitted when stream is capturing"
    ]
    assert made[0].freed


@pytest.mark.parametrize("sampler", ["singlestep", "multistep", "ddim"])
def test_one_graph_draws_with_any_sampler(
    model: SlotModel, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    slots = torch.randn(5, 3, 16)
    drawing = RenderOptions(sampler, evaluations=4)
    parts = slots.split([2, 2, 1])
    wanted = [model.decoder.render(part, drawing) for part in parts]
    stand_in(monkeypatch)
    with torch.inference_mode():
        found = [model.decoder.render(part, drawing) for part in parts]
    again = model.decoder.render(parts[0], RenderOptions(sampler, evaluations=4))
    for drawn, before in zip([*found, again], [*wanted, wanted[0]], strict=True):
        assert torch.equal(drawn, before)
    assert [graph.replays for graph in StandIn.made] == [12, 4]


def test_one_graph_encodes_all_frames_but_the_first(
    model: SlotModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = torch.randint(0, 256, (2, 5, 3, 32, 32), dtype=torch.uint8)
    wanted = model.encode(frames)
    stand_in(monkeypatch)
    start = model.encode(frames[:, :3])
    rest = model.encode(frames[:, 3:], start.slots[:, -1])
    assert torch.equal(torch.cat([start.slots, rest.slots], dim=1), wanted.slots)
    assert torch.equal(torch.cat([start.attention, rest.attention], dim=1), wanted.attention)
    assert [graph.replays for graph in StandIn.made] == [4]


def test_training_takes_the_memory_back(made: list[StandIn], model: SlotModel) -> None:
    model.encode(torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8))
    assert isinstance(model.decoder, LatentDiffusion)
    model.decoder.render(torch.randn(1, 3, 16), RenderOptions(evaluations=1))
    model.eval()
    assert [graph.freed for graph in made] == [False, False]
    model.train()
    assert [graph.freed for graph in made] == [True, True]
