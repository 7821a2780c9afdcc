"""slotcli adapt: a model fine-tuned on one's own clips, without labels."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcli.commands import console, setup
from slotcli.commands.options import (
    LABEL_FREE_MODEL,
    OUTPUT,
    TRAINING,
    Device,
    Model,
    Overrides,
    Threads,
)
from slotcli.commands.training import data_table, warn_of_unreadable
from slotcli.errors import LossError, NoInputError, UsageError

if TYPE_CHECKING:
    from slotcli.spec import SlotModelSpec
    from slotcli.training.adapt.recipe import Outcome
    from slotcli.training.adapt.run import Adaptation

_TOLD = ("degeneration", "position_determinism", "shift_equivariance", "used_slots")


def adapt(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Videos, image folders, or a published data set."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the new model and its card.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ],
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace a model, or discard a stopped run, at --out.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    model: Model = LABEL_FREE_MODEL,
    steps: Annotated[
        int,
        typer.Option(
            help="Maximum number of steps; training ends earlier if nothing improves.",
            min=1,
            metavar="N",
            rich_help_panel=TRAINING,
        ),
    ] = 1000,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Peak learning rate of the encoder. Default: a tenth of the model's own.",
            metavar="RATE",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Seed of batches, noise and augmentation.",
            min=0,
            metavar="N",
            rich_help_panel=TRAINING,
        ),
    ] = 0,
    overrides: Overrides = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Fine-tune a model on your own clips without labels; keep it only if its audit improves.

    Some clips are held out. The model is audited on them at the start and ten times during
    training; the least degenerate weights become a new model with a card. If none is better than
    the start, nothing is written and the exit code is 3. The original model never changes. A
    stopped run resumes when you repeat its command.

    Examples:
      slotcli adapt footage -o mine
      slotcli adapt footage --model tiny-64 --steps 300 -o mine
      slotcli decompose footage -r --model mine
    """
    console.phase("starting")
    from slotcli.files.places import locked, make_parents
    from slotcli.training.adapt.run import adapt as run_adaptation
    from slotcli.training.loop import TRAINING

    asked = _prepare(folder, out, model, steps, learning_rate, seed, overrides or [], overwrite)
    chosen = setup.choose_device(device)
    setup.set_threads(threads)
    division = asked.division
    console.note(
        f"{len(division.training)} clips to learn from, {len(division.held_out)} held-out "
        + ("clips" if division.by_clip else "windows")
        + f" to judge by, at most {asked.spec.train.steps} steps on {chosen}."
    )
    if not division.by_clip:
        console.warn(
            "too few clips to hold whole ones out: windows of a clip, apart in time, are held out "
            "instead. The figures say little about other clips."
        )
    facts = ""
    with make_parents(out), locked(out):
        console.keeps_finished(anew_with="--overwrite" if overwrite else "")
        with console.progress("reading held-out clips") as meter:

            def tick(phase: str, step: int) -> None:
                meter.phase(phase, "steps")
                if phase == TRAINING and step < asked.spec.train.steps:
                    meter.update(step, asked.spec.train.steps, facts)

            def progress(step: int, steps: int, row: dict[str, Any]) -> None:
                nonlocal facts
                console.record(row)
                meter.phase(TRAINING, "steps")
                facts = "" if row["loss"] is None else f"loss {row['loss']:.4f}"
                meter.update(step, steps, facts)
                if row.get("degeneration") is not None:
                    console.note(f"Step {step}: degeneration {row['degeneration']:.3f}.")

            outcome = run_adaptation(
                asked,
                out,
                overwrite=overwrite,
                device=chosen,
                progress=progress,
                tick=tick,
                notice=console.warn,
            )
        _report(outcome, asked, model, out)


