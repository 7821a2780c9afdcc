"""The model without optimisation: the eager baseline of all speed-ups, and a test oracle.

Its layers and their weights are copies of our model's; their use is written independently, without
slotcli.kernels. Convolutions and self-attention are torch's own in both.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.bench import plain_operations
from slotcli.codecs.vqvae import Vqvae
from slotcli.compute.precision import cast_like
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.diffusion.samplers import sample
from slotcli.diffusion.unet import FeedForward, UNet
from slotcli.encoder.encoder import SlotEncoder
from slotcli.encoder.slot_attention import SlotAttention
from slotcli.kernels.group_norm_act import Activation
from slotcli.layers import GroupNormAct
from slotcli.model import SlotModel
from slotcli.types import Layout, SlotTrack


def plain(model: SlotModel) -> SlotModel:
    """A copy of a model in its plain form, to be used in place of `model`.

    Layers, weights and results are the same; nothing is shared. Only the decoder of latent
    diffusion has a plain form of its own; in the others only the norms are replaced.
    """
    copy = deepcopy(model)
    for name, part in list(copy.named_modules()):
        if isinstance(part, GroupNormAct):
            copy.set_submodule(name, PlainNorm(part))
        elif isinstance(part, FeedForward):
            copy.set_submodule(name, PlainFeedForward(part))
    copy.set_submodule("encoder", PlainEncoder(copy.encoder))
    if isinstance(copy.decoder, LatentDiffusion):
        copy.set_submodule("decoder", PlainDiffusion(copy.decoder))
    return copy.train(model.training)


class PlainNorm(nn.Module):
    """GroupNormAct, as separate operations."""

    def __init__(self, norm: GroupNormAct) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.groups, self.eps = norm.num_groups, norm.eps
        self.activation: Activation = norm.activation

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        shift: Float[Tensor, "b c"] | None = None,
        residual: Float[Tensor, "b c h w"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        return plain_operations.group_norm_act(
            x,
            self.weight,
            self.bias,
            groups=self.groups,
            eps=self.eps,
            activation=self.activation,
            shift=shift,
            residual=residual,
        )


class PlainFeedForward(nn.Module):
    """GEGLU with one product for values and gates. Shazeer 2020."""

    def __init__(self, layer: FeedForward) -> None:
        super().__init__()
        self.inner, self.outer = layer.inner, layer.outer

    def forward(self, x: Float[Tensor, "b p c"]) -> Float[Tensor, "b p c"]:
        values, gates = self.inner(x).chunk(2, dim=-1)
        return self.outer(values * F.gelu(gates))


class PlainSlotAttention(nn.Module):
    """Slot attention with keys and values. Locatello et al. 2020, Algorithm 1."""

    def __init__(self, corrector: SlotAttention, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.bias = bias
        self.norm_inputs, self.norm_slots = corrector.norm_inputs, corrector.norm_slots
        self.queries, self.keys, self.values = corrector.queries, corrector.keys, corrector.values
        self.gru, self.mlp = corrector.gru, corrector.mlp
        self.eps = corrector.eps
        self.normalised_state = corrector.normalised_state

    def forward(
        self, slots: Float[Tensor, "b n d"], features: Float[Tensor, "b p d"], iterations: int
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n p"]]:
        """Slots after `iterations` iterations, and the last one's attention."""
        inputs = self.norm_inputs(features)
        keys, values = self.keys(inputs), self.values(inputs)
        attention = keys.new_empty(0)
        for _ in range(iterations):
            queries = self.queries(self.norm_slots(slots))
            updates, attention = plain_operations.slot_read(
                queries, keys, values, self.bias, self.eps
            )
            state = self.norm_slots(slots) if self.normalised_state else slots
            slots = self.gru(updates.flatten(0, 1), state.flatten(0, 1)).view_as(slots)
            if self.mlp is not None:
                slots = slots + self.mlp(slots)
        return slots, attention


