"""A run of `pretrain` or `train`, from definition to weights."""

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from slotcli.commands import console, setup
from slotcli.commands.skipped import report_skipped
from slotcli.commands.training_options import RunOptions
from slotcli.errors import (
    ConfigError,
    NoInputError,
    NumericError,
    UnavailableError,
    UsageError,
)

if TYPE_CHECKING:
    from slotcli.data.dataset import Dataset
    from slotcli.spec import CodecModelSpec, SlotModelSpec
    from slotcli.training.parallel.peers import Peers
    from slotcli.training.tasks.task import Task
    from slotcli.types import ClipBatch

_MUCH_WAITING = 0.1  # fraction of the time
_WAITING = 1.0  # seconds without a step, after which one counts as waiting for its clips


def run_training(
    kind: Literal["codec", "slot_model"],
    config: str,
    out: Path,
    data: Path | None,
    overrides: list[str],
    options: RunOptions,
    device_name: str,
    threads: int | None,
    dry_run: bool,
    seeds: str | None = None,
) -> None:
    listed = None if seeds is None else _listed(seeds)
    console.phase("starting")
    from slotcli.checkpoint import find_definition
    from slotcli.definition import load_definition
    from slotcli.training.parallel.peers import joined, local_device, world

    if world()[0]:  # messages are rank 0's
        console.configure(verbose=False, quiet=True, json=False)
    definition = find_definition(config)
    if data is not None:
        overrides = [*overrides, f"train.data={data_table(data)}"]
    spec = load_definition(definition, tuple(overrides))
    if data is not None and spec.kind == "slot_model" and spec.train.mask_weight > 0:
        overrides = [*overrides, *_masks_beside(data)]
        spec = load_definition(definition, tuple(overrides))
    if spec.kind != kind:
        other = "pretrain" if spec.kind == "codec" else "train"
        raise ConfigError(f"{config}: this defines a {spec.kind}.", f"Use: slotcli {other}.")
    device = local_device(setup.choose_device(device_name))
    setup.set_threads(threads)
    with joined(device) as peers:
        if dry_run:
            _forecast(spec, options, peers)
        elif listed is None:
            _train(spec, out, options, peers)
        else:
            of_seeds = [
                load_definition(definition, (*overrides, f"train.seed={n}")) for n in listed
            ]
            _train_seeds(of_seeds, out, options, peers)


def _train(
    spec: "CodecModelSpec | SlotModelSpec",
    out: Path,
    options: RunOptions,
    peers: "Peers",
) -> None:
    from slotcli.build import count_parameters
    from slotcli.compute.compiler import compile_errors, first_line
    from slotcli.data.rendered import SynthDataset
    from slotcli.training.log import CURVES
    from slotcli.training.loop import TRAINING, no_notice, train

    steps = spec.train.steps
    precision = options.computing.precision_on(peers.device)
    options.computing.require_compiler(peers.device)
    task, data, _ = _task(spec, options, peers)
    options.computing.set_up(task.module, precision)
    console.note(
        f"{spec.name}: {count_parameters(spec):,} parameters, {len(data)} clips, on {peers.device} "
        + (f"at {precision}, {peers.size} processes." if peers.size > 1 else f"at {precision}.")
    )
    if (
        options.init is not None
        and options.resume == "auto"
        and any((out / "state").glob("step-*"))
    ):
        console.warn(f"--init {options.init} is ignored: {out} resumes from its own last state.")
    console.keeps_finished(anew_with="--resume never" if options.resume == "never" else "")
    facts, ticked = "", 0.0
    with console.progress("opening the run") as meter:

        def tick(phase: str, step: int) -> None:
            nonlocal ticked
            ticked = time.monotonic()
            meter.phase(phase, "steps")
            if phase == TRAINING and step < steps:
                meter.update(step, steps, facts)

        def rendered(done: int, total: int) -> None:
            """Called in the thread that makes batches; shown while a step waits for it."""
            if time.monotonic() > ticked + _WAITING:
                meter.phase("rendering training clips", "clips")
                meter.update(done, total)

        def progress(step: int, steps: int, row: dict[str, Any]) -> None:
            nonlocal facts
            meter.phase(TRAINING, "steps")
            facts = "no finite loss" if row["loss"] is None else f"loss {row['loss']:.4f}"
            if step == 0:
                facts = "before training"
            if (row["data_wait"] or 0) > _MUCH_WAITING:
                facts += f", {row['data_wait']:.0%} of it waiting for data"
            if row.get("degeneration") is not None:
                facts += f", degeneration {row['degeneration']:.2f}"
            meter.update(step, steps, facts)
            console.record(row)

        if isinstance(data, SynthDataset):
            data.rendered = rendered
        try:
            train(
                spec,
                task,
                out,
                resume=options.resume == "auto",
                command=["slotcli", *sys.argv[1:]],
                progress=progress,
                tick=tick,
                notice=console.warn if peers.first else no_notice,
                peers=peers,
                tensorboard=options.tensorboard,
                precision=precision,
            )
        except compile_errors() as error:
            raise UnavailableError(first_line(error), "Leave --compile out.") from error
    console.note(f"Weights are in {out}. Use them with: --model {shlex.quote(str(out))}")
    console.note(f"Open {out / CURVES}")


