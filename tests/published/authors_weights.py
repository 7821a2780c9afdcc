"""Weights and inputs made from names alone, by the rule that fixtures/README.md states, and small
models of every kind that the authors have."""

import tomllib
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from slotcli.build import build
from slotcli.definition import parse_spec
from slotcli.published import published_names
from slotcli.spec import CodecModelSpec, SlotModelSpec

_DECODERS = {
    "latent_diffusion": """
channels = 32
multipliers = [1, 2]
res_blocks = 1
codec = { kind = "vqvae", channels = 16, multipliers = [1, 2], res_blocks = 1, num_codes = 16 }
""",
    "spatial_broadcast": "channels = 8",
    "token_transformer": """
blocks = 2
heads = 2
codec = { kind = "dvae", channels = 8, num_codes = 16 }
""",
}


def _definition(decoder: str, predictor: str = ", predictor = { layers = 1 }") -> str:
    return f"""
kind = "slot_model"
name = "small"
size = [32, 32]
num_slots = 3
slot_dim = 32
encoder = {{ backbone = {{ kind = "resnet18" }}{predictor} }}

[decoder]
kind = "{decoder}"
{_DECODERS[decoder]}

[train]
{"" if decoder == "spatial_broadcast" else 'codec = "none"'}
steps = 1
batch_size = 1
learning_rate = 1e-3
decoder_learning_rate = 1e-3
"""


SMALL_MODEL = _definition("latent_diffusion")
SMALL_CODEC = """
kind = "codec"
name = "small-codec"
size = [32, 32]
codec = { kind = "vqvae", channels = 16, multipliers = [1, 2], res_blocks = 1, num_codes = 16 }
train = { steps = 1, batch_size = 1, learning_rate = 1e-3 }
"""
SMALL_DVAE = """
kind = "codec"
name = "small-dvae"
size = [32, 32]
codec = { kind = "dvae", channels = 8, num_codes = 16 }
train = { steps = 1, batch_size = 1, learning_rate = 1e-3 }
"""
SMALL_MODELS = {
    "slotdiffusion": SMALL_MODEL,
    "slotdiffusion of images": _definition("latent_diffusion", predictor=""),
    "slot attention": _definition("spatial_broadcast", predictor=""),
    "savi": _definition("spatial_broadcast"),
    "slate": _definition("token_transformer", predictor=""),
    "steve": _definition("token_transformer"),
    "vqvae": SMALL_CODEC,
    "dvae": SMALL_DVAE,
}


def parse(text: str) -> SlotModelSpec | CodecModelSpec:
    return parse_spec(tomllib.loads(text), "test")


def draw(key: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))


def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    values = draw(name).standard_normal(shape, dtype=np.float32)
    if len(shape) == 1:
        values = 1 + 0.1 * values if name.endswith("weight") else 0.1 * values
    elif name != "init_latents":
        values = values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def authors_state_dict(spec: SlotModelSpec | CodecModelSpec) -> dict[str, Tensor]:
    with torch.device("meta"):
        own = build(spec).state_dict()
    return {
        name: weight(name, tuple(own[key].shape)) for key, name in published_names(spec).items()
    }


def stored_beside(spec: SlotModelSpec | CodecModelSpec) -> dict[str, Tensor]:
    """What the authors' models of 32x32 pixels store beside their weights."""
    if isinstance(spec, CodecModelSpec):
        return {}
    arrays = {"encoder_pos_embedding.grid": _grid(8)}
    if spec.decoder.kind == "spatial_broadcast":
        arrays["decoder_pos_embedding.grid"] = _grid(2)
    elif spec.decoder.kind == "token_transformer":
        hidden = np.array([[key > query for key in range(64)] for query in range(64)])
        for block in range(2):
            arrays[f"trans_decoder.tf_dec.blocks.{block}.self_attn_mask"] = hidden.copy()
    else:
        arrays |= {f"dm_decoder.{name}": values for name, values in _noise_levels().items()}
    return {name: torch.from_numpy(values) for name, values in arrays.items()}


def _grid(side: int) -> np.ndarray:
    places = [[(i / (side - 1), j / (side - 1)) for j in range(side)] for i in range(side)]
    grid = [[(y, x, 1 - y, 1 - x) for y, x in row] for row in places]
    return np.array([grid], dtype=np.float32)


def _noise_levels() -> dict[str, np.ndarray]:
    """Of the forward process and its posterior: Ho et al. 2020, Eq. 4, 6 and 7."""
    betas = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    kept = np.cumprod(1 - betas)
    before = np.append(1.0, kept[:-1])
    variance = (1 - before) / (1 - kept) * betas
    levels = {
        "betas": betas,
        "alphas_bar": kept,
        "alphas_bar_prev": before,
        "sqrt_alphas_bar": np.sqrt(kept),
        "sqrt_one_minus_alphas_bar": np.sqrt(1 - kept),
        "log_one_minus_alphas_bar": np.log(1 - kept),
        "sqrt_recip_alphas_bar": np.sqrt(1 / kept),
        "sqrt_recipm1_alphas_bar": np.sqrt(1 / kept - 1),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": np.sqrt(before) * betas / (1 - kept),
        "posterior_mean_coef2": np.sqrt(1 - betas) * (1 - before) / (1 - kept),
    }
    return {name: values.astype(np.float32) for name, values in levels.items()}


def normal(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(draw(f"input/{name}").standard_normal(shape, dtype=np.float32))


def uniform(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(draw(f"input/{name}").uniform(-1, 1, shape).astype(np.float32))


def difference(computed: Tensor, kept: Tensor) -> float:
    """Relative Frobenius error over the values that a fixture keeps."""
    values = computed.flatten()
    values = values if len(values) <= 10_000 else values[::13]
    assert len(values) == len(kept)
    return float((values.double() - kept.double()).norm() / kept.double().norm())


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    elif path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **{key: value.numpy() for key, value in tensors.items()})
    else:
        torch.save(tensors, path)
