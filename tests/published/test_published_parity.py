"""The authors' weights compute under our names what they compute in the authors' code.

The fixture is described in fixtures/README.md.
"""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from authors_weights import authors_state_dict, difference, normal, uniform
from safetensors.torch import load_file
from torch import Tensor

from slotcli.build import build_shapes
from slotcli.checkpoint import DEFINITION, find_model
from slotcli.decoders.latent_diffusion import LatentDiffusion
from slotcli.definition import load_definition
from slotcli.diffusion.denoiser import x0_prediction
from slotcli.diffusion.samplers import sample
from slotcli.model import SlotModel
from slotcli.published import import_published
from slotcli.spec import SlotModelSpec

pytestmark = pytest.mark.slow

FIXTURE = Path(__file__).parents[1] / "fixtures" / "parity_slotdiffusion.safetensors"


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load_file(FIXTURE)


@pytest.fixture(scope="module")
def published_model(tmp_path_factory: pytest.TempPathFactory) -> SlotModel:
    spec = load_definition(find_model("slotdiffusion-movi-d") / DEFINITION)
    assert isinstance(spec, SlotModelSpec)
    path = tmp_path_factory.mktemp("published") / "model_201000.pth"
    torch.save({"state_dict": authors_state_dict(spec), "it": 201000, "epoch": 30}, path)
    tensors, report = import_published(path, spec)
    path.unlink()  # 600 MB that pytest would keep
    assert (report.mapped, report.dropped) == (988, [])
    model = build_shapes(spec)
    assert isinstance(model, SlotModel)
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def published_decoder(published_model: SlotModel) -> LatentDiffusion:
    assert isinstance(published_model.decoder, LatentDiffusion)
    return published_model.decoder


def test_encoder_agrees_with_the_authors(
    published_model: SlotModel, reference: dict[str, Tensor]
) -> None:
    clip = uniform("frames", 1, 3, 3, 128, 128)
    track = published_model.encoder(clip)
    features = published_model.encoder.features(clip[:, :1])[0, 0]
    masks = F.interpolate(track.attention[0, 2:], size=(128, 128), mode="bilinear")[0]
    assert difference(features, reference["encoder_features_frame0"]) < 1e-5
    assert difference(track.slots, reference["slots"]) < 1e-5
    assert difference(track.attention, reference["attention"]) < 1e-5
    assert difference(masks, reference["masks_frame2_128px"]) < 1e-5


def test_codec_agrees_with_the_authors(
    published_decoder: LatentDiffusion, reference: dict[str, Tensor]
) -> None:
    codec = published_decoder.codec
    latents = codec.encode(uniform("frames", 1, 3, 3, 128, 128)[:, 0])
    assert difference(latents, reference["vq_latents"]) < 1e-5
    assert difference(codec.quantise(latents), reference["vq_quantized"]) < 1e-5
    assert difference(codec.decode(latents), reference["vq_decoded"]) < 1e-4


def test_unet_and_schedule_agree_with_the_authors(
    published_decoder: LatentDiffusion, reference: dict[str, Tensor]
) -> None:
    unet = published_decoder.unet
    context = unet.project_context(normal("context", 2, 15, 192))
    eps = unet(normal("latents", 2, 3, 32, 32), torch.tensor([10.0, 700.0]), context)
    assert difference(eps, reference["unet_eps"]) < 1e-5
    assert torch.equal(published_decoder.schedule.alphas_bar, reference["alphas_bar"])


def test_sampler_agrees_with_the_authors(
    published_decoder: LatentDiffusion, reference: dict[str, Tensor]
) -> None:
    context = published_decoder.unet.project_context(normal("context", 2, 15, 192)[:1])
    schedule = published_decoder.schedule

    def denoise(noisy: Tensor, time: float) -> Tensor:
        eps = published_decoder.unet(noisy, torch.tensor([schedule.model_step(time)]), context)
        return x0_prediction("eps", eps, noisy, schedule.alpha(time), schedule.sigma(time))

    drawn = sample("singlestep", denoise, normal("noise", 1, 3, 32, 32), schedule, 20)
    assert difference(drawn, reference["dpm20_sample_plain"]) < 1e-4


def test_rendering_agrees_with_the_authors(
    published_decoder: LatentDiffusion, reference: dict[str, Tensor]
) -> None:
    """As it is used: quantised at each evaluation, then decoded."""
    slots = normal("context", 2, 15, 192)[:1]
    frames = published_decoder.render_from(
        slots, normal("noise", 1, 3, 32, 32)[0], "singlestep", 20
    )
    latents = reference["dpm20_sample_vq_snapped"].view(1, 3, 32, 32)
    wanted = published_decoder.codec.decode(latents).clamp(-1, 1)
    assert float((frames - wanted).norm() / wanted.norm()) < 1e-3