def _train_seeds(
    specs: "list[CodecModelSpec | SlotModelSpec]",
    out: Path,
    options: RunOptions,
    peers: "Peers",
) -> None:
    """Trains one run after another; a seed whose loss is not finite ends, the others continue."""
    from slotcli.evaluation.figures import FIGURES
    from slotcli.training.seeds import SeedRun, finished_run, seed_folder, write_choice

    runs: list[SeedRun] = []
    for spec in specs:
        seed = spec.train.seed
        done = finished_run(out, spec.train) if options.resume == "auto" else None
        if done is not None and peers.first:
            _tell_of_changes(out / seed_folder(seed), spec)
        peers.wait()
        if done is None:
            console.note(f"Seed {seed}:")
            try:
                _train(spec, out / seed_folder(seed), options, peers)
            except NumericError as error:
                runs.append(SeedRun(seed, seed_folder(seed), {}, error.what))
                if peers.first:
                    console.warn(f"seed {seed}: {error.what}")
                continue
            done = finished_run(out, spec.train)
        if done is not None:
            runs.append(done)
    if not peers.first:
        return
    chosen = write_choice(out, runs)
    for run in runs:
        score = run.degeneration
        told = "not known" if score is None else f"{score:.3f}"
        fails = score is not None and not FIGURES["degeneration"].passes(score)
        console.result(f"seed {run.seed}: degeneration {told}{' (degenerate)' * fails}")
    if chosen is None:
        console.warn("No seed's degeneration is known, so none is chosen; see each run's log.")
        return
    console.note(f"Chosen: seed {chosen.seed}, the least degenerate. Its weights are in {out}.")


def _tell_of_changes(folder: Path, spec: "CodecModelSpec | SlotModelSpec") -> None:
    """Warns where a finished run was trained with other settings than the current ones."""
    from slotcli.training.changed_settings import changed_settings, require_same_model

    changes = changed_settings(folder, spec)
    require_same_model(folder, changes)
    if changes:
        console.warn(
            f"{folder} is finished, and was trained with other settings, which it keeps: "
            f"{'; '.join(map(str, changes))}."
        )


def _forecast(spec: "CodecModelSpec | SlotModelSpec", options: RunOptions, peers: "Peers") -> None:
    """Prints the forecast of the run, and trains nothing."""
    from slotcli.training.forecast import forecast

    task, data, held_out = _task(spec, options, peers)
    console.phase("measuring")
    replace(options.computing, compiled=False).set_up(task.module, "fp32")
    facts = forecast(task, spec.train, peers).as_dict() | {"clips": len(data), "held_out": held_out}
    if not peers.first:
        return
    console.record(facts)
    if not console.wants_json():
        rows = [[name.replace("_", " "), f"{value:,}"] for name, value in facts.items()]
        console.table(f"{spec.name}, on {peers.device}", ["", ""], rows)


