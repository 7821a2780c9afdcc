"""Training a VQ-VAE: reconstruction, a perceptual term, quantisation. Paper, appendix D.4."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from slotcli.codecs.perceptual import chroma, gradient_loss, lpips_vgg
from slotcli.codecs.vqvae import Vqvae
from slotcli.data.dataset import Dataset
from slotcli.model import normalise
from slotcli.spec import CodecModelSpec
from slotcli.training.parallel.peers import ALONE, WHOLE, Part, Peers
from slotcli.training.tasks.single_frames import FrameTask

_RESTART_EVERY = 100


class CodecTask(FrameTask[Vqvae]):
    """Trains a VQ-VAE on single frames of a data set."""

    def __init__(
        self,
        spec: CodecModelSpec,
        codec: Vqvae,
        data: Dataset,
        held_out: UInt8[Tensor, "b 3 h w"],
        device: torch.device,
        peers: Peers = ALONE,
    ) -> None:
        super().__init__(spec, codec, data, held_out, device, ["codes_used"])
        self._peers = peers
        self._perceptual = lpips_vgg().to(device) if spec.train.perceptual_weight else None
        self._used = torch.zeros(spec.codec.num_codes, dtype=torch.bool, device=device)
        self.memory = {"used": self._used}

    def loss(
        self, batch: UInt8[Tensor, "b 3 h w"], step: int, part: Part = WHOLE
    ) -> tuple[Tensor, dict[str, float]]:
        frames = normalise(batch.to(self._device))
        if step == 0 and self.module.shortcuts is not None and part.index % self._own(part) == 0:
            # with shortcuts latents carry information from the start: codes begin among them
            self._move_codes(frames, torch.zeros_like(self._used), step)
        # A young codebook transmits little but brightness, and the encoder settles for that; an
        # encoder that has learnt colours before it is quantised keeps them.
        quantise = step >= self._options.quantise_from * self._options.steps
        output = self.module(frames, quantise=quantise)
        loss = F.l1_loss(output.frames, frames) + output.quantisation_loss
        if self._options.gradient_weight:
            loss = loss + self._options.gradient_weight * gradient_loss(output.frames, frames)
        if self._options.chroma_weight:
            off = F.l1_loss(chroma(output.frames), chroma(frames))
            loss = loss + self._options.chroma_weight * off
        if self._perceptual is not None:
            perceptual = self._perceptual(output.frames, frames).mean()
            loss = loss + self._options.perceptual_weight * perceptual
        here = torch.zeros_like(self._used)
        here[output.codes.unique()] = True
        used = self._peers.union(here)
        self._used |= used
        last = (part.index + 1) % self._own(part) == 0
        # Early on only: the decoder would never have seen the colour of a code moved late.
        if last and (step + 1) % _RESTART_EVERY == 0:
            if step < 0.75 * self._options.steps:
                self._move_codes(frames, self._used, step)
            self._used.zero_()
        return loss, {"codes_used": float(used.sum())}

    def _own(self, part: Part) -> int:
        """The number of parts of a batch that this process takes."""
        return part.count // self._peers.size

    def _move_codes(
        self, frames: Float[Tensor, "b 3 h w"], used: Bool[Tensor, " k"], step: int
    ) -> None:
        """Moves unused codes onto latents of frames, the same on every process."""
        latents = self.module.encode(frames).permute(0, 2, 3, 1).flatten(0, 2)
        seed = WHOLE.seed(self._options.seed, step)
        self.module.restart_dead_codes(self._peers.together(latents), used, seed)
