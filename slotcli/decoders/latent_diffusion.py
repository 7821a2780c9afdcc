"""Latent diffusion decoder: denoises a codec's latents, conditioned on slots. Paper, Eq. 5."""

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.codecs.base import Codec
from slotcli.compute.cuda_graph import CudaGraphs
from slotcli.compute.precision import cast_like
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.condition import Condition
from slotcli.decoders.deblocking import Deblocking
from slotcli.diffusion.denoiser import Target, denoising_loss, x0_prediction
from slotcli.diffusion.samplers import (
    Evaluation,
    Sampler,
    coefficients,
    initial_state,
    sampler_step,
)
from slotcli.diffusion.schedule import Schedule
from slotcli.diffusion.unet import LayerContext, UNet
from slotcli.types import Layout, Size

# The range of the 1,000 steps with a signal-to-noise ratio of about 0.1 to 10, where the
# prediction depends most on the slots.
_MID_STEPS = (100, 600)


class LatentDiffusion(nn.Module):
    """A frozen codec, a noise schedule, and a trained U-Net that is conditioned on slots.

    `latent_scale` scales the codec's latents to about unit variance, which the schedule assumes.
    Each position of the U-Net's maps is a patch of `patch` by `patch` latents. `condition` turns
    slots into the U-Net's context and into maps that are concatenated to its input. `null_tokens`
    fixed random vectors are appended to the context: attention sinks that carry no information
    about the frame.
    """

    draws = True

    null: Tensor

    def __init__(
        self,
        codec: Codec,
        unet: UNet,
        condition: Condition,
        *,
        latent_shape: tuple[int, int, int],
        slot_dim: int,
        target: Target,
        null_tokens: int = 0,
        latent_scale: float = 1.0,
        timesteps: Literal["uniform", "mid"] = "uniform",
        patch: int = 1,
        noise_scale: float = 1.0,
        evaluations: int = 20,
        quantise: bool = True,
        deblocking: Deblocking | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(codec, nn.Module):
            raise TypeError("the codec has to be a module, so that it is saved with the decoder")
        self.codec = codec.requires_grad_(False)
        self.unet = unet
        self.condition = condition
        self.patch = patch
        self.schedule = Schedule()
        self.latent_shape = latent_shape
        self.latent_scale = latent_scale
        self.noise_scale = noise_scale
        self.evaluations = evaluations
        self.quantise = quantise
        self.deblocking = deblocking
        self.prediction_target: Target = target
        self.steps_range = _MID_STEPS if timesteps == "mid" else (0, self.schedule.steps)
        if null_tokens:
            self.register_buffer("null", torch.randn(1, null_tokens, slot_dim))
        else:
            none = torch.empty(1, 0, slot_dim, device="cpu")
            self.register_buffer("null", none, persistent=False)
        self._graphs = CudaGraphs("The denoising of latents")

    def train(self, mode: bool = True) -> "LatentDiffusion":
        """Sets the training mode of all modules but the codec, which is frozen."""
        super().train(mode)
        self.codec.eval()
        if mode:
            self._graphs.free()
        return self

    @property
    def networks(self) -> list[nn.Module]:
        """The U-Net, and the codec's."""
        return [self.unet, *self.codec.networks]

    @torch.no_grad()
    def target(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c i j"]:
        """The codec's latents of frames in [-1, 1], before quantisation, at about unit variance."""
        return self.codec.encode(frames) * self.latent_scale

    def loss(
        self,
        slots: Float[Tensor, "b n d"],
        target: Float[Tensor, "b c i j"],
        seen: Layout | None = None,
    ) -> Float[Tensor, ""]:
        """Denoising error at a random step and noise for each frame. Paper, Eq. 5."""
        step = torch.randint(*self.steps_range, (len(slots),), device=slots.device)
        return self.loss_at(slots, target, torch.randn_like(target), step, seen).mean()

    def loss_at(
        self,
        slots: Tensor,
        target: Tensor,
        noise: Tensor,
        step: Tensor,
        seen: Layout | None = None,
    ) -> Float[Tensor, " b"]:
        """Denoising error of each frame at a given noise and step."""
        context, maps = self.context(slots, seen)
        return denoising_loss(
            self.schedule,
            self.prediction_target,
            lambda noisy, step: self.predict(noisy, step.float(), context, maps),
            target,
            noise,
            step,
        )

    def render(
        self, slots: Float[Tensor, "b n d"], options: RenderOptions, seen: Layout | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        """Samples frames from slots, all from one noise map (the seed's), clamped to [-1, 1]."""
        evaluations = options.evaluations or self.evaluations
        return self.render_from(slots, self._noise(options), options.sampler, evaluations, seen)

    @torch.no_grad()
    def render_from(
        self,
        slots: Float[Tensor, "b n d"],
        noise: Float[Tensor, "c i j"],
        sampler: Sampler,
        evaluations: int,
        seen: Layout | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Samples frames from slots and one noise map, clamped to [-1, 1].

        Each x0 prediction is quantised to the codec's codes, as the authors sample, unless the
        model's definition says otherwise (`quantise`).
        """
        picture = self._sampled(slots, noise, sampler, evaluations, seen)
        if self.deblocking is None:
            return picture
        return self.deblocking(picture, self._colours(seen)).clamp(-1, 1)

    @torch.no_grad()
    def fit_deblocking(
        self, samples: Iterable[tuple[Tensor, Layout | None, Float[Tensor, "b 3 h w"]]]
    ) -> None:
        """Fits the deblocking filter, where there is one, to slots, layouts and their frames.

        They are rendered as `render` does by default. DE11.
        """
        if self.deblocking is None:
            return
        noise, sampler = self._noise(RenderOptions()), RenderOptions().sampler
        self.deblocking.fit(
            (
                self._sampled(slots, noise, sampler, self.evaluations, seen),
                self._colours(seen),
                frames,
            )
            for slots, seen, frames in samples
        )

    def _noise(self, options: RenderOptions) -> Float[Tensor, "c i j"]:
        generator = torch.Generator().manual_seed(options.seed)
        noise = torch.randn(self.latent_shape, generator=generator)
        return noise * (self.noise_scale if options.noise_scale is None else options.noise_scale)

    def _colours(self, seen: Layout | None) -> Float[Tensor, "b 3 i j"] | None:
        return None if seen is None else self.condition.colours(seen)

    def _sampled(
        self,
        slots: Float[Tensor, "b n d"],
        noise: Float[Tensor, "c i j"],
        sampler: Sampler,
        evaluations: int,
        seen: Layout | None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Frames in [-1, 1] as the codec decodes them."""
        context, maps = self.context(slots, seen, self.condition.grid)
        evaluate = self._graphs.bind(self, self._evaluation, context, maps)
        rows = [
            self._row(evaluation)
            for evaluation in coefficients(sampler, self.schedule, evaluations)
        ]
        state = initial_state(noise.to(slots).expand(len(slots), -1, -1, -1))
        # One copy to the device for all function evaluations.
        for row in torch.tensor(rows, dtype=state.dtype).to(state.device):
            state = evaluate(state, row)
        return self.decode(state[0]).clamp(-1, 1)

    def decode(self, latents: Float[Tensor, "b c i j"]) -> Float[Tensor, "b 3 h w"]:
        """Frames from latents of `latent_scale`, on the codec's codes if it samples on them."""
        latents = latents / self.latent_scale
        codec = self.codec
        return codec.decode(latents) if self.quantise else codec.decode_unquantised(latents)

    def soft_masks(
        self, slots: Float[Tensor, "b n d"], attention: Float[Tensor, "b n i j"]
    ) -> Float[Tensor, "b n i j"]:
        """Returns the encoder's attention: the decoder has no masks of its own."""
        return attention

    def _row(self, evaluation: Evaluation) -> list[float]:
        """Coefficients of one function evaluation: timestep, those of x0, the solver's weights."""
        time = evaluation.time
        # x0 is linear in the noisy input and the prediction: unit inputs give its coefficients.
        noisy, prediction = torch.eye(2, dtype=torch.float64, device="cpu")
        parts = x0_prediction(
            self.prediction_target,
            prediction,
            noisy,
            self.schedule.alpha(time),
            self.schedule.sigma(time),
        )
        return [self.schedule.model_step(time), *parts.tolist(), *evaluation.weights]

    def _evaluation(
        self,
        state: Float[Tensor, "3 b c i j"],
        row: Float[Tensor, " 7"],
        context: list[LayerContext],
        maps: list[Float[Tensor, "b e k l"]],
    ) -> Float[Tensor, "3 b c i j"]:
        """One function evaluation of any sampler; all that varies between them is in `row`."""
        noisy = state[0]
        step = row[:1].expand(len(noisy))
        prediction = self.predict(noisy, step, context, maps)
        clean = row[1] * noisy + row[2] * prediction
        if self.quantise:
            clean = self.codec.quantise(clean / self.latent_scale) * self.latent_scale
        return sampler_step(state, clean, row[3:])

    def predict(
        self,
        noisy: Float[Tensor, "b c i j"],
        step: Float[Tensor, " b"],
        context: list[LayerContext],
        maps: list[Float[Tensor, "b e k l"]],
    ) -> Float[Tensor, "b c i j"]:
        """The U-Net's prediction for noisy latents, given the results of `context`."""
        x = F.pixel_unshuffle(noisy, self.patch) if self.patch > 1 else noisy
        x = torch.cat([x, *maps], dim=1) if maps else x
        prediction = self.unet(cast_like(self.unet, x), step, context).to(noisy.dtype)
        return F.pixel_shuffle(prediction, self.patch) if self.patch > 1 else prediction

    def context(
        self, slots: Float[Tensor, "b n d"], seen: Layout | None, size: Size | None = None
    ) -> tuple[list[LayerContext], list[Float[Tensor, "b e k l"]]]:
        """The U-Net's context and maps; with a `size` without gradients, as `project_context`."""
        slots, maps = self.condition(slots, seen)
        tokens = torch.cat([slots, self.null.to(slots).expand(len(slots), -1, -1)], dim=1)
        return self.unet.project_context(cast_like(self.unet, tokens), size), maps
