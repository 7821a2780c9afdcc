"""Tiny runs of both tasks, ended in every way there is: what goes on equals what never stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, SIGTERM, SIGUSR1, raise_signal
from typing import Any

import pytest
import torch
from torch import Tensor

from slotcli.build import build_codec, build_model
from slotcli.checkpoint import WEIGHTS, load_model
from slotcli.data.rendered import SynthDataset
from slotcli.errors import CannotCreateError, Terminated, UsageError
from slotcli.model import normalise
from slotcli.spec import CodecModelSpec, SlotModelSpec, SynthSpec
from slotcli.training.auxiliary.grouping import motion_grouping_loss
from slotcli.training.auxiliary.motion import motion
from slotcli.training.loop import train
from slotcli.training.parallel.peers import WHOLE
from slotcli.training.tasks import slots as slot_task
from slotcli.training.tasks import vqvae as codec_task
from slotcli.training.tasks.slot_batches import SlotBatches
from slotcli.training.tasks.slots import SlotTask
from slotcli.training.tasks.vqvae import CodecTask
from slotcli.types import ClipBatch

pytestmark = pytest.mark.slow

Spec = CodecModelSpec | SlotModelSpec
CPU = torch.device("cpu")
CLOCKED = {"steps_per_second", "data_wait"}


@pytest.fixture(scope="module")
def clips() -> SynthDataset:
    """Rendered once; the tiny definitions ask for the same."""
    return SynthDataset(SynthSpec(mix={"A": 1.0}, clips=4, frames=3), (32, 32))


@pytest.fixture(params=["codec", "slots"])
def spec(
    request: pytest.FixtureRequest, tiny_codec_spec: CodecModelSpec, tiny_slot_spec: SlotModelSpec
) -> Spec:
    return tiny_codec_spec if request.param == "codec" else tiny_slot_spec


@pytest.fixture(autouse=True)
def dead_codes_are_soon_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_task, "_RESTART_EVERY", 3)


@pytest.fixture(scope="module")
def undisturbed(
    clips: SynthDataset, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Spec], Path]:
    """The folder of a run that was left alone; each definition is trained once."""
    folders: dict[str, Path] = {}

    def trained(spec: Spec) -> Path:
        key = spec.model_dump_json()
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("undisturbed")
            run(spec, make_task(spec, clips), folders[key])
        return folders[key]

    return trained


def make_task(spec: Spec, clips: SynthDataset) -> CodecTask | SlotTask:
    torch.manual_seed(spec.train.seed)
    frames = torch.stack([clips.clip(index, 0, 3).frames for index in range(2)])
    if isinstance(spec, CodecModelSpec):
        return CodecTask(spec, build_codec(spec), clips, frames[:, 0], CPU)
    return SlotTask(spec, build_model(spec), clips, ClipBatch(frames), CPU)


def run(spec: Spec, task: CodecTask | SlotTask, out: Path, *, resume: bool = False) -> list[int]:
    """Trains and returns the steps that were reported."""
    seen: list[int] = []

    def progress(step: int, steps: int, row: dict[str, Any]) -> None:
        assert row["step"] == step
        seen.append(step)

    train(spec, task, out, resume=resume, command=["tests"], progress=progress)
    return seen


def with_steps(spec: Spec, steps: int, **options: Any) -> Spec:
    train = spec.train.model_copy(update={"steps": steps, **options})
    return spec.model_copy(update={"train": train})


def states(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "state").iterdir())


def logged(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


def figures(out: Path) -> list[dict[str, Any]]:
    """The log without what the clock says."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in row if name not in CLOCKED} for row in rows]


