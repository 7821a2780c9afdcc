"""The VQ-VAE whose latents SlotDiffusion denoises. van den Oord et al. 2017; paper, D.4."""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from slotcli.codecs import autoencoder
from slotcli.compute.precision import cast_like
from slotcli.kernels import nearest_code


@dataclass(frozen=True)
class VqvaeOutput:
    frames: Float[Tensor, "b 3 h w"]
    codes: Int64[Tensor, " rows"]
    quantisation_loss: Float[Tensor, ""]


class Shortcuts(nn.Module):
    """Linear shortcuts around encoder and decoder: patches to latents, and back. Chen et al. 2024.

    GroupNorm removes the mean of a map, and colour with it; the shortcuts preserve it. Initially
    they encode a patch's mean colour in the first latent channels.
    """

    def __init__(self, patch: int, latent_channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, latent_channels, patch, stride=patch)
        self.up = nn.ConvTranspose2d(latent_channels, 3, patch, stride=patch)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        for channel in range(min(3, latent_channels)):
            # The factor of 2 gives latents of about unit variance.
            nn.init.constant_(self.down.weight[channel, channel], 2 / patch**2)
            nn.init.constant_(self.up.weight[channel, channel], 1 / 2)


class Vqvae(nn.Module):
    """A convolutional autoencoder with a codebook between encoder and decoder.

    With `shortcuts`, encoder and decoder initially equal the linear shortcuts around them.
    """

    def __init__(
        self,
        channels: int,
        multipliers: tuple[int, ...],
        res_blocks: int,
        latent_channels: int,
        num_codes: int,
        shortcuts: bool = False,
    ) -> None:
        super().__init__()
        shape = (channels, multipliers, res_blocks, latent_channels)
        self.encoder = autoencoder.encoder(*shape)
        self.to_latents = nn.Conv2d(latent_channels, latent_channels, 1)
        self.codebook = nn.Embedding(num_codes, latent_channels)
        nn.init.uniform_(self.codebook.weight, -1 / num_codes, 1 / num_codes)
        self.from_latents = nn.Conv2d(latent_channels, latent_channels, 1)
        self.decoder = autoencoder.decoder(*shape)
        self.shortcuts: Shortcuts | None = None
        if shortcuts:
            self.shortcuts = Shortcuts(2 ** (len(multipliers) - 1), latent_channels)
            # Not quite zero, so that the branch gets gradients from the first step.
            nn.init.dirac_(self.to_latents.weight)
            self.to_latents.weight.data *= 0.1
            for parameter in (
                self.to_latents.bias,
                *cast(nn.Conv2d, self.decoder[-1]).parameters(),
            ):
                nn.init.zeros_(cast(Tensor, parameter))

    @property
    def networks(self) -> list[nn.Module]:
        """The decoder."""
        return [self.decoder]

    def encode(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c i j"]:
        """Latents of frames in [-1, 1], before quantisation: the diffusion's training target."""
        latents = self.to_latents(self.encoder(frames))
        return latents if self.shortcuts is None else latents + self.shortcuts.down(frames)

    def codes(self, latents: Float[Tensor, "b c i j"]) -> Int64[Tensor, " rows"]:
        """Index of the nearest code at each position, rows in the order b, i, j."""
        return nearest_code(latents.permute(0, 2, 3, 1).flatten(0, 2), self.codebook.weight)

    def quantise(self, latents: Float[Tensor, "b c i j"]) -> Float[Tensor, "b c i j"]:
        """Quantises latents to the nearest code at each position."""
        b, _, i, j = latents.shape
        return self.codebook(self.codes(latents)).view(b, i, j, -1).permute(0, 3, 1, 2)

    def decode(self, latents: Float[Tensor, "b c i j"]) -> Float[Tensor, "b 3 h w"]:
        """Frames from latents, quantised first; not clamped to [-1, 1]."""
        return self.decode_unquantised(self.quantise(latents))

    def decode_unquantised(self, latents: Float[Tensor, "b c i j"]) -> Float[Tensor, "b 3 h w"]:
        """Frames from latents, without quantisation; not clamped to [-1, 1]."""
        maps = self.from_latents(latents)
        frames = self.decoder(cast_like(self.decoder, maps)).to(latents.dtype)
        return frames if self.shortcuts is None else frames + self.shortcuts.up(latents)

    def forward(self, frames: Float[Tensor, "b 3 h w"], *, quantise: bool = True) -> VqvaeOutput:
        """Reconstruction and quantisation loss, as in training.

        Without `quantise` the decoder sees the latents themselves, and only the codebook loss
        remains, which keeps the codes near the latents. The weights are those of the authors'
        `legacy` quantiser: 1 on the commitment loss, 0.25 on the codebook loss.
        """
        latents = self.encode(frames)
        codes = self.codes(latents)
        b, _, i, j = latents.shape
        quantised = self.codebook(codes).view(b, i, j, -1).permute(0, 3, 1, 2)
        commitment = F.mse_loss(latents, quantised.detach())
        codebook = F.mse_loss(quantised, latents.detach())
        straight_through = latents + (quantised - latents).detach() if quantise else latents
        return VqvaeOutput(
            frames=self.decode_unquantised(straight_through),
            codes=codes,
            quantisation_loss=0.25 * codebook + (commitment if quantise else 0.0),
        )

    @torch.no_grad()
    def restart_dead_codes(self, latents: Float[Tensor, "rows c"], used: Tensor, seed: int) -> int:
        """Moves unused codes (`used` [k], bool, is False) to random rows of `latents`.

        Returns the number of codes moved: at most one per row.
        """
        rng = torch.Generator(latents.device).manual_seed(seed)
        dead = (~used).nonzero().flatten()[: len(latents)]
        rows = torch.randperm(len(latents), generator=rng, device=latents.device)[: len(dead)]
        self.codebook.weight[dead] = latents[rows].to(self.codebook.weight)
        return len(dead)
