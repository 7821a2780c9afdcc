"""The work of one worker, wherever it runs: in this process, or as an actor of a cluster."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from slotcli.checkpoint import LoadedModel, load_model
from slotcli.compute.precision import to_bf16
from slotcli.decomposition.batch import Outcome, Progress, run_clips
from slotcli.decomposition.plan import PlannedClip
from slotcli.decomposition.request import DecomposeOptions
from slotcli.kernels.dispatch import Backend, set_backend


@dataclass(frozen=True)
class Work:
    """A model's reference, the options, and how to run it: all that a worker has to know.

    `halved` puts the backbone into bfloat16; `together` clips share the model at once.
    """

    model: str
    options: DecomposeOptions
    device: str
    threads: int
    kernels: Backend
    halved: bool
    together: int

    def load(self) -> LoadedModel:
        """Sets this process up and returns the model on its device. Raises as `load_model`."""
        torch.set_num_threads(self.threads)
        set_backend(self.kernels)
        loaded = load_model(self.model)
        _, model = loaded.slot_model()
        model.to(self.device).to(memory_format=torch.channels_last)
        if self.halved:
            to_bf16(model.encoder.backbone)
        return loaded

    def run(
        self, loaded: LoadedModel, clips: list[PlannedClip], progress: Progress
    ) -> Iterator[Outcome]:
        """As `run_clips`."""
        return run_clips(
            clips,
            loaded,
            self.options,
            torch.device(self.device),
            together=self.together,
            progress=progress,
        )
