"""What `pretrain` and `train` share: their options, and a run from definition to weights."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from slotcli.commands import console, setup
from slotcli.errors import ConfigError

Config = Annotated[str, typer.Option(help="A model.toml, or the name of a model that came along.")]
RunFolder = Annotated[Path, typer.Option(help="Folder of the run: log, weights, state.")]
DataFolder = Annotated[
    Path | None, typer.Option(help="A folder of videos, in place of the definition's data.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key.path=value, over the definition. Repeatable.")
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
    resume: str,
    device_name: str,
    threads: int | None,
) -> None:
    from slotcli.checkpoint import DEFINITION, find_model, load_codec_into
    from slotcli.spec import CodecModelSpec, load_definition

    path = find_model(config)
    if data is not None:
        overrides = [*overrides, f'train.data={{kind="folder", path={_toml_string(str(data))}}}']
    spec = load_definition(path / DEFINITION if path.is_dir() else path, tuple(overrides))
    if spec.kind != kind:
        other = "pretrain" if spec.kind == "codec" else "train"
        raise ConfigError(f"{config}: this defines a {spec.kind}.", f"Use: slotcli {other}.")

    import torch

    from slotcli.build import build_codec, build_model
    from slotcli.data.datasets import VideoFolder, open_dataset
    from slotcli.data.held_out import held_out_clips
    from slotcli.training.codec_task import CodecTask
    from slotcli.training.loop import train
    from slotcli.training.slot_task import SlotTask

    device = setup.choose_device(device_name)
    setup.set_threads(threads)
    # The untrained weights are the seed's alone, whatever was drawn before.
    torch.manual_seed(spec.train.seed)
    if isinstance(spec, CodecModelSpec):
        model = build_codec(spec.codec)
    else:
        model = build_model(spec)
        load_codec_into(model, spec)
    dataset = open_dataset(spec.train.data, spec.size)
    if isinstance(dataset, VideoFolder):
        for failed, error in dataset.unreadable.items():
            console.warn(f"left out: {failed}: {error.what}")
    held_out = held_out_clips(dataset, spec.train.data, spec.size)
    if isinstance(spec, CodecModelSpec):
        task = CodecTask(spec, model, dataset, held_out.frames[:, 0], device)
    else:
        task = SlotTask(spec, model, dataset, held_out, device)
    count = sum(parameter.numel() for parameter in model.parameters())
    console.note(f"{spec.name}: {count:,} parameters, {len(dataset)} clips, on {device}.")
    with console.progress(spec.name) as meter:

        def progress(step: int, steps: int, row: dict[str, Any]) -> None:
            eta = (steps - step) / row["steps_per_second"]
            facts = f"loss {row['loss']:.4f}, {row['steps_per_second']:.2f} steps/s, {eta / 60:.0f} min left"
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


def _toml_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