class PlainEncoder(nn.Module):
    """Backbone, slot attention and predictor over the frames of a clip, as `SlotEncoder`."""

    def __init__(self, encoder: SlotEncoder) -> None:
        super().__init__()
        self.backbone, self.position, self.readout = (
            encoder.backbone,
            encoder.position,
            encoder.readout,
        )
        self.drawn, self.num_slots = encoder.initial, encoder.num_slots
        self.initial_slots = None if self.drawn is not None else encoder.initial_slots
        self.corrector = PlainSlotAttention(encoder.corrector, encoder.slot_bias)
        self.predictor = encoder.predictor
        self.iterations, self.first_iterations = encoder.iterations, encoder.first_iterations
        self.warm_up, self.appearance = encoder.warm_up, encoder.appearance

    def forward(
        self, frames: Float[Tensor, "b t 3 h w"], state: Float[Tensor, "b n d"] | None = None
    ) -> SlotTrack:
        maps = self.backbone(cast_like(self.backbone, frames.flatten(0, 1))).to(frames.dtype)
        features = self.readout(self.position(maps).flatten(2).transpose(1, 2))
        features = features.unflatten(0, frames.shape[:2])
        if state is None and self.warm_up and not torch.is_grad_enabled():
            ahead = features[:, 1 : self.warm_up + 1].flip(1)
            state = self._scan(ahead, None)[0][:, -1] if ahead.shape[1] else None
        slots, attention = self._scan(features, state)
        attention = attention.unflatten(3, maps.shape[2:])
        seen = self.appearance and self.appearance(attention.flatten(3), maps, frames)
        return SlotTrack(slots, attention, seen)

    def _scan(
        self, features: Float[Tensor, "b t p d"], slots: Float[Tensor, "b n d"] | None
    ) -> tuple[Float[Tensor, "b t n d"], Float[Tensor, "b t n p"]]:
        every_slots, every_attention = [], []
        for frame in features.unbind(1):
            iterations = self.iterations
            if slots is None:
                if self.initial_slots is not None:
                    slots = self.initial_slots.expand(len(frame), -1, -1)
                else:
                    assert self.drawn is not None
                    slots = self.drawn(len(frame), self.num_slots)
                iterations = self.first_iterations
            elif self.predictor is not None:
                slots = self.predictor(slots)
            slots, attention = self.corrector(slots, frame, iterations)
            every_slots.append(slots)
            every_attention.append(attention)
        return torch.stack(every_slots, dim=1), torch.stack(every_attention, dim=1)


class PlainUNet(nn.Module):
    """The U-Net on conditioning vectors, projected by every cross-attention in every evaluation."""

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.layers = unet

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        step: Float[Tensor, " b"],
        vectors: Float[Tensor, "b n d"],
    ) -> Float[Tensor, "b c h w"]:
        return self.layers(x, step, self.layers.project_context(vectors))


