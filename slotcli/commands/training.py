"""What `pretrain` and `train` share: their options, and a run from definition to weights."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slotcli.commands import console, setup
from slotcli.commands.computing import Computing
from slotcli.errors import (
    ConfigError,
    NoInputError,
    NumericError,
    UnavailableError,
    UsageError,
)

if TYPE_CHECKING:
    from slotcli.data.datasets import Dataset
    from slotcli.spec import CodecModelSpec, SlotModelSpec
    from slotcli.training.loop import Task
    from slotcli.training.parallel import Peers
    from slotcli.types import ClipBatch

Config = Annotated[str, typer.Option(help="A model.toml, or the name of a model that came along.")]
RunFolder = Annotated[Path, typer.Option(help="Folder of the run: log, weights, state.")]
DataFolder = Annotated[
    Path | None,
    typer.Option(help="Videos or a published data set, in place of the definition's data."),
]
Init = Annotated[
    str | None, typer.Option(help="Start from the weights of this model, not from random ones.")
]
Resume = Annotated[
    Literal["auto", "never"], typer.Option(help="Go on from the run's last complete state, or not.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what it would take: weights, memory, steps, data.")
]
Tensorboard = Annotated[
    bool, typer.Option("--tensorboard", help="Log for TensorBoard too (the extra log).")
]
Seeds = Annotated[
    str | None,
    typer.Option(help="Train these one after another, as 0,1,2, and choose one without labels."),
]
_MUCH_WAITING = 0.1  # share of the time


@dataclass(frozen=True)
class RunOptions:
    """What the command line says of a run beside its definition and its folder."""

    init: str | None
    resume: str
    tensorboard: bool
    computing: Computing


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
    from slotcli.checkpoint import find_definition
    from slotcli.spec import load_definition
    from slotcli.training.parallel import joined, local_device, world

    if world()[0]:  # what there is to say, the first process says
        console.configure(verbose=False, quiet=True, json=False)
    definition = find_definition(config)
    if data is not None:
        overrides = [*overrides, f"train.data={data_table(data)}"]
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
    from slotcli.runs.arms import compile_errors, failure
    from slotcli.training.loop import ignored, train

    precision = options.computing.precision_on(peers.device)
    options.computing.require_compiler(peers, spec.train.accumulate)
    task, clips, _ = _task(spec, options.init, peers)
    options.computing.set_up(task.module, precision)
    console.note(
        f"{spec.name}: {count_parameters(spec):,} parameters, {clips} clips, on {peers.device} at "
        + (f"{precision}, {peers.size} processes." if peers.size > 1 else f"{precision}.")
    )
    with console.progress(spec.name) as meter:

        def progress(step: int, steps: int, row: dict[str, Any]) -> None:
            facts = "no finite loss" if row["loss"] is None else f"loss {row['loss']:.4f}"
            if step == 0:
                facts = "before training"
            if speed := row["steps_per_second"]:
                left = (steps - step) / speed / 60
                facts += f", {speed:.2f} steps/s, {left:.0f} min left"
            if (row["data_wait"] or 0) > _MUCH_WAITING:
                facts += f", {row['data_wait']:.0%} of it waiting for data"
            if row.get("degeneration") is not None:
                facts += f", degeneration {row['degeneration']:.2f}"
            meter.update(step, steps, facts)
            console.record(row)

        try:
            train(
                spec,
                task,
                out,
                resume=options.resume == "auto",
                command=["slotcli", *sys.argv[1:]],
                progress=progress,
                notice=console.warn if peers.first else ignored,
                peers=peers,
                tensorboard=options.tensorboard,
                precision=precision,
            )
        except compile_errors() as error:
            raise UnavailableError(failure(error), "Leave --compile out.") from error
    console.note(f"Weights are in {out}. Use them with: --model {shlex.quote(str(out))}")


def _train_seeds(
    specs: "list[CodecModelSpec | SlotModelSpec]",
    out: Path,
    options: RunOptions,
    peers: "Peers",
) -> None:
    """One after the other; a seed that ends in numbers that are not finite ends alone."""
    from slotcli.training.learning_curves import MAX_DEGENERATION
    from slotcli.training.seeds import SeedRun, finished, seed_folder, write_choice

    runs: list[SeedRun] = []
    for spec in specs:
        seed = spec.train.seed
        done = finished(out, spec.train) if options.resume == "auto" else None
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
            done = finished(out, spec.train)
        if done is not None:
            runs.append(done)
    if not peers.first:
        return
    chosen = write_choice(out, runs)
    for run in runs:
        told = "not known" if run.degeneration is None else f"{run.degeneration:.3f}"
        fails = run.degeneration is not None and run.degeneration >= MAX_DEGENERATION
        console.result(f"seed {run.seed}: degeneration {told}{' (degenerate)' * fails}")
    if chosen is None:
        console.warn("No seed's degeneration is known, so none is chosen: the log has why.")
        return
    console.note(f"Chosen: seed {chosen.seed}, the least degenerate. Its weights are in {out}.")


def _forecast(spec: "CodecModelSpec | SlotModelSpec", options: RunOptions, peers: "Peers") -> None:
    """Says what the run would be, and does nothing of it."""
    from slotcli.training.forecast import forecast

    task, clips, held_out = _task(spec, options.init, peers)
    replace(options.computing, compiled=False).set_up(task.module, "fp32")
    facts = forecast(task, spec.train, peers).as_dict() | {"clips": clips, "held_out": held_out}
    if not peers.first:
        return
    console.record(facts)
    if not console.wants_json():
        rows = [[name.replace("_", " "), f"{value:,}"] for name, value in facts.items()]
        console.table(f"{spec.name}, on {peers.device}", ["", ""], rows)


def _task(
    spec: "CodecModelSpec | SlotModelSpec", init: str | None, peers: "Peers"
) -> "tuple[Task, int, int]":
    """What is trained, not trained yet, and how many clips there are to learn from and held out."""
    import torch

    from slotcli.build import build_codec, build_model
    from slotcli.checkpoint import load_codec_into, load_model, load_strictly
    from slotcli.codecs.dvae import Dvae
    from slotcli.spec import CodecModelSpec
    from slotcli.training.codec_task import CodecTask
    from slotcli.training.dvae_task import DvaeTask
    from slotcli.training.loop import ignored
    from slotcli.training.slot_task import SlotTask

    warn = console.warn if peers.first else ignored
    # The untrained weights are the seed's alone, whatever was drawn before.
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
            load_strictly(model, load_model(init).module.state_dict(), init)
        dataset, held_out = _clips(spec, warn)
        task = SlotTask(spec, model, dataset, held_out, peers.device)
    return task, len(dataset), len(held_out.frames)


def _listed(seeds: str) -> list[int]:
    try:
        numbers = [int(part) for part in seeds.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise UsageError(
            f"--seeds {seeds}: not a list of different numbers.", "Write e.g. --seeds 0,1,2."
        )
    return numbers


def data_table(folder: Path) -> str:
    """What a folder holds, as the table `train.data` of a definition."""
    from slotcli.data.recognise import PUBLIC_KINDS, recognise
    from slotcli.data.synth_files import VIDEOS

    kind = recognise(folder)
    if kind in PUBLIC_KINDS:
        console.note(f"{folder}: the training split of {kind}.")
        return f'{{kind="{kind}", path={_toml_string(str(folder))}, split="train"}}'
    # Of rendered scenes only the videos, or the pictures of their masks would be taken for clips.
    videos = folder / VIDEOS if kind == "synth" else folder
    return f'{{kind="folder", path={_toml_string(str(videos))}}}'


def _clips(
    spec: "CodecModelSpec | SlotModelSpec", warn: Callable[[str], None]
) -> "tuple[Dataset, ClipBatch]":
    """What to learn from, and what is held out."""
    from slotcli.data.datasets import open_dataset
    from slotcli.data.held_out import held_out_clips, validation_data
    from slotcli.types import ClipBatch

    data = spec.train.data
    dataset = open_dataset(data, spec.size)
    tell_of(dataset, warn)
    try:
        held_out = held_out_clips(validation_data(dataset, data, spec.size), data, spec.size)
    except NoInputError as error:
        warn(f"{error.what} The log's figures are of training clips instead, without their labels.")
        held_out = ClipBatch(held_out_clips(dataset, data, spec.size).frames)
    return dataset, held_out


def tell_of(dataset: "Dataset", warn: Callable[[str], None]) -> None:
    """What there is to say of data before it is trained on: what of it cannot be read."""
    from slotcli.data.datasets import VideoFolder, remarks

    for remark in remarks(dataset):
        warn(remark)
    if isinstance(dataset, VideoFolder):
        for failed, error in dataset.unreadable.items():
            warn(f"left out: {failed}: {error.what}")
        if left := len(dataset.unreadable):
            warn(
                f"{left} of {left + len(dataset)} clips cannot be read. The others are trained on."
            )


def _toml_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
