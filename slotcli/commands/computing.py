"""Precision, compilation and gradient checkpointing of a training run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slotcli.commands.options import COMPUTING
from slotcli.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from slotcli.compute.precision import TrainPrecision

Named = Literal["auto", "fp32", "bf16", "fp16"]
Precision = Annotated[
    Named,
    typer.Option(
        help="Precision of the networks. auto is fp32 on a CPU, bf16 on a GPU that supports it.",
        rich_help_panel=COMPUTING,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Use torch.compile, which takes minutes before the first step.",
        rich_help_panel=COMPUTING,
    ),
]
CheckpointGradients = Annotated[
    bool,
    typer.Option(
        "--checkpoint-gradients",
        help="Recompute activations in the backward pass: less memory, more time.",
        rich_help_panel=COMPUTING,
    ),
]


@dataclass(frozen=True)
class Computing:
    """Precision, compilation and gradient checkpointing, as the command line gives them."""

    precision: Named
    compiled: bool
    checkpoint_gradients: bool

    def precision_on(self, device: "torch.device") -> "TrainPrecision":
        """The precision to train at. Raises UsageError for fp16 on a CPU."""
        from slotcli.compute.precision import auto_precision

        if self.precision == "fp16" and device.type == "cpu":
            raise UsageError(
                "--precision fp16: on a CPU fp16 is slower than fp32 and less exact.",
                "Use fp32 or bf16.",
            )
        return auto_precision(device) if self.precision == "auto" else self.precision

    def require_compiler(self, device: "torch.device") -> None:
        """Raises UnavailableError where --compile is given and cannot work."""
        if not self.compiled:
            return
        from slotcli.compute.compiler import why_not_compiled

        if why := why_not_compiled(device):
            raise UnavailableError(f"--compile: {why}", "Install it, or leave --compile out.")

    def set_up(self, module: "nn.Module", precision: "TrainPrecision") -> None:
        """Applies the three options to the networks of `module`."""
        from slotcli.training.networks import compile_networks, recompute_blocks, use_precision

        if self.compiled:
            compile_networks(module)
        if self.checkpoint_gradients:
            recompute_blocks(module)
        use_precision(module, precision)
