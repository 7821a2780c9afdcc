"""What may not be imported, and that nothing in such a file is run."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from authors_weights import SMALL_MODELS, authors_state_dict, parse, stored_beside, write
from torch import Tensor

from slotcli.errors import DataError, NoInputError
from slotcli.published import import_published
from slotcli.spec import CodecModelSpec, SlotModelSpec

pytestmark = pytest.mark.slow

CAUSAL = torch.ones(64, 64, dtype=torch.bool).triu(1)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (
            "slotdiffusion",
            "dm_decoder.alphas_bar",
            torch.cumprod(1 - torch.linspace(1e-4, 2e-2, 1000), 0),
        ),
        ("slotdiffusion", "dm_decoder.alphas_bar", torch.ones(500)),
        ("slotdiffusion", "dm_decoder.posterior_variance", torch.linspace(1e-4, 2e-2, 1000)),
        ("savi", "encoder_pos_embedding.grid", torch.zeros(1, 32, 32, 4)),
        ("savi", "decoder_pos_embedding.grid", torch.zeros(1, 2, 2, 4)),
        ("steve", "trans_decoder.tf_dec.blocks.1.self_attn_mask", CAUSAL.T),
        ("steve", "trans_decoder.tf_dec.blocks.1.self_attn_mask", CAUSAL[:-1, :-1]),
    ],
)
def test_what_is_derived_otherwise_is_refused(
    kind: str, name: str, value: Tensor, tmp_path: Path
) -> None:
    spec, path = parse(SMALL_MODELS[kind]), tmp_path / "other.pth"
    theirs = authors_state_dict(spec) | stored_beside(spec)
    assert name in theirs
    torch.save(theirs | {name: value}, path)
    with pytest.raises(DataError, match=name):
        import_published(path, spec)


@pytest.mark.parametrize(
    ("kind", "definition", "named"),
    [
        ("savi", "slot attention", r"12 unknown \(predictor\."),
        ("slot attention", "savi", r"12 missing \(predictor\."),
        ("slate", "slot attention", "missing .*unknown"),
        ("slotdiffusion", "savi", "missing .*unknown"),
        ("steve", "dvae", "missing .*unknown"),
        ("vqvae", "dvae", "missing .*unknown"),
    ],
)
def test_another_system_is_refused(kind: str, definition: str, named: str, tmp_path: Path) -> None:
    source, path = parse(SMALL_MODELS[kind]), tmp_path / "other.pth"
    torch.save(authors_state_dict(source) | stored_beside(source), path)
    with pytest.raises(DataError, match=named):
        import_published(path, parse(SMALL_MODELS[definition]))


def test_unknown_missing_and_misshapen_names_are_listed(
    tmp_path: Path, small: SlotModelSpec, theirs: dict[str, Tensor]
) -> None:
    path = tmp_path / "wrong.pth"
    theirs["dm_decoder.logvar"] = torch.zeros(())
    del theirs["slot_attention.gru.bias_hh"]
    theirs["encoder.conv1.weight"] = torch.zeros(64, 3, 5, 5)
    theirs["init_latents"] = torch.zeros(1, 3, 32, dtype=torch.int64)
    torch.save(theirs, path)
    with pytest.raises(DataError) as raised:
        import_published(path, small)
    assert "1 missing (slot_attention.gru.bias_hh)" in raised.value.what
    assert "1 unknown (dm_decoder.logvar)" in raised.value.what
    assert "2 of another shape or type (encoder.conv1.weight is" in raised.value.what


def test_a_dvae_has_no_loss_to_be_left_out(tmp_path: Path) -> None:
    spec, path = parse(SMALL_MODELS["dvae"]), tmp_path / "dvae.pth"
    loss = {"loss.perceptual_loss.lin0.model.1.weight": torch.zeros(1)}
    torch.save(authors_state_dict(spec) | loss, path)
    with pytest.raises(DataError, match=r"1 unknown \(loss\.perceptual_loss"):
        import_published(path, spec)


def test_a_codec_alone_is_no_slot_model(
    tmp_path: Path, small: SlotModelSpec, small_codec: CodecModelSpec
) -> None:
    path = tmp_path / "vqvae.pth"
    torch.save(authors_state_dict(small_codec), path)
    with pytest.raises(DataError, match=r"and \d+ more"):
        import_published(path, small)


def test_values_that_are_not_finite_are_refused(
    tmp_path: Path, small: SlotModelSpec, theirs: dict[str, Tensor]
) -> None:
    path = tmp_path / "nan.pth"
    theirs["init_latents"] = torch.full((1, 3, 32), float("nan"))
    torch.save(theirs, path)
    with pytest.raises(DataError, match="not finite: init_latents"):
        import_published(path, small)


class Intruder:
    """Makes a folder when it is unpickled by a reader that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", ["torch", "pickle", "npz"])
def test_code_in_a_file_is_not_run(writer: str, tmp_path: Path, small: SlotModelSpec) -> None:
    broken_in = tmp_path / "broken-in"
    content = {"init_latents": Intruder(broken_in)}
    path = tmp_path / ("evil.npz" if writer == "npz" else "evil.pth")
    if writer == "torch":
        torch.save(content, path)
    elif writer == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        np.savez(path, init_latents=np.array([Intruder(broken_in)], dtype=object))
    with pytest.raises(DataError):
        import_published(path, small)
    assert not broken_in.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.pth", b"Weights are available on request.\n"),
        ("empty.pth", b""),
        ("text.npz", b"PK? no."),
        ("text.safetensors", b"{}"),
        ("weights.h5", b"HDF"),
        ("weights", b""),
    ],
)
def test_other_files_are_refused(
    name: str, content: bytes, tmp_path: Path, small: SlotModelSpec
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=name):
        import_published(path, small)


@pytest.mark.parametrize(
    "content",
    [[], {}, torch.zeros(3), {"it": 3}, {3: torch.zeros(3)}, {"a": torch.eye(3).to_sparse()}],
)
def test_what_is_no_state_dict_is_refused(
    content: object, tmp_path: Path, small: SlotModelSpec
) -> None:
    path = tmp_path / "odd.pth"
    torch.save(content, path)
    with pytest.raises(DataError):
        import_published(path, small)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_truncated_files_are_refused(
    suffix: str, share: float, tmp_path: Path, small_codec: CodecModelSpec
) -> None:
    path = tmp_path / f"cut{suffix}"
    write(path, authors_state_dict(small_codec))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError):
        import_published(path, small_codec)


def test_a_missing_file_is_no_input(tmp_path: Path, small: SlotModelSpec) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(NoInputError):
            import_published(path, small)
