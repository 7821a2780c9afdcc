"""What the tasks of both codecs share: the frames of a step, and how close a codec comes alone."""

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from slotcli.codecs.dvae import Dvae
from slotcli.codecs.vqvae import Vqvae
from slotcli.data.batches import Batches
from slotcli.data.datasets import Dataset
from slotcli.data.windows import draw_windows
from slotcli.model import denormalise, normalise
from slotcli.spec import OptimiserSpec
from slotcli.training.parallel import WHOLE, Part

_FRAMES = 8  # of those held out, through the codec at once


def frame_batches(data: Dataset, options: OptimiserSpec) -> Batches[Part, UInt8[Tensor, "b 3 h w"]]:
    """Frames of random clips, for every step of a run."""
    return Batches(lambda step, part: draw_frames(data, options, step, part), options.steps)


def draw_frames(
    data: Dataset, options: OptimiserSpec, step: int, part: Part = WHOLE
) -> UInt8[Tensor, "b 3 h w"]:
    """A part of the batch of a step: frames of random clips, the same whenever it is asked."""
    windows = draw_windows(
        data,
        seed=options.seed,
        step=step,
        batch_size=options.batch_size,
        length=1,
        stride=1,
        flip=options.flip,
    )
    own = part.of(windows)
    frames = [data.clip(window.index, window.start, 1).frames for window in own]
    return torch.cat(
        [
            frame.flip(-1) if window.flip else frame
            for frame, window in zip(frames, own, strict=True)
        ]
    )


@torch.inference_mode()
def psnr_alone(
    codec: Vqvae | Dvae, frames: UInt8[Tensor, "b 3 h w"], device: torch.device
) -> float:
    """Peak signal to noise ratio in dB, over all frames together, of what a codec makes of them."""
    drawn = [
        denormalise(codec.decode(codec.encode(normalise(part.to(device))))).cpu()
        for part in frames.split(_FRAMES)
    ]
    error = F.mse_loss(torch.cat(drawn).float(), frames.float())
    return (10 * torch.log10(255**2 / error)).item()
