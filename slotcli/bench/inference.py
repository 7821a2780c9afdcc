"""Times encoding and rendering in our form of a model and in the plain form."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch import device as Device

from slotcli.bench import plain_operations
from slotcli.bench.comparison import Comparison, measure, ratio
from slotcli.bench.forms import BASELINE, Variant
from slotcli.bench.plain_model import PlainDiffusion
from slotcli.bench.subject import Subject, form_of, random_frames
from slotcli.bench.timing import Action, Result
from slotcli.compute.precision import cast_like, to_bf16
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.evaluation.reconstruction import psnr
from slotcli.kernels import mask_argmax
from slotcli.kernels.self_test import relative_error
from slotcli.model import SlotModel, normalise
from slotcli.types import Layout

CHUNK = 16  # frames per call, as in decompose and reconstruct
DRAWING = RenderOptions(evaluations=20)

Tell = Callable[[str], None]  # called with each finished piece of work


def forms_of(
    model: SlotModel,
    variants: list[Variant],
    device: Device,
    networks: Callable[[SlotModel], list[nn.Module]],
) -> dict[Variant, SlotModel]:
    """A copy of the model per variant; at bf16 its `networks` are cast, or they are compiled."""
    models = dict[Variant, SlotModel]()
    for variant in variants:
        built = models[variant] = form_of(model, variant.form, device)
        if variant.precision == "bf16":
            to_bf16(*networks(built))
        if variant.form == "compiled":
            for network in networks(built):
                network.compile()
    return models


@torch.no_grad()
def bench_encode(
    subject: Subject,
    variants: list[Variant],
    device: Device,
    *,
    frames: int,
    rounds: int,
    tell: Tell,
) -> Comparison:
    """Encodes a clip of random frames to slots and soft masks, in chunks as decompose does."""
    models = forms_of(subject.model, variants, device, lambda model: [model.encoder.backbone])
    clip = random_frames(subject.spec, 1, frames).to(device)

    def prepare(variant: Variant) -> Action[tuple[Tensor, Tensor]]:
        model = models[variant]

        def encode() -> tuple[Tensor, Tensor]:
            state, outputs = None, []
            for chunk in clip.split(CHUNK, dim=1):
                track = model.encode(chunk, state)
                state = track.slots[:, -1]
                outputs.append((track.slots[0], model.soft_masks(track)[0]))
            slots, masks = zip(*outputs, strict=True)
            return torch.cat(slots), torch.cat(masks)

        return encode

    def figures(outputs: tuple[Tensor, Tensor], plain: tuple[Tensor, Tensor]) -> dict[str, float]:
        labels = mask_argmax(outputs[1], subject.spec.size)
        other = plain_operations.mask_argmax(plain[1], subject.spec.size)
        return {
            "slots_error": relative_error(outputs[0], plain[0]),
            "mask_pixels_changed": relative_error(labels, other),
        }

    name = f"encode {frames} frames"
    return _compare(name, frames, prepare, figures, variants=variants, rounds=rounds, tell=tell)


@torch.no_grad()
def bench_draw(
    subject: Subject,
    variants: list[Variant],
    device: Device,
    *,
    frames: int,
    rounds: int,
    tell: Tell,
) -> list[Comparison]:
    """One function evaluation of the U-Net on 8 frames; then one frame and a clip from slots."""
    models = forms_of(subject.model, variants, device, lambda model: model.decoder.networks)
    count = max(frames, 8)
    track = models[BASELINE].encoder(normalise(random_frames(subject.spec, 1, count).to(device)))
    slots, seen = track.slots[0], track.layout

    def draw(drawn: int, variant: Variant) -> Action[Tensor]:
        parts = [slice(at, min(at + CHUNK, drawn)) for at in range(0, drawn, CHUNK)]
        render = models[variant].decoder.render
        return lambda: torch.cat([render(slots[p], DRAWING, seen[p]) for p in parts])

    def pictures(rendered: Tensor, plain: Tensor) -> dict[str, float]:
        return {"psnr_db": psnr((plain.float() + 1) / 2, (rendered.float() + 1) / 2)}

    compare, comparisons = partial(_compare, variants=variants, rounds=rounds, tell=tell), []
    if isinstance(subject.model.decoder, LatentDiffusion):
        comparisons.append(
            compare(
                "U-Net forward, 8 frames",
                8,
                lambda variant: _evaluation(models[variant].decoder, slots[:8], seen[:8]),
                lambda own, plain: {"prediction_error": relative_error(own, plain)},
            )
        )
    for number in dict.fromkeys((1, frames)):
        name = f"draw {number} frame{'s' if number > 1 else ''}"
        comparisons.append(compare(name, number, partial(draw, number), pictures))
    return comparisons


def _evaluation(decoder: nn.Module, slots: Float[Tensor, "b n d"], seen: Layout) -> Action[Tensor]:
    """The U-Net on noise, with the form's preparation of the slots done once before."""
    assert isinstance(decoder, LatentDiffusion | PlainDiffusion)
    rng = torch.Generator().manual_seed(0)
    noisy = torch.randn(len(slots), *decoder.latent_shape, generator=rng).to(slots)
    noisy, step = cast_like(decoder.unet, noisy), torch.full((len(slots),), 500.0).to(slots)
    if isinstance(decoder, PlainDiffusion):
        read = decoder.vectors(slots, seen)
        return lambda: decoder.predict(noisy, step, *read)
    context, maps = decoder.context(slots, seen, decoder.condition.grid)
    return lambda: decoder.predict(noisy, step, context, maps)


def _compare(
    name: str,
    frames: int,
    prepare: Callable[[Variant], Action[Result]],
    figures: Callable[[Result, Result], dict[str, float]],
    *,
    variants: list[Variant],
    rounds: int,
    tell: Tell,
) -> Comparison:
    """Times the work in every variant, and compares the results with the baseline's."""

    def tell_variant(variant: Variant) -> None:
        tell(f"{name}, {variant.name}")

    measured = measure(variants, prepare, frames=frames, rounds=rounds, tell=tell_variant)
    plain = measured.results[BASELINE]
    rates = {
        variant: {
            "frames_per_second": 1 / timing.per_frame,
            "to_plain_fp32": ratio(measured.timings, variant),
            "to_plain_same": ratio(measured.timings, variant, Variant("plain", variant.precision)),
        }
        for variant, timing in measured.timings.items()
    }
    return Comparison(
        name=name,
        frames=frames,
        timings=measured.timings,
        figures={
            variant: own | figures(measured.results[variant], plain)
            for variant, own in rates.items()
        },
        reasons={variant.name: why for variant, why in measured.reasons.items()},
    )
