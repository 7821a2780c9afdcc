"""slotcli train: a slot model on its frozen codec."""

from slotcli.commands.options import Device, Overrides, Threads
from slotcli.commands.training import (
    Config,
    DataFolder,
    DryRun,
    Init,
    Resume,
    RunFolder,
    Seeds,
    Tensorboard,
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
    seeds: Seeds = None,
    dry_run: DryRun = False,
    tensorboard: Tensorboard = False,
) -> None:
    """Train a slot model on a trained codec."""
    run_training(
        "slot_model",
        config,
        out,
        data,
        overrides or [],
        init,
        resume,
        device,
        threads,
        dry_run,
        tensorboard,
        seeds,
    )
