"""The variants of whole models, on models small enough to run through."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from slotcli.bench import inference
from slotcli.bench import training as train_bench
from slotcli.bench.forms import Variant, variants_here
from slotcli.bench.inference import bench_draw, bench_encode
from slotcli.bench.subject import Subject, Work, open_subject, random_subject
from slotcli.bench.training import bench_train, time_steps, time_waiting
from slotcli.errors import UsageError
from slotcli.spec import SlotModelSpec
from slotcli.training.parallel.peers import Part
from slotcli.training.state import RunState
from slotcli.training.tasks.slot_batches import SlotBatches
from slotcli.training.tasks.slots import SlotTask

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
VARIANTS = [
    Variant(form, precision) for precision in ("fp32", "bf16") for form in ("ours", "plain")
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small layers on several threads wait for each other, the longer the busier the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def subject(tiny_model: Path) -> Subject:
    subject = open_subject(str(tiny_model))
    # Codes far apart: a rounding error must not decide between two of them.
    codes = subject.model.decoder.get_parameter("codec.codebook.weight")
    with torch.no_grad():
        codes.copy_(torch.randn(codes.shape, generator=torch.Generator().manual_seed(0)) * 2)
    return subject


def test_weights_are_the_models_own_where_it_has_any(tiny_model: Path) -> None:
    found = open_subject(str(tiny_model))
    assert found.sha256 is not None
    assert open_subject(str(tiny_model / "weights.safetensors")).sha256 == found.sha256


def test_random_weights_leave_no_layer_at_zero() -> None:
    first = open_subject("slot-attention-clevrtex")
    assert first.sha256 is None
    assert all(parameter.any() for parameter in first.model.parameters())
    again = open_subject("slot-attention-clevrtex")
    for one, other in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_codec_is_refused(tiny_codec: Path) -> None:
    for reference in (str(tiny_codec), "vqvae-movi-d"):
        with pytest.raises(UsageError, match="codec"):
            open_subject(reference)


def test_encoding_is_timed_and_compared(subject: Subject) -> None:
    told: list[str] = []
    found = bench_encode(subject, VARIANTS, CPU, frames=18, rounds=2, tell=told.append)
    assert len(told) == len(VARIANTS) * (1 + 2)
    values = found.as_dict()
    assert (values["frames"], values["reasons"]) == (18, {})
    arms = values["arms"]
    assert arms["plain fp32"]["slots_error"] == 0
    assert arms["ours fp32"]["slots_error"] < 1e-5
    assert 1e-5 < arms["ours bf16"]["slots_error"] < 0.2
    assert arms["ours fp32"]["mask_pixels_changed"] < 0.001
    assert arms["plain bf16"]["to_plain_same"] == 1
    assert len(arms["ours bf16"]["cpu_runs"]) == 2


def test_drawing_is_timed_and_compared(subject: Subject) -> None:
    told: list[str] = []
    arms = VARIANTS[:2]
    found = bench_draw(subject, arms, CPU, frames=2, rounds=1, tell=told.append)
    assert [each.name for each in found] == [
        "U-Net forward, 8 frames",
        "draw 1 frame",
        "draw 2 frames",
    ]
    assert len(told) == 3 * 2 * len(arms)
    ours = Variant("ours", "fp32")
    assert found[0].figures[ours]["prediction_error"] < 1e-5
    for each in found[1:]:
        assert each.figures[ours]["psnr_db"] > 80


def test_an_arm_that_is_off_shows(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the slots forgotten: quick, and wrong."""
    ordinary = inference.form_of

    def broken(model, form, device):
        own = ordinary(model, form, device)
        if form == "ours":
            own.encoder.corrector.values.weight.data.zero_()
        return own

    monkeypatch.setattr(inference, "form_of", broken)
    found = bench_encode(subject, VARIANTS[:2], CPU, frames=2, rounds=1, tell=lambda _: None)
    assert found.figures[Variant("ours", "fp32")]["slots_error"] > 0.01


@pytest.mark.parametrize("system_spec", ["savi"], indirect=True)
def test_a_decoder_without_a_unet_is_drawn_too(system_spec: SlotModelSpec) -> None:
    subject = random_subject(system_spec)
    found = bench_draw(subject, VARIANTS[:2], CPU, frames=1, rounds=1, tell=lambda _: None)
    assert [each.name for each in found] == ["draw 1 frame"]
    assert found[0].figures[VARIANTS[0]]["psnr_db"] > 80


WORK = Work("cpu", threads=1, batch=2, clip_length=2, rounds=2)


def test_steps_are_timed_side_by_side_from_one_loss(tiny_model: Path) -> None:
    found, product_flops = time_steps((str(tiny_model), WORK, VARIANTS))
    losses = found.results
    assert list(found.timings) == VARIANTS
    assert found.reasons == {}
    assert all(each.frames == 4 and len(each.seconds) == 2 for each in found.timings.values())
    exact = losses[Variant("plain", "fp32")]
    assert losses[Variant("ours", "fp32")] == pytest.approx(exact, rel=1e-4)
    assert losses[Variant("ours", "bf16")] == pytest.approx(exact, rel=0.1)
    assert losses[Variant("ours", "bf16")] != losses[Variant("ours", "fp32")]
    assert product_flops.keys() == {"fp32", "bf16"}


def test_rates_belong_to_one_time(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_bench, "in_own_process", lambda task, job: (task(job), ""))
    found = bench_train(str(tiny_model), WORK, VARIANTS[:2], step_flops=100)
    assert found.steps.timings.keys() == set(VARIANTS[:2])
    arms = found.steps.arms()
    assert all(variant["peak_bytes"] is not None for variant in arms.values())
    ours = arms["ours fp32"]
    assert ours["steps_per_second"] == 1 / ours["median_seconds"]
    assert ours["samples_per_second"] == pytest.approx(2 * ours["steps_per_second"])
    assert ours["flops_per_second"] == pytest.approx(100 * ours["steps_per_second"])
    assert ours["loss_error"] < 1e-4
    per_cost = 100 / ours["median_cpu_seconds"]
    assert ours["utilisation"] == pytest.approx(per_cost / found.product_flops["fp32"])
    assert found.data_wait is not None
    assert 0 <= found.data_wait <= 1


def test_slow_data_are_waited_for(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(self: SlotBatches, step: int, part: Part) -> object:
        time.sleep(0.02)
        return ()

    def at_once(state: RunState, task: SlotTask, parts: list[Part], *_: object) -> None:
        task.batch(state.step, parts[0])
        state.step += 1

    monkeypatch.setattr(SlotBatches, "__call__", slow)
    monkeypatch.setattr(train_bench, "update", at_once)
    share, _ = time_waiting((str(tiny_model), WORK))
    assert share is not None
    assert share > 0.5


def test_data_that_are_not_there_are_not_waited_for() -> None:
    share, why = time_waiting(("slot-attention-clevrtex", WORK))
    assert share is None
    assert "CLEVRTex" in why


def test_what_memory_was_too_small_for_has_a_reason(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "memory ran out: no room."
    monkeypatch.setattr(train_bench, "in_own_process", lambda task, job: (None, why))
    steps = bench_train(str(tiny_model), WORK, VARIANTS[:2], step_flops=1).steps
    assert steps.arms() == {}
    assert steps.reasons == dict.fromkeys(["ours fp32", "plain fp32"], why)


def test_arms_of_this_machine_include_the_baseline() -> None:
    arms, reasons = variants_here(CPU, compiled=False)
    assert set(VARIANTS[:2]) <= set(arms)
    assert "--compile" in reasons["compiled fp32"]
