"""slotcli train: a slot model on its frozen codec."""

from slotcli.commands.computing import CheckpointGradients, Compile, Computing, Precision
from slotcli.commands.options import Device, Overrides, Threads
from slotcli.commands.training import (
    Config,
    DataFolder,
    DryRun,
    Init,
    Resume,
    RunFolder,
    RunOptions,
    Seeds,
    Tensorboard,
    Workers,
    run_training,
)


def train(
    config: Config,
    out: RunFolder,
    data: DataFolder = None,
    overrides: Overrides = None,
    init: Init = None,
    resume: Resume = "auto",
    device: Device = "auto",
    threads: Threads = None,
    precision: Precision = "auto",
    compile_: Compile = False,
    checkpoint_gradients: CheckpointGradients = False,
    seeds: Seeds = None,
    dry_run: DryRun = False,
    tensorboard: Tensorboard = False,
    workers: Workers = 0,
) -> None:
    """Train a slot model on a trained codec."""
    run_training(
        "slot_model",
        config,
        out,
        data,
        overrides or [],
        RunOptions(
            init,
            resume,
            tensorboard,
            Computing(precision, compile_, checkpoint_gradients),
            workers,
        ),
        device,
        threads,
        dry_run,
        seeds,
    )
