"""Adapts a model to a user's clips, and writes a new model folder if that is better on them."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slotcli import __version__
from slotcli.checkpoint import DEFINITION, WEIGHTS, LoadedModel, read_tensors, save_model
from slotcli.data.dataset import Dataset
from slotcli.data.division import Division, Excerpts
from slotcli.data.held_out import held_out_clips
from slotcli.definition import definition_text, parse_spec, spec_json
from slotcli.errors import (
    CannotCreateError,
    ConfigError,
    NumericError,
    SlotcliError,
    UsageError,
    printable,
)
from slotcli.files.places import hidden_sibling, put_in_place, recover, work_folder
from slotcli.files.writing import output_errors, whole_file
from slotcli.spec import SlotModelSpec
from slotcli.training.adapt.card import CARD, AdaptedModel, card_text
from slotcli.training.adapt.recipe import JUDGED_BY, Outcome, read_outcome
from slotcli.training.checkpoints import Notice
from slotcli.training.loop import BEST, Progress, Tick, train
from slotcli.training.run_facts import final_row
from slotcli.training.tasks.slots import SlotTask

_REQUEST = "adapt.json"


@dataclass(frozen=True)
class Adaptation:
    """An adaptation's input: a model, the definition to train, and training and held-out clips.

    `truth` is the same data with its labels, if it has any; labels never select a model.
    """

    parent: LoadedModel
    spec: SlotModelSpec
    folder: Path
    data: Dataset
    truth: Dataset
    division: Division
    command: list[str]


def require_writable(out: Path, parent: Path, data: Path, *, overwrite: bool) -> None:
    """Raises UsageError or CannotCreateError where no model folder may be written to `out`."""
    place, own = out.resolve(), parent.resolve()
    if place in own.parents:
        raise UsageError(
            f"{printable(out)}: is where the model itself is, which is never changed.",
            "Choose another --out.",
        )
    if place.is_relative_to(data.resolve()) or data.resolve().is_relative_to(place):
        raise UsageError(
            f"{printable(out)}: the new model and the clips may not lie in each other.",
            "Choose another --out.",
        )
    with output_errors(out):
        recover(out)
        if not os.path.lexists(out):
            return
        if not overwrite:
            raise CannotCreateError(
                f"{printable(out)}: exists already.", "Give --overwrite to replace it."
            )
        if not out.is_dir() or not set(os.listdir(out)) <= {DEFINITION, WEIGHTS, CARD}:
            raise CannotCreateError(
                f"{printable(out)}: is no model folder, or holds other things too.",
                "Only a folder with a model alone is replaced. Choose another --out.",
            )


def adapt(
    asked: Adaptation,
    out: Path,
    *,
    overwrite: bool,
    device: torch.device,
    progress: Progress,
    tick: Tick,
    notice: Notice,
) -> Outcome:
    """Trains in a folder beside `out`, and writes `out` as a model folder if the model improved.

    A stopped run resumes when it is started again with the same input. A run whose numbers become
    non-finite is judged by its evaluations until then. Raises CannotCreateError where another run
    was stopped here and `overwrite` is off, NumericError where the model itself is not finite on
    these clips, and as `train`.
    """
    run = hidden_sibling(out, "adapting")
    _begin(run, asked, anew=overwrite)
    if final_row(run, asked.spec.train) is None:
        try:
            train(
                asked.spec,
                _task(asked, device),
                run,
                resume=True,
                command=asked.command,
                progress=progress,
                tick=tick,
                notice=notice,
            )
        except NumericError as error:
            if read_outcome(run) is None:
                shutil.rmtree(run)
                raise
            notice(f"{error.what} What came before that is judged.")
        except SlotcliError:
            if read_outcome(run) is None:  # no evaluation that a later run could resume from
                shutil.rmtree(run)
            raise
    outcome = read_outcome(run)
    assert outcome is not None, "a run with a patience judges its start"
    if outcome.better:
        _write(out, run, asked, outcome)
    with output_errors(run):
        shutil.rmtree(run)
    return outcome


def _begin(run: Path, asked: Adaptation, *, anew: bool) -> None:
    """Makes the run's folder; keeps one with the same input, and with `anew` replaces any other."""
    data = asked.data
    clips = [[data.name(index), data.frames(index)] for index in range(len(data))]
    request = {"parent": asked.parent.sha256, "spec": spec_json(asked.spec), "clips": clips}
    path = run / _REQUEST
    with output_errors(run):
        if path.is_file():
            try:
                before = json.loads(path.read_bytes())
                before["spec"] = spec_json(parse_spec(before["spec"], printable(path)))
                same = before == request
            except (ValueError, TypeError, LookupError, ConfigError):
                same = False
            if same:
                return
            if not anew:
                raise CannotCreateError(
                    f"{printable(run)}: another adaptation was stopped here.",
                    "Repeat its command to go on with it, or give --overwrite to drop it.",
                )
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
    try:
        with whole_file(path) as file:
            file.write(json.dumps(request).encode())
    except BaseException:
        shutil.rmtree(run, ignore_errors=True)
        raise


def _task(asked: Adaptation, device: torch.device) -> SlotTask:
    spec, division = asked.spec, asked.division
    _, module = asked.parent.slot_model()
    held_out = held_out_clips(Excerpts(asked.truth, division.held_out), spec.train.data, spec.size)
    return SlotTask(spec, module, Excerpts(asked.data, division.training), held_out, device)


def _write(out: Path, run: Path, asked: Adaptation, outcome: Outcome) -> None:
    """Writes the model folder, whole or not at all."""
    tensors, _ = read_tensors(run / BEST)
    step, division = outcome.best["step"], asked.division
    parent_name = asked.parent.slot_model()[0].name
    provenance: dict[str, Any] = {
        "version": __version__,
        "torch": torch.__version__,
        "command": asked.command,
        "seed": asked.spec.train.seed,
        "parent": {
            "name": parent_name,
            "weights_sha256": asked.parent.sha256,
            "step": asked.parent.step,
        },
        "data": str(asked.folder),
        "clips": len(asked.data),
        "training_clips": len(division.training),
        "held_out": [
            [asked.data.name(excerpt.clip), excerpt.start, excerpt.frames]
            for excerpt in division.held_out
        ],
        "judged_by": JUDGED_BY,
        "before": outcome.before[JUDGED_BY],
        "after": outcome.best[JUDGED_BY],
    }
    card = card_text(
        AdaptedModel(
            spec=asked.spec,
            parent=parent_name,
            parent_sha256=asked.parent.sha256,
            folder=asked.folder,
            command=asked.command,
            training=len(division.training),
            held_out=[
                Excerpts(asked.data, division.held_out).name(index)
                for index in range(len(division.held_out))
            ],
            by_clip=division.by_clip,
            outcome=outcome,
        )
    )
    with work_folder(out) as work:
        save_model(work / WEIGHTS, asked.spec, tensors, step, provenance)
        for name, text in ((DEFINITION, definition_text(asked.spec)), (CARD, card)):
            with whole_file(work / name) as file:
                file.write(text.encode())
        put_in_place(work, out)
