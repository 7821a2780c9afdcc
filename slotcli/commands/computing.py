"""How the networks of a training run compute: the options, and what they ask of the machine."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slotcli.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from slotcli.kernels.precision import TrainPrecision
    from slotcli.training.parallel import Peers

Named = Literal["auto", "fp32", "bf16", "fp16"]
Precision = Annotated[
    Named, typer.Option(help="Of the networks; auto is fp32 on a CPU, bf16 on a GPU that has it.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the networks: minutes before the first step.")
]
CheckpointGradients = Annotated[
    bool,
    typer.Option(
        "--checkpoint-gradients", help="Less memory for more time: compute activations twice."
    ),
]


@dataclass(frozen=True)
class Computing:
    """The three options of a run."""

    precision: Named
    compiled: bool
    checkpoint_gradients: bool

    def precision_on(self, device: "torch.device") -> "TrainPrecision":
        """What the networks will compute in. Raises UsageError for fp16 on a CPU."""
        from slotcli.kernels.precision import auto_precision

        if self.precision == "fp16" and device.type == "cpu":
            raise UsageError(
                "--precision fp16: on a CPU it is slower than fp32 and less exact.",
                "Use fp32 or bf16.",
            )
        return auto_precision(device) if self.precision == "auto" else self.precision

    def require_compiler(self, peers: "Peers", accumulate: int) -> None:
        """Raises, where networks are to be compiled and cannot be."""
        if not self.compiled:
            return
        from slotcli.runs.arms import why_not_compiled

        if peers.size * accumulate > 1:
            raise UsageError(
                "--compile: compiled networks cannot draw dropout for a batch taken in parts.",
                "Use one process and train.accumulate = 1, or leave --compile out.",
            )
        if why := why_not_compiled(peers.device):
            raise UnavailableError(f"--compile: {why}", "Install it, or leave --compile out.")

    def set_up(self, module: "nn.Module", precision: "TrainPrecision") -> None:
        """Makes the networks of what is trained compute so."""
        from slotcli.training.networks import compile_networks, recompute_blocks, use_precision

        if self.compiled:
            compile_networks(module)
        if self.checkpoint_gradients:
            recompute_blocks(module)
        use_precision(module, precision)