def _prepare(
    folder: Path,
    out: Path,
    model: str,
    steps: int,
    learning_rate: float | None,
    seed: int,
    overrides: list[str],
    overwrite: bool,
) -> "Adaptation":
    """The adaptation to run, after all checks that are possible before training."""
    from slotcli.checkpoint import find_weights, load_model
    from slotcli.data.datasets import open_dataset
    from slotcli.data.division import divide
    from slotcli.data.held_out import FRAMES
    from slotcli.data.masked_videos import MaskedVideos
    from slotcli.data.recognise import recognise
    from slotcli.data.video_folder import VideoFolder
    from slotcli.definition import with_overrides
    from slotcli.errors import printable
    from slotcli.scenes.folder import MASKS
    from slotcli.spec import SlotModelSpec
    from slotcli.training.adapt.recipe import adapted_spec
    from slotcli.training.adapt.run import Adaptation, require_writable

    console.phase("opening the clips")
    table = data_table(folder)
    require_writable(out, find_weights(model), folder, overwrite=overwrite)
    parent = load_model(model)
    own, _ = parent.slot_model()
    if own.train.freeze_encoder:
        raise UsageError(
            f"{own.name} cannot be adapted: its training keeps the encoder, and with it the masks.",
            "Adapt a model whose encoder is trained, or train on labelled clips: slotcli train.",
        )
    careful = adapted_spec(
        own, name=printable(out.name), steps=steps, learning_rate=learning_rate, seed=seed
    )
    spec = with_overrides(careful, (*overrides, f"train.data={table}"), "adapt")
    if not isinstance(spec, SlotModelSpec) or _fixed_part(spec) != _fixed_part(own):
        raise UsageError(
            "--set: only the training can be changed here, not the model.",
            "Set keys that begin with train.",
        )
    if spec.train.patience == 0:
        raise UsageError(
            "--set train.patience=0: the start would not be evaluated.", "Give 1 or more."
        )
    data = open_dataset(spec.train.data, spec.size)
    truth = data
    warn_of_unreadable(data, console.warn)
    if isinstance(data, VideoFolder) and recognise(folder) == "synth":
        try:
            truth = MaskedVideos(data, folder / MASKS)
        except NoInputError as error:  # labels are for true scores alone
            console.note(f"{error.what} True scores are not shown.")
    span = (spec.train.clip_length - 1) * spec.train.clip_stride + 1
    lengths = [data.frames(index) for index in range(len(data))]
    division = divide(lengths, span=span, frames=FRAMES)
    return Adaptation(parent, spec, folder, data, truth, division, ["slotcli", *sys.argv[1:]])


def _fixed_part(spec: "SlotModelSpec") -> dict[str, Any]:
    """The part of a spec that an adaptation must not change."""
    return spec.model_dump(exclude={"name", "train"})


def _report(outcome: "Outcome", asked: "Adaptation", model: str, out: Path) -> None:
    """Reports the outcome. Raises LossError where the model is unchanged."""
    from slotcli.evaluation.figures import TRUE
    from slotcli.training.adapt.recipe import MIN_GAIN

    before, best, better = outcome.before, outcome.best, outcome.better
    after = best if better else before
    console.record(
        {
            "adapted": better,
            "out": str(out) if better else None,
            "model": model,
            "weights_sha256": asked.parent.sha256,
            "step": after["step"],
            "before": before,
            "after": after,
            "training_clips": len(asked.division.training),
            "held_out": len(asked.division.held_out),
            "by_clip": asked.division.by_clip,
        }
    )
    if not console.wants_json():
        names = [name for name in (*_TOLD, *TRUE) if name in before]
        rows = [
            [
                name.replace("_", " "),
                _format(before[name]),
                _format(best[name]),
                "against ground truth, not used to choose" if name in TRUE else "",
            ]
            for name in names
        ]
        console.table("On the held-out frames:", ["", "start", f"step {best['step']}", ""], rows)
    if not better:
        raise LossError(
            f"{model} is unchanged: no step lowered the degeneration by {MIN_GAIN} or more. "
            "Nothing was written.",
            f"Keep using {model}, or try more clips, more --steps, or a smaller --learning-rate.",
        )
    console.note(
        f"The least degenerate, step {best['step']}, is in {out}, with a card. Use it with: "
        f"--model {shlex.quote(str(out))}"
    )


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
