"""The training loop of codecs and slot models, which differ only in their task."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.amp.grad_scaler import GradScaler

from slotcli import __version__
from slotcli.checkpoint import WEIGHTS, codec_facts, save_model
from slotcli.compute.precision import TrainPrecision
from slotcli.errors import CannotCreateError, ConfigError, NoInputError, Terminated, UsageError
from slotcli.files.writing import output_errors
from slotcli.report.mask_sheet import sheet_name
from slotcli.spec import CodecModelSpec, SlotModelSpec
from slotcli.training.changed_settings import changed_settings, require_same_model
from slotcli.training.checkpoints import SKIPS, Checkpoints, Notice, put_aside, roll_back
from slotcli.training.interrupts import StopRequests, stop_exception, stop_requests
from slotcli.training.log import RunLog
from slotcli.training.optimiser import Average, learning_rate
from slotcli.training.parallel.peers import ALONE, Peers
from slotcli.training.run_facts import read_starts, write_run_facts
from slotcli.training.state import RunState
from slotcli.training.tasks.task import Task
from slotcli.training.update import update

BEST = "best.safetensors"
_LOG_EVERY = 50
_CHECK_EVERY = 100

# Step, number of steps, figures to display.
Progress = Callable[[int, int, dict[str, Any]], None]

TRAINING, EVALUATING, SAVING = "training", "evaluating", "saving the weights"
# The current phase (one of these), and the number of steps taken.
Tick = Callable[[str, int], None]


def no_notice(text: str) -> None:
    """The default `notice`: ignores the message."""


def no_tick(phase: str, step: int) -> None:
    """The default `tick`: does nothing."""


def train(
    spec: SlotModelSpec | CodecModelSpec,
    task: Task,
    out: Path,
    *,
    resume: bool,
    command: list[str],
    progress: Progress,
    tick: Tick = no_tick,
    notice: Notice = no_notice,
    peers: Peers = ALONE,
    tensorboard: bool = False,
    precision: TrainPrecision = "fp32",
) -> dict[str, float | None]:
    """Trains to the spec's number of steps, or until its patience is exhausted.

    Returns the figures of the last evaluation.

    `out` gets the definition and the command of each start, the log with its curves and an image of
    each evaluation, the averaged weights (weights.safetensors; best.safetensors of the evaluation
    that scored best) and the states to resume from. Ctrl-C, SIGTERM or SIGUSR1 to any of the
    processes completes the current step, saves it, and raises. A step whose loss or gradient is not
    finite is skipped; after three in a row the run rolls back to its last state with half the
    learning rate. `tick` is called before each step, evaluation and save. `notice` receives
    warnings. `precision` is that at which the task's networks already compute; at fp16 gradients
    are scaled.

    Raises NumericError where a third rollback did not help, UsageError where the batch cannot be
    divided or `out` holds a run of another model, DataError where all states are damaged,
    CannotCreateError where `out` holds a run and `resume` is off, and what `output_errors` raises.
    A changed setting of the training is a notice.
    """
    with stop_requests() as stop, task.batches:
        run = _Run(
            spec, task, out, command, progress, tick, notice, peers, stop, tensorboard, precision
        )
        run.begin(resume=resume)
        while not run.finish_step():
            run.step()
    return run.figures


class _Run:
    def __init__(
        self,
        spec: SlotModelSpec | CodecModelSpec,
        task: Task,
        out: Path,
        command: list[str],
        progress: Progress,
        tick: Tick,
        notice: Notice,
        peers: Peers,
        stop: StopRequests,
        tensorboard: bool,
        precision: TrainPrecision,
    ) -> None:
        self.figures: dict[str, float | None] = {}
        self._spec, self._options, self._task, self._out = spec, spec.train, task, out
        self._progress, self._notice, self._peers, self._stop = progress, notice, peers, stop
        self._tick = tick
        self._tensorboard, self._command = tensorboard, command
        self._precision: TrainPrecision = precision
        self._provenance = {
            "version": __version__,
            "torch": torch.__version__,
            "command": command,
            "precision": precision,
            "codec": codec_facts(spec),
        }
        self._parts = peers.parts(self._options.batch_size, self._options.accumulate)
        module = task.module.train()
        groups, rate = task.parameter_groups(), self._options.learning_rate
        adam = torch.optim.Adam(groups, lr=rate, fused=True)  # T8
        scaler = GradScaler(peers.device.type, enabled=precision == "fp16")
        average = Average(module, self._options.ema)
        self._state = RunState(module, average, adam, task.memory, scaler)
        self._checkpoints = Checkpoints(
            out / "state", self._options.keep_last, self._options.keep_every
        )
        self._log: RunLog | None = None
        self._start_due = False

    def begin(self, *, resume: bool) -> None:
        """Restores the last sound state, or saves the first one, and opens the log."""
        state, peers = self._state, self._peers
        fresh = not self._checkpoints.complete()
        if not fresh and not resume:
            raise CannotCreateError(
                f"{self._out}: holds a run already.", "Use --resume auto, or another --out."
            )
        if not fresh:
            self._report_changes()
        damaged = self._checkpoints.load_newest(state, self._notice)
        if self._checkpoints.out_of_patience(self._options):
            raise UsageError(
                f"{self._out}: ended at step {state.step}, for it got no better any more.",
                "Raise train.patience to go on.",
            )
        if state.step > self._options.steps or (self._is_last() and state.since == 0):
            raise UsageError(
                f"{self._out}: was trained to step {state.step} already.",
                "Raise train.steps to go on.",
            )
        unknown = self._checkpoints.best() is None
        self._start_due = self._options.patience > 0 and state.step == 0 and unknown
        peers.require_replicas(state.module, state.step)
        if peers.first:
            with output_errors(self._out):
                self._out.mkdir(parents=True, exist_ok=True)
        self._open_log(damaged)
        if peers.first:
            self._report_precision()
            write_run_facts(self._out, self._spec, self._command, state.step, self._precision)
            if fresh:  # for a rollback before the first evaluation
                self._checkpoints.save(state, None)

    def finish_step(self) -> bool:
        """Evaluates, logs and saves where due between two steps; returns whether the run is over.

        Raises KeyboardInterrupt or Terminated, everything saved, where any process had a signal.
        """
        state, options, peers = self._state, self._options, self._peers
        # A run stopped during an evaluation starts with it: the log has no row since that step.
        due = state.since > 0
        evaluated = due and (self._is_last() or state.step % options.evaluate_every == 0)
        evaluated, self._start_due = evaluated or self._start_due, False
        score = None
        if evaluated or (due and state.step % _LOG_EVERY == 0):
            try:
                if evaluated and peers.first:
                    self.figures = self._evaluate()
                    score = self._task.score(self.figures)
                self._add_row(self.figures if evaluated else {})
                if evaluated and self._log is not None:
                    self._log.draw()
            except (KeyboardInterrupt, Terminated):
                if not self._stop.first:
                    raise
        if state.step % _CHECK_EVERY == 0 or self._is_last():
            peers.require_replicas(state.module, state.step)
        stopped = peers.largest(self._stop.first)
        kept = options.keep_every > 0 and state.step % options.keep_every == 0
        if evaluated or (state.step != self._saved_at and (kept or stopped)):
            if peers.first:
                self._save(score)
            self._saved_at = state.step
            peers.wait()
        if stopped:
            raise stop_exception(stopped)
        over = evaluated and peers.first and self._checkpoints.out_of_patience(options)
        return self._is_last() or bool(evaluated and peers.largest(over))

    def step(self) -> None:
        """Takes a step, and rolls back where too many were skipped in a row."""
        state, options, peers = self._state, self._options, self._peers
        for group in state.adam.param_groups:
            group["lr"] = self._rate(group, state.step)
        if peers.first:
            self._tick(TRAINING, state.step)
        sound = update(state, self._task, self._parts, peers, options.seed, options.clip_norm)
        if not sound:
            self._notice(
                f"Step {state.step}: the loss or its gradient is not finite. Skipped, as "
                f"{state.skipped} in all."
            )
        if state.skipped_in_a_row == SKIPS:
            damaged = roll_back(state, self._checkpoints, self._notice)
            peers.require_replicas(state.module, state.step)
            self._open_log(damaged)

    def _report_changes(self) -> None:
        try:
            changes = changed_settings(self._out, self._spec)
        except (ConfigError, NoInputError) as error:
            self._notice(
                f"Whether settings changed since the last start is not known: {error.what}"
            )
            return
        require_same_model(self._out, changes)
        if changes:
            self._notice(f"Resuming with changed settings: {'; '.join(map(str, changes))}.")

    def _report_precision(self) -> None:
        starts = read_starts(self._out) if self._state.step else []
        before = starts[-1].get("precision", "fp32") if starts else self._precision
        if before != self._precision:
            self._notice(f"Resuming at {self._precision}; so far the run was trained at {before}.")

    def _open_log(self, damaged: list[Path]) -> None:
        if self._peers.first:
            put_aside(damaged)
            columns = ["step", "loss", "gradient_norm", "learning_rate", "steps_per_second"]
            columns += ["data_wait", "skipped", "rollbacks"]
            columns += ["loss_scale"] if self._state.scaler.is_enabled() else []
            columns += self._task.figures
            # Where the start is still to be evaluated, no logged row counts.
            first_step = -1 if self._start_due else self._state.step
            self._log = RunLog(self._out, columns, first_step, tensorboard=self._tensorboard)
        self._saved_at = self._clocked = self._state.step
        self._clock, self._waited = time.monotonic(), self._task.batches.waited

    def _evaluate(self) -> dict[str, float | None]:
        self._tick(EVALUATING, self._state.step)
        module, began = self._state.module, time.monotonic()
        with self._stop.at_once(), self._state.average.applied():
            module.eval()
            try:
                self._task.complete()
                self._task.draw(self._out / sheet_name(self._state.step))
                return self._task.evaluate()
            finally:
                module.train()
                self._clock += time.monotonic() - began  # the clock counts the time of steps only

    def _add_row(self, figures: dict[str, float | None]) -> None:
        state, waited = self._state, self._task.batches.waited
        steps, seconds = state.step - self._clocked, time.monotonic() - self._clock
        row: dict[str, Any] = {
            "step": state.step,
            "learning_rate": self._rate(state.adam.param_groups[0], state.step - 1),
            "steps_per_second": steps / seconds if steps else None,
            "data_wait": (waited - self._waited) / seconds if steps else None,
            "skipped": state.skipped,
            "rollbacks": state.rollbacks,
            **({"loss_scale": state.scaler.get_scale()} if state.scaler.is_enabled() else {}),
            **state.logged(),
            **figures,
        }
        if self._log is not None:
            self._log.add(row)
            self._progress(state.step, self._options.steps, row)
        self._clock, self._clocked, self._waited = time.monotonic(), state.step, waited

    def _save(self, score: float | None) -> None:
        self._tick(SAVING, self._state.step)
        state, best = self._state, self._checkpoints.best()
        # T2: the state is saved last, so a run that is killed before takes these steps again.
        with state.average.applied():
            tensors = state.module.state_dict()
            save_model(self._out / WEIGHTS, self._spec, tensors, state.step, self._provenance)
            if score is not None and (best is None or score >= best[1]):
                judged = self._provenance | {"best_by": self._task.judged_by, "score": score}
                save_model(self._out / BEST, self._spec, tensors, state.step, judged)
        self._checkpoints.save(state, score)

    def _rate(self, group: dict[str, Any], step: int) -> float:
        return learning_rate(self._options, group["peak"], step) / 2**self._state.rollbacks

    def _is_last(self) -> bool:
        return self._state.step == self._options.steps
