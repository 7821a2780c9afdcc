"""Weights and inputs made from names alone, by the rule that fixtures/README.md states."""

import tomllib
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from slotcli.build import build
from slotcli.published import published_names
from slotcli.spec import CodecModelSpec, SlotModelSpec, parse_spec

SMALL_MODEL = """
kind = "slot_model"
name = "small"
size = [32, 32]
num_slots = 3
slot_dim = 32
encoder = { backbone = { kind = "resnet18" }, predictor = { layers = 1 } }

[decoder]
kind = "latent_diffusion"
channels = 32
multipliers = [1, 2]
res_blocks = 1
codec = { channels = 16, multipliers = [1, 2], res_blocks = 1, num_codes = 16 }

[train]
codec = "none"
steps = 1
batch_size = 1
learning_rate = 1e-3
decoder_learning_rate = 1e-3
"""
SMALL_CODEC = """
kind = "codec"
name = "small-codec"
size = [32, 32]
codec = { channels = 16, multipliers = [1, 2], res_blocks = 1, num_codes = 16 }
train = { steps = 1, batch_size = 1, learning_rate = 1e-3 }
"""


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


def normal(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(draw(f"input/{name}").standard_normal(shape, dtype=np.float32))


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    elif path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **{key: value.numpy() for key, value in tensors.items()})
    else:
        torch.save(tensors, path)
