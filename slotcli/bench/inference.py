"""Times encoding and rendering in our form of a model and in the plain form."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch import device as Device

from slotcli.bench import plain_operations
from slotcli.bench.comparison import Comparison, measure, ratio
from slotcli.bench.forms import BASELINE, Arm
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
    arms: list[Arm],
    device: Device,
    networks: Callable[[SlotModel], list[nn.Module]],
) -> dict[Arm, SlotModel]:
    """A copy of the model per variant; at bf16 its `networks` are cast, or they are compiled."""
    models = dict[Arm, SlotModel]()
    for arm in arms:
        own = models[arm] = form_of(model, arm.form, device)
        if arm.precision == "bf16":
            to_bf16(*networks(own))
        if arm.form == "compiled":
            for network in networks(own):
                network.compile()
    return models


@torch.no_grad()
def bench_encode(
    subject: Subject, arms: list[Arm], device: Device, *, frames: int, rounds: int, tell: Tell
) -> Comparison:
    """Encodes a clip of random frames to slots and soft masks, in chunks as decompose does."""
    models = forms_of(subject.model, arms, device, lambda model: [model.encoder.backbone])
    clip = random_frames(subject.spec, 1, frames).to(device)

    def prepare(arm: Arm) -> Action[tuple[Tensor, Tensor]]:
        model = models[arm]

        def encode() -> tuple[Tensor, Tensor]:
            state, found = None, []
            for chunk in clip.split(CHUNK, dim=1):
                track = model.encode(chunk, state)
                state = track.slots[:, -1]
                found.append((track.slots[0], model.soft_masks(track)[0]))
            slots, masks = zip(*found, strict=True)
            return torch.cat(slots), torch.cat(masks)

        return encode

    def figures(found: tuple[Tensor, Tensor], plain: tuple[Tensor, Tensor]) -> dict[str, float]:
        labels = mask_argmax(found[1], subject.spec.size)
        other = plain_operations.mask_argmax(plain[1], subject.spec.size)
        return {
            "slots_error": relative_error(found[0], plain[0]),
            "mask_pixels_changed": relative_error(labels, other),
        }

    name = f"encode {frames} frames"
    return _compare(name, frames, prepare, figures, arms=arms, rounds=rounds, tell=tell)


@torch.no_grad()
def bench_draw(
    subject: Subject, arms: list[Arm], device: Device, *, frames: int, rounds: int, tell: Tell
) -> list[Comparison]:
    """One function evaluation of the U-Net on 8 frames; then one frame and a clip from slots."""
    models = forms_of(subject.model, arms, device, lambda model: model.decoder.networks)
    count = max(frames, 8)
    track = models[BASELINE].encoder(normalise(random_frames(subject.spec, 1, count).to(device)))
    slots, seen = track.slots[0], track.layout

    def draw(drawn: int, arm: Arm) -> Action[Tensor]:
        parts = [slice(at, min(at + CHUNK, drawn)) for at in range(0, drawn, CHUNK)]
        render = models[arm].decoder.render
        return lambda: torch.cat([render(slots[p], DRAWING, seen[p]) for p in parts])

    def pictures(found: Tensor, plain: Tensor) -> dict[str, float]:
        return {"psnr_db": psnr((plain.float() + 1) / 2, (found.float() + 1) / 2)}

    compare, found = partial(_compare, arms=arms, rounds=rounds, tell=tell), []
    if isinstance(subject.model.decoder, LatentDiffusion):
        found.append(
            compare(
                "U-Net forward, 8 frames",
                8,
                lambda arm: _evaluation(models[arm].decoder, slots[:8], seen[:8]),
                lambda own, plain: {"prediction_error": relative_error(own, plain)},
            )
        )
    for number in dict.fromkeys((1, frames)):
        name = f"draw {number} frame{'s' if number > 1 else ''}"
        found.append(compare(name, number, partial(draw, number), pictures))
    return found


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
    prepare: Callable[[Arm], Action[Result]],
    figures: Callable[[Result, Result], dict[str, float]],
    *,
    arms: list[Arm],
    rounds: int,
    tell: Tell,
) -> Comparison:
    """Times the work in every variant, and compares the results with the baseline's."""

    def tell_arm(arm: Arm) -> None:
        tell(f"{name}, {arm.name}")

    found = measure(arms, prepare, frames=frames, rounds=rounds, tell=tell_arm)
    plain = found.results[BASELINE]
    rates = {
        arm: {
            "frames_per_second": 1 / timing.per_frame,
            "to_plain_fp32": ratio(found.timings, arm),
            "to_plain_same": ratio(found.timings, arm, Arm("plain", arm.precision)),
        }
        for arm, timing in found.timings.items()
    }
    return Comparison(
        name=name,
        frames=frames,
        timings=found.timings,
        figures={arm: own | figures(found.results[arm], plain) for arm, own in rates.items()},
        reasons={arm.name: why for arm, why in found.reasons.items()},
    )
