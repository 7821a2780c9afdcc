"""slotcli train: a slot model on its frozen codec."""

from slotcli.commands.computing import CheckpointGradients, Compile, Computing, Precision
from slotcli.commands.options import Device, Overrides, Threads
from slotcli.commands.training import run_training
from slotcli.commands.training_options import (
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
    """Train a slot model on a trained, frozen codec, or on pixels.

    A stopped run resumes when you repeat its command.

    Examples:
      slotcli train --config tiny-64 --set train.codec=codec -o run
      slotcli train --config tiny-64 --data footage -o run --dry-run
      torchrun --nproc-per-node 2 -m slotcli train --config tiny-64 -o run
    """
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