def assert_same_run(one: Path, other: Path) -> None:
    assert (one / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()
    last = states(one)[-1]
    assert states(other)[-1] == last
    for path in (one / "state" / last).iterdir():
        assert (other / "state" / last / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_run_leaves_weights_log_and_state(
    spec: Spec, clips: SynthDataset, tmp_path: Path
) -> None:
    task = make_task(spec, clips)
    before = {name: p.detach().clone() for name, p in task.module.named_parameters()}
    assert run(spec, task, tmp_path) == [2, 4]
    assert logged(tmp_path) == [2, 4]
    assert states(tmp_path) == ["step-00000002", "step-00000004"]
    moved = {n for n, p in task.module.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert not any(name.startswith("decoder.codec.") for name in moved)
    loaded = load_model(str(tmp_path))
    assert (loaded.spec, loaded.step) == (spec, 4)
    row = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert set(task.figures) - {"fg_ari", "ari", "miou"} <= row.keys()
    assert row["learning_rate"] > 0


def test_a_run_whose_last_state_is_incomplete_goes_on_from_the_one_before(
    spec: Spec, clips: SynthDataset, tmp_path: Path, undisturbed: Callable[[Spec], Path]
) -> None:
    """The first run also shows that the same seed gives the same weights."""
    run(spec, make_task(spec, clips), tmp_path)
    assert_same_run(undisturbed(spec), tmp_path)
    (tmp_path / "state" / "step-00000004" / "COMPLETE").unlink()
    (tmp_path / WEIGHTS).unlink()
    assert run(spec, make_task(spec, clips), tmp_path, resume=True) == [4]
    assert logged(tmp_path) == [2, 4]
    assert_same_run(undisturbed(spec), tmp_path)


def interrupt_in(
    task: CodecTask | SlotTask, method: str, call: int, signals: tuple[int, ...]
) -> None:
    """Sends the signals, one after the other, in the middle of that call."""
    original: Callable[..., Any] = getattr(task, method)
    calls: list[None] = []

    def interrupted(*args: Any) -> Any:
        calls.append(None)
        result = original(*args)
        if len(calls) == call:
            for number in signals:
                raise_signal(number)
        return result

    setattr(task, method, interrupted)


@pytest.mark.parametrize(
    ("method", "call", "signals", "saved_at"),
    [
        ("loss", 2, (SIGINT,), 2),  # the step at hand is finished
        ("loss", 3, (SIGTERM,), 3),
        ("loss", 1, (SIGUSR1,), 1),
        ("loss", 3, (SIGTERM, SIGINT), 2),  # cut in two: it never happened
        ("evaluate", 1, (SIGINT,), 2),
        ("evaluate", 2, (SIGTERM,), 4),  # only the last figures are missing
    ],
)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    spec: Spec,
    clips: SynthDataset,
    tmp_path: Path,
    undisturbed: Callable[[Spec], Path],
    method: str,
    call: int,
    signals: tuple[int, ...],
    saved_at: int,
) -> None:
    spec = with_steps(spec, 4)
    task = make_task(spec, clips)
    interrupt_in(task, method, call, signals)
    with pytest.raises(KeyboardInterrupt if signals[-1] == SIGINT else Terminated):
        run(spec, task, tmp_path)
    assert states(tmp_path)[-1] == f"step-{saved_at:08d}"
    assert load_model(str(tmp_path)).step == saved_at

    run(spec, make_task(spec, clips), tmp_path, resume=True)
    assert figures(tmp_path) == figures(undisturbed(spec))
    assert_same_run(undisturbed(spec), tmp_path)


def test_dead_codes_are_known_across_a_resumption(
    tiny_codec_spec: CodecModelSpec, clips: SynthDataset
) -> None:
    task = make_task(tiny_codec_spec, clips)
    task.loss(task.batch(0), 0)
    assert 0 < int(task.memory["used"].sum()) < tiny_codec_spec.codec.num_codes


def test_a_run_can_be_made_longer(spec: Spec, clips: SynthDataset, tmp_path: Path) -> None:
    run(with_steps(spec, 2), make_task(spec, clips), tmp_path)
    assert run(with_steps(spec, 4), make_task(spec, clips), tmp_path, resume=True) == [4]
    with pytest.raises(UsageError, match="step 4"):
        run(with_steps(spec, 4), make_task(spec, clips), tmp_path, resume=True)


def test_a_run_is_not_overwritten(
    tiny_codec_spec: CodecModelSpec, clips: SynthDataset, tmp_path: Path
) -> None:
    run(tiny_codec_spec, make_task(tiny_codec_spec, clips), tmp_path)
    before = (tmp_path / WEIGHTS).read_bytes()
    with pytest.raises(CannotCreateError, match="holds a run"):
        run(tiny_codec_spec, make_task(tiny_codec_spec, clips), tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == before


def test_rows_are_written_whenever_the_model_is_evaluated(
    tiny_codec_spec: CodecModelSpec, clips: SynthDataset, tmp_path: Path
) -> None:
    spec = with_steps(tiny_codec_spec, 5, evaluate_every=3)
    assert run(spec, make_task(spec, clips), tmp_path) == [3, 5]
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all("psnr" in row for row in rows)


def test_each_part_of_a_slot_model_has_its_own_rate(
    tiny_slot_spec: SlotModelSpec, clips: SynthDataset
) -> None:
    encoder, decoder = make_task(tiny_slot_spec, clips).parameter_groups()
    assert (encoder["peak"], decoder["peak"]) == (1e-3, 2e-3)
    model = build_model(tiny_slot_spec)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(p.numel() for group in (encoder, decoder) for p in group["params"]) == trainable


def test_stored_targets_are_those_of_the_window(
    tiny_slot_spec: SlotModelSpec, clips: SynthDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(tiny_slot_spec, clips)
    assert isinstance(task, SlotTask)
    seen: list[Tensor] = []
    targets: list[Tensor] = []

    def loss(slots: Tensor, target: Tensor, layout: object) -> Tensor:
        targets.append(target)
        return torch.zeros(())

    task.module.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    monkeypatch.setattr(task.module.decoder, "loss", loss)
    for step in [*range(6), *range(6)]:  # the second time from memory
        task.loss(task.batch(step), step)
    assert len({frames.sum().item() for frames in seen}) == 6
    for frames, target in zip(seen, targets, strict=True):
        wanted = task.module.decoder.target(frames.flatten(0, 1))
        torch.testing.assert_close(target, wanted, atol=1e-5, rtol=1e-5)


def test_a_frozen_encoder_stands_while_the_decoder_learns(
    tiny_slot_spec: SlotModelSpec, clips: SynthDataset, tmp_path: Path
) -> None:
    train_spec = tiny_slot_spec.train.model_copy(update={"freeze_encoder": True})
    spec = tiny_slot_spec.model_copy(update={"train": train_spec})
    task = make_task(spec, clips)
    assert isinstance(task, SlotTask)
    before = {name: value.clone() for name, value in task.module.state_dict().items()}
    run(spec, task, tmp_path)
    after = load_model(str(tmp_path)).module.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}


def test_the_grouping_loss_is_logged_and_reaches_the_encoder(
    tiny_slot_spec: SlotModelSpec, clips: SynthDataset
) -> None:
    train_spec = tiny_slot_spec.train.model_copy(update={"grouping_weight": 1.0})
    task = make_task(tiny_slot_spec.model_copy(update={"train": train_spec}), clips)
    assert isinstance(task, SlotTask)
    loss, figures = task.loss(task.batch(0), 0)
    assert loss.item() == pytest.approx(figures["denoising"] + figures["grouping"])
    loss.backward()
    assert task.module.encoder.initial_slots.grad is not None


def test_the_motion_of_a_window_is_its_part_of_the_clips(
    tiny_slot_spec: SlotModelSpec, clips: SynthDataset
) -> None:
    options = {"grouping_weight": 1.0, "grouping_by": "motion", "flip": True}
    train_spec = tiny_slot_spec.train.model_copy(update=options)
    task = make_task(tiny_slot_spec.model_copy(update={"train": train_spec}), clips)
    assert isinstance(task, SlotTask)
    batch = task.batches.of(0, WHOLE)
    assert batch.moving is not None
    assert batch.moving.shape == (*batch.frames.shape[:2], *batch.frames.shape[-2:])
    for window, own in zip(batch.windows, batch.moving, strict=True):
        whole = motion(clips.clip(window.index, 0, clips.frames(window.index)).frames)
        part = whole[window.start : window.start + train_spec.clip_length]
        torch.testing.assert_close(own, part.flip(-1) if window.flip else part)
    loss, figures = task.loss(task.batch(0), 0)
    assert loss.item() == pytest.approx(figures["denoising"] + figures["grouping"])


def test_the_next_frame_is_drawn_from_predicted_slots(
    tiny_slot_spec: SlotModelSpec, clips: SynthDataset
) -> None:
    train_spec = tiny_slot_spec.train.model_copy(update={"next_frame": 1.0})
    task = make_task(tiny_slot_spec.model_copy(update={"train": train_spec}), clips)
    assert isinstance(task, SlotTask)
    task.module.eval()
    given: list[Tensor] = []
    decoder_loss = task.module.decoder.loss

    def watched(slots: Tensor, targets: Tensor) -> Tensor:
        given.extend((slots, targets))
        return decoder_loss(slots, targets)

    task.module.decoder.loss = watched
    task.loss(task.batch(0), 0)
    frames = SlotBatches(train_spec, [clips])(0, WHOLE).frames
    encoder = task.module.encoder
    slots = encoder(normalise(frames)).slots
    assert encoder.predictor is not None
    wanted = [encoder.predictor(slots[:, t]) for t in range(train_spec.clip_length - 1)]
    torch.testing.assert_close(given[0], torch.stack(wanted, dim=1).flatten(0, 1))
    later = task.module.decoder.target(normalise(frames[:, 1:]).flatten(0, 1))
    torch.testing.assert_close(given[1], later, atol=1e-5, rtol=1e-5)


def test_contrast_is_logged_and_reaches_the_encoder(
    tiny_slot_spec: SlotModelSpec, clips: SynthDataset
) -> None:
    train_spec = tiny_slot_spec.train.model_copy(update={"contrast_weight": 1.0})
    task = make_task(tiny_slot_spec.model_copy(update={"train": train_spec}), clips)
    assert isinstance(task, SlotTask)
    loss, figures = task.loss(task.batch(0), 0)
    assert loss.item() == pytest.approx(figures["denoising"] + figures["slot_contrast"])
    loss.backward()
    gradient = task.module.encoder.initial_slots.grad
    assert gradient is not None
    assert gradient.any()


def test_the_grouping_loss_falls_to_zero(
    tiny_slot_spec: SlotModelSpec, clips: SynthDataset
) -> None:
    options = {"grouping_weight": 2.0, "grouping_until": 0.5, "steps": 100}
    train_spec = tiny_slot_spec.train.model_copy(update=options)
    task = make_task(tiny_slot_spec.model_copy(update={"train": train_spec}), clips)
    for step, weight in ((0, 2.0), (25, 1.0), (50, 0.0), (99, 0.0)):
        loss, figures = task.loss(task.batch(step), step)
        added = weight * figures["grouping"]
        assert loss.item() == pytest.approx(figures["denoising"] + added, rel=1e-5)


def test_the_background_term_is_warmed_up(
    tiny_slot_spec: SlotModelSpec, clips: SynthDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"grouping_weight": 1.0, "grouping_by": "motion", "steps": 100}
    train_spec = tiny_slot_spec.train.model_copy(update=options)
    task = make_task(tiny_slot_spec.model_copy(update={"train": train_spec}), clips)
    shares: list[float] = []

    def spy(attention: Tensor, frames: Tensor, moving: Tensor, background_weight: float) -> Tensor:
        shares.append(background_weight)
        return motion_grouping_loss(attention, frames, moving, background_weight)

    monkeypatch.setattr(slot_task, "motion_grouping_loss", spy)
    for step in (0, 5, 25, 99):
        task.loss(task.batch(step), step)
    assert shares == pytest.approx([0.0, 0.2, 1.0, 1.0])
