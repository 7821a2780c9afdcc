"""The authors' STEVE computes under our names what it computes in the authors' code.

The fixture is described in fixtures/README.md.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from authors_weights import authors_state_dict, draw
from safetensors.torch import load_file, save_file
from torch import Tensor

from slotcli.build import build_shapes
from slotcli.checkpoint import DEFINITION, find_model
from slotcli.decoders.token_transformer import TokenTransformer
from slotcli.definition import load_definition
from slotcli.model import SlotModel
from slotcli.published import import_published
from slotcli.spec import SlotModelSpec

FIXTURE = Path(__file__).parents[1] / "fixtures" / "parity_steve.safetensors"


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load_file(FIXTURE)


@pytest.fixture(scope="module")
def steve(tmp_path_factory: pytest.TempPathFactory) -> SlotModel:
    spec = load_definition(find_model("steve-movi-d") / DEFINITION)
    assert isinstance(spec, SlotModelSpec)
    path = tmp_path_factory.mktemp("published") / "steve.safetensors"
    save_file(authors_state_dict(spec), path)
    tensors, _ = import_published(path, spec)
    model = build_shapes(spec)
    assert isinstance(model, SlotModel)
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def decoder(steve: SlotModel) -> TokenTransformer:
    assert isinstance(steve.decoder, TokenTransformer)
    return steve.decoder


@pytest.fixture(scope="module")
def frames() -> Tensor:
    values = draw("input/frames").uniform(-1, 1, (1, 3, 3, 128, 128)).astype(np.float32)
    return torch.from_numpy(values)


def difference(computed: Tensor, kept: Tensor) -> float:
    """Relative Frobenius error over the values that the fixture keeps."""
    values = computed.flatten()
    values = values if len(values) <= 10_000 else values[::13]
    assert len(values) == len(kept)
    return float((values.double() - kept.double()).norm() / kept.double().norm())


def test_slots_agree_with_the_authors(
    steve: SlotModel, frames: Tensor, reference: dict[str, Tensor]
) -> None:
    assert difference(steve.encoder(frames).slots, reference["slots"]) < 1e-5


def test_the_codec_agrees_with_the_authors(
    decoder: TokenTransformer, frames: Tensor, reference: dict[str, Tensor]
) -> None:
    tokens = decoder.target(frames[:, 0])
    assert torch.equal(tokens.flatten(), reference["tokens_frame0"].long())
    drawn = decoder.codec.decode_tokens(tokens, decoder.grid)
    assert difference(drawn, reference["dvae_decoded"]) < 1e-5


def test_the_transformer_agrees_with_the_authors(
    decoder: TokenTransformer, reference: dict[str, Tensor]
) -> None:
    slots = reference["slots"].view(1, 3, 15, 192)[:, 0]
    tokens = reference["tokens_frame0"].long()[None]
    logits = decoder.logits(slots, tokens)
    assert difference(logits[:, :16], reference["teacher_forced_logits_first16"]) < 1e-5
    assert difference(logits[:, -16:], reference["teacher_forced_logits_last16"]) < 1e-5
    assert difference(decoder.loss(slots, tokens), reference["cross_entropy"]) < 1e-6
