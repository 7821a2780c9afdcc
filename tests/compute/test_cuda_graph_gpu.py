"""Graphs on a GPU: the bits of calls without them, memory given back, and loud failures."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from slotcli.build import build_model
from slotcli.compute import cuda_graph
from slotcli.compute.cuda_graph import MOST_GRAPHS, CudaGraphs
from slotcli.compute.precision import to_bf16
from slotcli.decoders.base import RenderOptions
from slotcli.diffusion.samplers import Sampler
from slotcli.model import SlotModel
from slotcli.spec import SlotModelSpec

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def model(tiny_slot_spec: SlotModelSpec) -> SlotModel:
    torch.manual_seed(0)
    model = build_model(tiny_slot_spec)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    nn.init.normal_(model.get_parameter("decoder.codec.codebook.weight"), std=2.0)
    return model.eval().cuda()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shape of the first argument of each graph made in the test."""
    shapes, record = list[torch.Size](), cuda_graph.capture

    def spy(function, like: Tensor):
        shapes.append(like.shape)
        return record(function, like)

    monkeypatch.setattr(cuda_graph, "capture", spy)
    return shapes


@contextmanager
def without_graphs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLOTCLI_CUDA_GRAPHS", "0")
        yield


@torch.inference_mode()
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_drawing_has_the_same_bits(
    model: SlotModel, recorded: list[torch.Size], sampler: Sampler, half: bool
) -> None:
    """At two batch sizes in turn; a third takes the place of the one not used for longest."""
    if half:
        to_bf16(*model.decoder.networks)
    drawing = RenderOptions(sampler, evaluations=5)
    slots = torch.randn(6, 3, 16, device="cuda")
    sizes = (4, 2, 4, 2, 1, 2, 4)
    found = [model.decoder.render(slots[:size], drawing) for size in sizes]
    assert [shape[1] for shape in recorded] == [4, 2, 1, 4]
    with without_graphs():
        for size, drawn in zip(sizes, found, strict=True):
            assert torch.equal(drawn, model.decoder.render(slots[:size], drawing))
    assert len(recorded) == 4


def test_encoding_has_the_same_bits(model: SlotModel, recorded: list[torch.Size]) -> None:
    frames = torch.randint(0, 256, (3, 9, 3, 32, 32), dtype=torch.uint8, device="cuda")
    sizes = (3, 1, 3, 2, 3)
    found = [model.encode(frames[:size]) for size in sizes]
    assert [shape[0] for shape in recorded] == [3, 1, 2]
    with torch.no_grad():  # after inference mode, the same buffers outside of it
        rest = model.encoder(frames[:, 4:] / 127.5 - 1, found[0].slots[:, 3])
    assert len(recorded) == 3
    with without_graphs():
        for size, track in zip(sizes, found, strict=True):
            wanted = model.encode(frames[:size])
            assert torch.equal(track.slots, wanted.slots)
            assert torch.equal(track.attention, wanted.attention)
    torch.testing.assert_close(rest.slots, found[0].slots[:, 4:], atol=1e-4, rtol=1e-4)


def test_weights_that_moved_are_not_read_at_their_old_place(model: SlotModel) -> None:
    slots, drawing = torch.randn(2, 3, 16, device="cuda"), RenderOptions(evaluations=3)
    model.decoder.render(slots, drawing)
    to_bf16(*model.decoder.networks)
    found = model.decoder.render(slots, drawing)
    with without_graphs():
        assert torch.equal(found, model.decoder.render(slots, drawing))


def reserved() -> int:
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved()


@torch.no_grad()
def test_the_memory_of_graphs_is_given_back() -> None:
    layer = nn.Linear(1024, 1024, device="cuda").eval()
    graphs = CudaGraphs("It")

    def large(x: Tensor) -> Tensor:
        return layer(torch.cat([x] * 64)).sum(0)

    def used_for(rows: int) -> int:
        graphs.bind(layer, large)(torch.zeros(rows, 1024, device="cuda"))
        return reserved()

    used_for(8)  # what libraries keep for themselves
    graphs.free()
    before = reserved()
    held = [used_for(1024 + rows) - before for rows in range(4)]
    assert held[0] > 2**28  # 256 MiB each for what is multiplied, and for the products
    assert max(held[MOST_GRAPHS:]) < 1.2 * held[MOST_GRAPHS - 1]
    graphs.free()
    assert reserved() <= before + 2**24


@torch.no_grad()
def test_what_cannot_be_recorded_is_said_and_computed(caplog: pytest.LogCaptureFixture) -> None:
    layer = nn.Linear(3, 3, device="cuda").eval()

    def waits(x: Tensor) -> Tensor:
        return layer(x) * x.sum().item()

    graphs = CudaGraphs("The denoising")
    with caplog.at_level(logging.WARNING, "slotcli.kernels"):
        for rows in (1, 2):
            x = torch.randn(rows, 3, device="cuda")
            assert torch.equal(graphs.bind(layer, waits)(x), waits(x))
    (message,) = [record.message for record in caplog.records]
    assert message.startswith("The denoising runs without a CUDA graph")
    other, x = CudaGraphs("Another"), torch.randn(2, 3, device="cuda")
    assert torch.equal(other.bind(layer, layer)(x), layer(x))  # the device is still usable
