import statistics
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from slotcli.bench import complexity as measured
from slotcli.bench.complexity import DrawingWork, complexity, reconstruction
from slotcli.bench.forms import Variant
from slotcli.bench.own_process import in_own_process
from slotcli.bench.subject import Work
from slotcli.bench.timing import Timing
from slotcli.bench.training import step_cost
from slotcli.bench.training_step import count
from slotcli.build import build_model, count_parameters
from slotcli.model import normalise
from slotcli.spec import SlotModelSpec

pytestmark = pytest.mark.slow

WORK = Work(device="cpu", threads=1, batch=2, clip_length=2, rounds=2)
DRAWING = DrawingWork(encoded_frames=3, drawn_frames=2, warm_up=0, uncached=True)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this very process: quicker, and all the same but for the memory."""

    def call(task: Callable, argument: object) -> tuple[object, str]:
        return task(argument), ""

    monkeypatch.setattr(measured, "in_own_process", call)


def layer_flops(layer: nn.Module, entering: Tensor, leaving: Tensor) -> int:
    """Multiplications and additions, by the textbook."""
    if isinstance(layer, nn.Linear):
        return 2 * leaving.numel() * layer.in_features
    if isinstance(layer, nn.Conv2d):
        return 2 * leaving.numel() * layer.in_channels * layer.kernel_size[0] ** 2
    if isinstance(layer, nn.ConvTranspose2d):
        return 2 * entering.numel() * layer.out_channels * layer.kernel_size[0] ** 2
    assert isinstance(layer, nn.GRUCell)
    return 2 * len(entering) * 3 * layer.hidden_size * (layer.input_size + layer.hidden_size)


@pytest.mark.parametrize("system_spec", ["slot-attention"], indirect=True)
def test_operations_are_those_that_the_textbook_counts_layer_by_layer(
    system_spec: SlotModelSpec,
) -> None:
    """Backward, a layer costs its forward once for its weights and once for what enters it.

    What enters the first convolution and the two maps of positions needs no gradient.
    """
    model = build_model(system_spec)
    forward, backward = [], []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        flops = layer_flops(layer, inputs[0], output)
        forward.append(flops)
        backward.append(flops * (2 if inputs[0].requires_grad else 1))

    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.GRUCell):
            layer.register_forward_hook(note)
    clips = 2
    frames = torch.zeros(1, clips, 3, 32, 32, dtype=torch.uint8)
    track = model.encoder(normalise(frames))
    # In each iteration: the queries through the keys' weights, the scores of slots at positions,
    # and what slots read there.
    n, d = track.slots.shape[2:]
    positions = track.attention[0, 0, 0].numel()
    spec = system_spec.encoder
    iterations = spec.first_iterations + (clips - 1) * spec.iterations
    queries = iterations * 2 * n * d * d
    reads = iterations * 2 * (2 * n * positions * d)
    encode = sum(forward) + queries + reads
    model.decoder.loss(track.slots.flatten(0, 1), normalise(frames).flatten(0, 1))
    # Backward, scores are computed again rather than kept: five products for the two of forward.
    step = sum(forward) + sum(backward) + 3 * queries + reads + reads * 5 // 2
    found = count(system_spec, clips)
    assert found.encode_flops == encode // clips
    assert found.step_flops == step // clips


def test_parameters_are_counted_and_a_frozen_codec_is_not_trained(
    system_spec: SlotModelSpec,
) -> None:
    found = count(system_spec, 1)
    model = build_model(system_spec)
    codec = getattr(model.decoder, "codec", None)
    frozen = sum(p.numel() for p in codec.parameters()) if codec is not None else 0
    assert found.parameters == count_parameters(system_spec)
    assert found.parameters - found.trainable == frozen
    assert (frozen > 0) == (system_spec.codec is not None)


def test_a_frozen_codec_costs_operations_too(tiny_slot_spec: SlotModelSpec) -> None:
    """A codec with one more block of layers has the same U-Net behind it, and a dearer step."""
    codec = tiny_slot_spec.decoder.codec.model_copy(update={"res_blocks": 2})
    decoder = tiny_slot_spec.decoder.model_copy(update={"codec": codec})
    larger = tiny_slot_spec.model_copy(update={"decoder": decoder})
    small, large = count(tiny_slot_spec, 1), count(larger, 1)
    assert large.step_flops > small.step_flops
    assert (large.encode_flops, large.trainable) == (small.encode_flops, small.trainable)


@pytest.mark.usefixtures("here")
def test_every_system_is_measured_as_the_workload_says(system_spec: SlotModelSpec) -> None:
    found = complexity(system_spec, WORK, DRAWING)
    step = found["training_step"]
    assert (step["frames"], len(step["runs"])) == (4, 2)
    assert (found["encode"]["frames"], found["render"]["frames"]) == (3, 2)
    has_cache = system_spec.decoder.kind == "token_transformer"
    assert (found["render_uncached"] is not None) == has_cache
    assert {name for name, value in found.items() if value is None} == found["reasons"].keys()
    assert torch.random.initial_seed() == 0  # weights and frames are the seed's


def test_reconstruction_is_extrapolated_from_the_median_frame() -> None:
    encode = Timing(24, (48.0, 24.0, 36.0), (1.0, 1.0, 1.0))
    render = Timing(2, (2.0, 8.0, 6.0), (1.0, 1.0, 1.0))
    found = reconstruction(encode, render)
    assert found["seconds"] == 2400 * (1.5 + 3.0)
    assert found["extrapolated_from_drawn_frames"] * found["drawn_frames_factor"] == 2400
    assert render.as_dict()["median_seconds"] == statistics.median(render.seconds)


def test_the_memory_of_a_step_holds_weights_gradients_and_moments(
    tiny_slot_spec: SlotModelSpec,
) -> None:
    """Four numbers a weight; what stands beside them, libraries too, is a few hundred MiB."""
    wide = tiny_slot_spec.decoder.model_copy(update={"channels": 192})
    spec = tiny_slot_spec.model_copy(update={"decoder": wide})
    weights = 4 * count(spec, 1).trainable
    work = replace(WORK, batch=1, clip_length=1, rounds=1)
    found, why = in_own_process(step_cost, (spec, work, Variant("ours", "fp32")))
    assert found is not None, why
    _, peak_bytes = found
    assert peak_bytes is not None
    assert 4 * weights < peak_bytes < 4 * weights + 400 * 2**20


def test_what_memory_was_too_small_for_is_null_and_says_so(
    tiny_slot_spec: SlotModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(task: object, argument: object) -> tuple[None, str]:
        return None, "memory ran out: no room"

    monkeypatch.setattr(measured, "in_own_process", full)
    values = complexity(tiny_slot_spec, WORK, DRAWING)
    assert {name for name, value in values.items() if value is None} == values["reasons"].keys()
    assert values["reasons"]["training_step"] == "memory ran out: no room"
    assert values["reconstruction"] is None
    assert values["parameters"] > 0