class PlainDiffusion(nn.Module):
    """Latent diffusion as in the paper, Eq. 3 to 5, with a full matrix of distances to codes."""

    null: Tensor

    def __init__(self, decoder: LatentDiffusion) -> None:
        super().__init__()
        self.codec, self.schedule = decoder.codec, decoder.schedule
        self.condition, self.patch = decoder.condition, decoder.patch
        self.unet = PlainUNet(decoder.unet)
        self.latent_shape, self.latent_scale = decoder.latent_shape, decoder.latent_scale
        self.noise_scale, self.evaluations = decoder.noise_scale, decoder.evaluations
        self.quantise = decoder.quantise
        self.prediction_target, self.steps_range = decoder.prediction_target, decoder.steps_range
        self.register_buffer("null", decoder.null)

    @property
    def networks(self) -> list[nn.Module]:
        return [self.unet, *self.codec.networks]

    @torch.no_grad()
    def target(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c i j"]:
        return self.codec.encode(frames) * self.latent_scale

    def loss(
        self,
        slots: Float[Tensor, "b n d"],
        target: Float[Tensor, "b c i j"],
        seen: Layout | None = None,
    ) -> Float[Tensor, ""]:
        step = torch.randint(*self.steps_range, (len(slots),), device=slots.device)
        noise = torch.randn_like(target)
        alpha_bar = self.schedule.alphas_bar[step][:, None, None, None]
        alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        read = self.vectors(slots, seen)
        prediction = self.predict(alpha * target + sigma * noise, step.float(), *read)
        wanted = {"eps": noise, "x0": target, "v": alpha * noise - sigma * target}
        return F.mse_loss(prediction.float(), wanted[self.prediction_target])

    @torch.no_grad()
    def render(
        self, slots: Float[Tensor, "b n d"], options: RenderOptions, seen: Layout | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        rng = torch.Generator().manual_seed(options.seed)
        scale = self.noise_scale if options.noise_scale is None else options.noise_scale
        noise = scale * torch.randn(self.latent_shape, generator=rng).to(slots)
        read = self.vectors(slots, seen)

        def denoise(noisy: Tensor, time: float) -> Tensor:
            step = noisy.new_full((len(noisy),), self.schedule.model_step(time))
            prediction = self.predict(noisy, step, *read)
            alpha, sigma = self.schedule.alpha(time), self.schedule.sigma(time)
            clean = {
                "eps": (noisy - sigma * prediction) / alpha,
                "x0": prediction,
                "v": alpha * noisy - sigma * prediction,
            }[self.prediction_target]
            return self._quantise(clean / self.latent_scale) * self.latent_scale

        start = noise.expand(len(slots), -1, -1, -1)
        evaluations = options.evaluations or self.evaluations
        latents = sample(options.sampler, denoise, start, self.schedule, evaluations)
        return self._decode(latents / self.latent_scale).clamp(-1, 1)

    def soft_masks(
        self, slots: Float[Tensor, "b n d"], attention: Float[Tensor, "b n i j"]
    ) -> Float[Tensor, "b n i j"]:
        return attention

    def vectors(
        self, slots: Float[Tensor, "b n d"], seen: Layout | None = None
    ) -> tuple[Float[Tensor, "b m d"], list[Float[Tensor, "b e k l"]]]:
        """The U-Net's context: slots and null tokens, in its own dtype, and the slots' layout."""
        slots, maps = self.condition(slots, seen)
        tokens = torch.cat([slots, self.null.to(slots).expand(len(slots), -1, -1)], dim=1)
        return cast_like(self.unet, tokens), maps

    def predict(
        self,
        noisy: Float[Tensor, "b c i j"],
        step: Float[Tensor, " b"],
        vectors: Float[Tensor, "b m d"],
        maps: list[Float[Tensor, "b e k l"]],
    ) -> Float[Tensor, "b c i j"]:
        """The U-Net's prediction for noisy latents, given the result of `vectors`."""
        x = torch.cat([F.pixel_unshuffle(noisy, self.patch), *maps], dim=1)
        prediction = self.unet(cast_like(self.unet, x), step, vectors).to(noisy.dtype)
        return F.pixel_shuffle(prediction, self.patch)

    def _quantise(self, latents: Float[Tensor, "b c i j"]) -> Float[Tensor, "b c i j"]:
        if not self.quantise:
            return latents
        if not isinstance(self.codec, Vqvae):
            return self.codec.quantise(latents)
        codes = self.codec.codebook.weight
        nearest = plain_operations.nearest_code(latents.movedim(1, -1).flatten(0, 2), codes)
        return codes[nearest].view(latents.movedim(1, -1).shape).movedim(-1, 1)

    def _decode(self, latents: Float[Tensor, "b c i j"]) -> Float[Tensor, "b 3 h w"]:
        return self.codec.decode_unquantised(self._quantise(latents))
