"""SlotDiffusion in one file: slots of moving circles, and frames sampled from the slots.

    python samples/circles.py --steps 600 --out circles.png  # half a second per step on one core

Top to bottom: clips of two circles; a model of slotcli's own parts (a CNN, slot attention over
time, a U-Net that denoises pixels given the slots; no codec); the loss of the paper's Eq. 5, beside
an auxiliary grouping loss (not in the paper); and a picture of clips, masks, and frames that the
U-Net samples from the slots alone. After 450 steps (seed 0) masks are on green and yellow circles,
blue ones are background, and samples are not circles yet.
"""

import argparse

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from slotcli.build import build_model
from slotcli.decoders.base import RenderOptions
from slotcli.definition import parse_spec
from slotcli.model import SlotModel, denormalise, normalise
from slotcli.spec import SlotModelSpec
from slotcli.training.auxiliary.grouping import grouping_loss

SIDE, FRAMES, CLIPS = 32, 3, 6  # pixels, frames per clip, clips per batch
COLOURS = torch.tensor([[220, 60, 50], [60, 180, 75], [60, 90, 220], [240, 200, 40]])
MASK_COLOURS = np.array([[90, 90, 90], [230, 159, 0], [86, 180, 233]], dtype=np.uint8)

DEFINITION = {
    "kind": "slot_model",
    "name": "circles",
    "size": [SIDE, SIDE],
    "num_slots": 3,
    "slot_dim": 32,
    "encoder": {
        "backbone": {"kind": "compact_cnn", "channels": 16},
        "predictor": {"layers": 1},
    },
    "decoder": {
        "kind": "latent_diffusion",
        "codec": {"kind": "pixels"},  # the paper diffuses the latents of a VQ-VAE
        "channels": 32,
        "multipliers": [1, 2],
        "res_blocks": 1,
        "patch": 2,  # the U-Net sees squares of 2x2 pixels as one position
        "target": "v",
    },
    "train": {"steps": 600, "batch_size": CLIPS, "learning_rate": 1e-3}
    | {"decoder_learning_rate": 1e-3},
}


def circles(generator: torch.Generator) -> Tensor:
    """Clips uint8 [CLIPS, FRAMES, 3, SIDE, SIDE] of two circles that move over grey."""
    frames = torch.full((CLIPS, FRAMES, SIDE, SIDE, 3), 128, dtype=torch.uint8)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for clip in frames:
        for colour in COLOURS[torch.randperm(len(COLOURS), generator=generator)[:2]]:
            centre = torch.rand(2, generator=generator) * (SIDE - 12) + 6
            velocity = torch.rand(2, generator=generator) * 4 - 2
            radius = 4 + 3 * torch.rand((), generator=generator)
            for time, frame in enumerate(clip):
                y, x = centre + time * velocity
                frame[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = colour.byte()
    return frames.permute(0, 1, 4, 2, 3).contiguous()


def loss_of(model: SlotModel, frames: Tensor) -> tuple[Tensor, Tensor]:
    """The denoising loss given the slots (paper, Eq. 5), and the grouping loss."""
    pixels = normalise(frames)  # [b, t, 3, h, w] in [-1, 1]
    track = model.encoder(pixels)  # slots [b, t, n, d], attention [b, t, n, h', w']
    target = model.decoder.target(pixels.flatten(0, 1))
    denoising = model.decoder.loss(track.slots.flatten(0, 1), target)
    return denoising, grouping_loss(track.attention, pixels)


def train(model: SlotModel, steps: int, generator: torch.Generator) -> list[float]:
    """Trains with Adam; returns the denoising loss of each step."""
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for step in range(steps):
        denoising, grouping = loss_of(model, circles(generator))
        (denoising + 10 * grouping).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        losses.append(denoising.item())
        if step % 50 == 0:
            print(f"step {step}: denoising {losses[-1]:.3f}, grouping {grouping.item():.4f}")
    return losses


def picture(model: SlotModel, frames: Tensor) -> np.ndarray:
    """A column per clip: its last frame, the masks, and a frame sampled from its slots."""
    model.eval()
    track = model.encode(frames)
    masks = model.soft_masks(track)[:, -1]  # [b, n, h', w']
    masks = torch.nn.functional.interpolate(masks, (SIDE, SIDE), mode="bilinear")
    labels = MASK_COLOURS[masks.argmax(1).numpy()]
    # Without noise: a decoder this young adds the noise of its start to what it has learned.
    options = RenderOptions(evaluations=4, noise_scale=0.0)
    sampled = denormalise(model.decoder.render(track.slots[:, -1], options))
    columns = [
        np.concatenate([frame.permute(1, 2, 0), mask, image.permute(1, 2, 0)])
        for frame, mask, image in zip(frames[:, -1], labels, sampled, strict=True)
    ]
    return np.concatenate(columns, axis=1).repeat(4, axis=0).repeat(4, axis=1)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=600)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", default="circles.png")
    given = options.parse_args()
    torch.manual_seed(given.seed)
    generator = torch.Generator().manual_seed(given.seed)
    spec = parse_spec(DEFINITION, "circles.py")
    assert isinstance(spec, SlotModelSpec)
    model = build_model(spec)
    train(model, given.steps, generator)
    Image.fromarray(picture(model, circles(generator))).save(given.out)


if __name__ == "__main__":
    main()
