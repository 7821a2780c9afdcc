"""What `pretrain` and `train` share: their options, and a run from definition to weights."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slotcli.commands import console, setup
from slotcli.errors import ConfigError, NoInputError

if TYPE_CHECKING:
    from slotcli.data.datasets import Dataset
    from slotcli.spec import CodecModelSpec, SlotModelSpec
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


def run_training(
    kind: Literal["codec", "slot_model"],
    config: str,
    out: Path,
    data: Path | None,
    overrides: list[str],
    init: str | None,
    resume: str,
    device_name: str,
    threads: int | None,
) -> None:
    from slotcli.checkpoint import (
        find_definition,
        load_codec_into,
        load_model,
        load_strictly,
    )
    from slotcli.spec import CodecModelSpec, load_definition

    definition = find_definition(config)
    if data is not None:
        overrides = [*overrides, f"train.data={_data_table(data)}"]
    spec = load_definition(definition, tuple(overrides))
    if spec.kind != kind:
        other = "pretrain" if spec.kind == "codec" else "train"
        raise ConfigError(f"{config}: this defines a {spec.kind}.", f"Use: slotcli {other}.")

    import torch

    from slotcli.build import build_codec, build_model, count_parameters
    from slotcli.codecs.dvae import Dvae
    from slotcli.training.codec_task import CodecTask
    from slotcli.training.dvae_task import DvaeTask
    from slotcli.training.loop import train
    from slotcli.training.slot_task import SlotTask

    device = setup.choose_device(device_name)
    setup.set_threads(threads)
    # The untrained weights are the seed's alone, whatever was drawn before.
    torch.manual_seed(spec.train.seed)
    if isinstance(spec, CodecModelSpec):
        codec = build_codec(spec)
        if init is not None:
            load_strictly(codec, load_model(init).module.state_dict(), init)
        dataset, held_out = _clips(spec)
        frames = held_out.frames[:, 0]
        if isinstance(codec, Dvae):
            task = DvaeTask(spec, codec, dataset, frames, device)
        else:
            task = CodecTask(spec, codec, dataset, frames, device)
    else:
        model = build_model(spec)
        load_codec_into(model, spec)
        if init is not None:
            load_strictly(model, load_model(init).module.state_dict(), init)
        dataset, held_out = _clips(spec)
        task = SlotTask(spec, model, dataset, held_out, device)
    count = count_parameters(spec)
    console.note(f"{spec.name}: {count:,} parameters, {len(dataset)} clips, on {device}.")
    with console.progress(spec.name) as meter:

        def progress(step: int, steps: int, row: dict[str, Any]) -> None:
            eta = (steps - step) / row["steps_per_second"]
            facts = f"loss {row['loss']:.4f}, {row['steps_per_second']:.2f} steps/s"
            facts += f", {eta / 60:.0f} min left"
            if row.get("degeneration") is not None:
                facts += f", degeneration {row['degeneration']:.2f}"
            meter.update(step, steps, facts)
            console.record(row)

        train(
            spec,
            task,
            out,
            resume=resume == "auto",
            command=["slotcli", *sys.argv[1:]],
            progress=progress,
        )
    console.note(f"Weights are in {out}. Use them with: --model {shlex.quote(str(out))}")


def _data_table(folder: Path) -> str:
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


def _clips(spec: "CodecModelSpec | SlotModelSpec") -> "tuple[Dataset, ClipBatch]":
    """What to learn from, and what is held out."""
    from slotcli.data.datasets import VideoFolder, open_dataset, remarks
    from slotcli.data.held_out import held_out_clips, validation_data
    from slotcli.types import ClipBatch

    data = spec.train.data
    dataset = open_dataset(data, spec.size)
    for remark in remarks(dataset):
        console.warn(remark)
    if isinstance(dataset, VideoFolder):
        for failed, error in dataset.unreadable.items():
            console.warn(f"left out: {failed}: {error.what}")
    try:
        held_out = held_out_clips(validation_data(dataset, data, spec.size), data, spec.size)
    except NoInputError as error:
        console.warn(
            f"{error.what} The log's figures are of training clips instead, without their labels."
        )
        held_out = ClipBatch(held_out_clips(dataset, data, spec.size).frames)
    return dataset, held_out


def _toml_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
