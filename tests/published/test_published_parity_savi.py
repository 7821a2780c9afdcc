"""SAVi: the authors' weights compute under our names what they compute in the authors' code.

The fixture is described in fixtures/README.md.
"""

from pathlib import Path

import pytest
import torch
from authors_weights import authors_state_dict, difference, uniform
from safetensors.torch import load_file
from torch import Tensor

from slotcli.build import build_shapes
from slotcli.checkpoint import DEFINITION, find_model
from slotcli.decoders.base import RenderOptions
from slotcli.decoders.spatial_broadcast import SpatialBroadcast
from slotcli.definition import load_definition
from slotcli.model import SlotModel
from slotcli.published import import_published
from slotcli.spec import SlotModelSpec
from slotcli.types import SlotTrack

FIXTURE = Path(__file__).parents[1] / "fixtures" / "parity_savi.safetensors"


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load_file(FIXTURE)


@pytest.fixture(scope="module")
def published_savi(tmp_path_factory: pytest.TempPathFactory) -> SlotModel:
    spec = load_definition(find_model("savi-movi-d") / DEFINITION)
    assert isinstance(spec, SlotModelSpec)
    path = tmp_path_factory.mktemp("published") / "model_201000.pth"
    torch.save({"state_dict": authors_state_dict(spec), "it": 201000, "epoch": 30}, path)
    tensors, report = import_published(path, spec)
    assert (report.mapped, report.dropped) == (107, [])
    model = build_shapes(spec)
    assert isinstance(model, SlotModel)
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def track(published_savi: SlotModel) -> SlotTrack:
    return published_savi.encoder(uniform("frames", 1, 3, 3, 128, 128))


def test_slots_agree_with_the_authors(track: SlotTrack, reference: dict[str, Tensor]) -> None:
    assert difference(track.slots, reference["slots"]) < 1e-5


def test_the_mixture_agrees_with_the_authors(
    published_savi: SlotModel, track: SlotTrack, reference: dict[str, Tensor]
) -> None:
    decoder = published_savi.decoder
    assert isinstance(decoder, SpatialBroadcast)
    slots, attention = track.slots[:, 0], track.attention[:, 0]
    assert difference(decoder.mixture(slots), reference["recon_frame0"]) < 1e-5
    assert reference["recon_frame0"].abs().max() < 1  # so that what is drawn is the mixture
    assert difference(decoder.render(slots, RenderOptions()), reference["recon_frame0"]) < 1e-5
    # The authors' shares are known to half precision; rounded likewise, all but ties are equal.
    shares = decoder.soft_masks(slots, attention)
    assert difference(shares.half(), reference["masks_frame0"]) < 1e-4
