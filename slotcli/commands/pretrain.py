"""slotcli pretrain: a codec (VQ-VAE or dVAE), before the slot model that uses it."""

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
    Tensorboard,
)


def pretrain(
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
    dry_run: DryRun = False,
    tensorboard: Tensorboard = False,
) -> None:
    """Train a codec (VQ-VAE or dVAE), which a slot model needs first.

    A stopped run resumes when you repeat its command.

    Examples:
      slotcli pretrain --config vqvae-tiny-64 -o codec
      slotcli pretrain --config vqvae-tiny-64 --data footage --set train.steps=500 -o codec
    """
    run_training(
        "codec",
        config,
        out,
        data,
        overrides or [],
        RunOptions(init, resume, tensorboard, Computing(precision, compile_, checkpoint_gradients)),
        device,
        threads,
        dry_run,
    )