def _task(
    spec: "CodecModelSpec | SlotModelSpec", options: RunOptions, peers: "Peers"
) -> "tuple[Task, Dataset, int]":
    """The untrained task, the training clips, and the number of held-out clips."""
    import torch

    from slotcli.build import build_codec, build_model
    from slotcli.checkpoint import load_codec_into, load_model, load_strictly, start_from
    from slotcli.codecs.dvae import Dvae
    from slotcli.published.imagenet import load_trunk_into
    from slotcli.published.vit_weights import load_backbone_into
    from slotcli.spec import CodecModelSpec
    from slotcli.training.loop import no_notice
    from slotcli.training.tasks.dvae import DvaeTask
    from slotcli.training.tasks.slots import SlotTask
    from slotcli.training.tasks.vqvae import CodecTask

    init = options.init
    warn = console.warn if peers.first else no_notice
    console.phase("building the model")
    # The initial weights depend on the seed alone, not on earlier random numbers.
    torch.manual_seed(spec.train.seed)
    if isinstance(spec, CodecModelSpec):
        codec = build_codec(spec)
        if init is not None:
            load_strictly(codec, load_model(init).module.state_dict(), init)
        dataset, held_out = _clips(spec, warn)
        frames = held_out.frames[:, 0]
        if isinstance(codec, Dvae):
            task = DvaeTask(spec, codec, dataset, frames, peers.device)
        else:
            task = CodecTask(spec, codec, dataset, frames, peers.device, peers)
    else:
        model = build_model(spec)
        load_codec_into(model, spec)
        if init is not None:
            remark = start_from(model, load_model(init))
            if remark is not None and peers.first:
                console.note(f"--init {init} {remark}")
        else:
            load_trunk_into(model)
            load_backbone_into(model, spec)
        dataset, held_out = _clips(spec, warn)
        task = SlotTask(spec, model, dataset, held_out, peers.device, options.workers)
    return task, dataset, len(held_out.frames)


def _listed(seeds: str) -> list[int]:
    try:
        numbers = [int(part) for part in seeds.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise UsageError(
            f"--seeds {seeds}: not a list of different numbers from 0.", "Write --seeds 0,1,2."
        )
    return numbers


def data_table(folder: Path) -> str:
    """A folder's content as the table `train.data` of a definition, without masks of videos."""
    from slotcli.data.recognise import PUBLIC_KINDS, recognise
    from slotcli.definition import toml_value
    from slotcli.scenes.folder import VIDEOS

    kind = recognise(folder)
    if kind in PUBLIC_KINDS:
        console.note(f"{folder}: training on the train split of {kind}.")
        return f'{{kind="{kind}", path={toml_value(str(folder))}, split="train"}}'
    # Only the videos of rendered scenes: mask images would be taken for clips.
    videos = folder / VIDEOS if kind == "synth" else folder
    return f'{{kind="folder", path={toml_value(str(videos))}}}'


def _masks_beside(folder: Path) -> list[str]:
    """The override that adds the masks of rendered scenes to their videos; none for other data."""
    from slotcli.data.recognise import recognise
    from slotcli.definition import toml_value
    from slotcli.scenes.folder import MASKS

    if recognise(folder) != "synth":
        return []
    return [f"train.data.masks={toml_value(str(folder / MASKS))}"]


def _clips(
    spec: "CodecModelSpec | SlotModelSpec", warn: Callable[[str], None]
) -> "tuple[Dataset, ClipBatch]":
    """The training data set, and the held-out clips."""
    from slotcli.data.datasets import open_dataset
    from slotcli.data.held_out import held_out_clips, validation_data
    from slotcli.types import ClipBatch

    data = spec.train.data
    console.phase("opening the clips")
    dataset = open_dataset(data, spec.size)
    warn_of_unreadable(dataset, warn)
    console.phase("reading held-out clips")

    def rendered(done: int, total: int) -> None:
        console.phase("rendering held-out clips", "clips").update(done, total)

    try:
        held_out = held_out_clips(
            validation_data(dataset, data, spec.size), data, spec.size, rendered=rendered
        )
    except NoInputError as error:
        warn(f"{error.what} The log evaluates training clips instead, without their labels.")
        held_out = ClipBatch(held_out_clips(dataset, data, spec.size).frames)
    return dataset, held_out


def warn_of_unreadable(dataset: "Dataset", warn: Callable[[str], None]) -> None:
    """Warns of clips that cannot be read, before training on the others."""
    for remark in dataset.remarks:
        warn(remark)
    if warn is console.warn:  # of several processes only rank 0 reports
        report_skipped(dataset.passed_over, recorded=False)  # records are rows of the log
    for failed, error in dataset.unreadable.items():
        warn(f"left out: {failed}: {error.what}")
    if left := len(dataset.unreadable):
        warn(f"{left} of {left + len(dataset)} clips cannot be read. Training uses the others.")
