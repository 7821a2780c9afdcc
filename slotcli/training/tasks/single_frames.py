"""The shared parts of both codecs' tasks: batches of single frames, reconstruction figures."""

from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from slotcli.codecs.dvae import Dvae
from slotcli.codecs.perceptual import chroma
from slotcli.codecs.vqvae import Vqvae
from slotcli.data.batches import Batches
from slotcli.data.dataset import Dataset
from slotcli.data.windows import draw_windows
from slotcli.model import denormalise, normalise
from slotcli.spec import CodecModelSpec, CodecTrainSpec
from slotcli.training.parallel.peers import WHOLE, Part

FIGURES = ("psnr", "error_red", "error_green", "error_blue", "chroma_error")
_FRAMES = 8  # held-out frames per call of the codec

AnyCodec = TypeVar("AnyCodec", Vqvae, Dvae)


class FrameTask(Generic[AnyCodec]):
    """All of a codec's task but its loss; `figures` are those of the loss."""

    def __init__(
        self,
        spec: CodecModelSpec,
        codec: AnyCodec,
        data: Dataset,
        held_out: UInt8[Tensor, "b 3 h w"],
        device: torch.device,
        figures: list[str],
    ) -> None:
        self.module = codec.to(device).to(memory_format=torch.channels_last)
        self.figures = [*figures, *FIGURES]
        self.judged_by = "psnr"
        self.memory: dict[str, Tensor] = {}
        self.batches = frame_batches(data, spec.train)
        self._options = spec.train
        self._held_out = held_out
        self._device = device

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.module.parameters()), "peak": self._options.learning_rate}]

    def batch(self, step: int, part: Part = WHOLE) -> UInt8[Tensor, "b 3 h w"]:
        return self.batches.of(step, part)

    def evaluate(self) -> dict[str, float | None]:
        """The reconstruction error with hard codes, as the codec is used after training."""
        return reconstruction_figures(self.module, self._held_out, self._device)

    def draw(self, path: Path) -> None:
        """Does nothing: a codec has no masks."""

    def complete(self) -> None:
        """Does nothing: gradients train all of a codec."""

    def score(self, figures: dict[str, float | None]) -> float | None:
        return figures.get(self.judged_by)


def frame_batches(
    data: Dataset, options: CodecTrainSpec
) -> Batches[Part, UInt8[Tensor, "b 3 h w"]]:
    """Batches of frames of random clips, or of square crops of them, for every step of a run."""
    return Batches(lambda step, part: draw_frames(data, options, step, part), options.steps)


def draw_frames(
    data: Dataset, options: CodecTrainSpec, step: int, part: Part = WHOLE
) -> UInt8[Tensor, "b 3 h w"]:
    """A part of a step's batch: frames of random clips, the same at every call."""
    length = options.frames_per_clip
    windows = draw_windows(
        data,
        seed=options.seed,
        step=step,
        batch_size=options.batch_size // length,
        length=length,
        stride=1,
        flip=options.flip,
    )
    places = [(window, number) for window in windows for number in range(length)]
    own = part.of(places)
    clips = {
        window: data.clip(window.index, window.start, length).frames
        for window in dict.fromkeys(window for window, _ in own)
    }
    frames = [clips[window][number] for window, number in own]
    frames = [
        frame.flip(-1) if window.flip else frame
        for frame, (window, _) in zip(frames, own, strict=True)
    ]
    if options.crop:
        corners = np.random.default_rng((options.seed, step, 1)).random((len(places), 2))
        frames = [
            _square(frame, options.crop, corner)
            for frame, corner in zip(frames, part.of(corners.tolist()), strict=True)
        ]
    return torch.stack(frames)


def _square(
    frame: UInt8[Tensor, "3 h w"], side: int, corner: list[float]
) -> UInt8[Tensor, "3 side side"]:
    """A square crop of a frame; `corner` is in fractions of the largest possible offset."""
    top, left = (
        int(share * (room - side + 1)) for share, room in zip(corner, frame.shape[1:], strict=True)
    )
    return frame[:, top : top + side, left : left + side]


@torch.inference_mode()
def reconstruction_figures(
    codec: Vqvae | Dvae, frames: UInt8[Tensor, "b 3 h w"], device: torch.device
) -> dict[str, float | None]:
    """Reconstruction figures of a codec, over all frames together.

    The peak signal-to-noise ratio in dB, the root mean squared error of each colour in 255ths, and
    the power of the chroma error as a fraction of the power of chroma, None for gray frames.
    """
    drawn = [
        denormalise(codec.decode(codec.encode(normalise(part.to(device))))).cpu()
        for part in frames.split(_FRAMES)
    ]
    error = torch.cat(drawn).double() - frames.double()
    squares = error.square().mean((0, 2, 3))
    power = chroma(frames.double()).square().mean().item()
    return {
        "psnr": (10 * torch.log10(255**2 / squares.mean())).item(),
        **dict(zip(FIGURES[1:4], squares.sqrt().tolist(), strict=True)),
        "chroma_error": chroma(error).square().mean().item() / power if power > 1e-9 else None,
    }
