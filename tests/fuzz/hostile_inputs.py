"""Sound files of every kind that slotcli reads, small enough to be damaged five hundred times."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import mutations
import numpy as np
import torch
from mutations import Lengths, mutant
from PIL import Image
from safetensors.torch import save_file

from slotcli.build import build
from slotcli.checkpoint import save_model
from slotcli.definition import parse_spec
from slotcli.published import published_names
from slotcli.spec import CodecModelSpec
from slotcli.tracks.slot_file import METADATA_KEY, SlotFile, write_slot_file

SIZE = (24, 32)
CODEC: dict[str, Any] = {
    "kind": "codec",
    "name": "small-codec",
    "size": [16, 16],
    "codec": {"kind": "dvae", "channels": 4, "num_codes": 8},
    "train": {"steps": 4, "batch_size": 2, "learning_rate": 1e-3},
}
DEFINITION = """
kind = "slot_model"
name = "small"
size = [32, 32]
num_slots = 3
slot_dim = 16

[encoder]
backbone = { kind = "compact_cnn", channels = 8 }
predictor = { layers = 1 }
iterations = 2
first_iterations = 3

[decoder]
kind = "latent_diffusion"
channels = 32
multipliers = [1, 2]
res_blocks = 1
codec = { kind = "vqvae", channels = 8, multipliers = [1, 2], num_codes = 32 }

[train]
codec = "small-codec"
steps = 4
batch_size = 2
learning_rate = 1e-3
decoder_learning_rate = 2e-3
warmup = 0.05
clip_norm = 1.0
timesteps = "uniform"

[train.data]
kind = "synth"
mix = { A = 0.5, C = 0.5 }
clips = 4
frames = 3
seed = 1
"""
OTHER_DEFINITION = """
kind = "codec"
name = "other"
size = [64, 64]
[codec]
kind = "dvae"
channels = 8
num_codes = 16
[train]
steps = 1
batch_size = 1
learning_rate = 0.1
data = { kind = "folder", path = "../../etc" }
"""
SAVED = "step-00000001"
OVERRIDES = [
    "train.steps=10",
    "size=[32, 48]",
    'train.data={kind="folder", path="/etc"}',
    "encoder.predictor.layers=3",
    "decoder.codec.num_codes=64",
    "name=plain text",
    "decoder.kind=spatial_broadcast",
]


@dataclass(frozen=True)
class Kind:
    """A kind of input: how to make a sound one, where its lengths stand, how a mutant is made."""

    suffix: str
    make: Callable[[Path, int], object]
    lengths: Lengths | None = None  # None for texts
    forge: Callable[[bytes], bytes] | None = None  # makes checksums fit, as bad faith would


def moving(count: int, variant: int) -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    t = np.arange(count)[:, None, None] + variant
    waves = [np.sin(x / 5 + t), np.cos(y / 4 + t), np.sin((x + y) / 7 - t)]
    return np.stack([127.5 + 100 * wave for wave in waves], axis=-1).astype(np.uint8)


def video(
    codec: str, pixel_format: str, container: str, options: dict[str, str] | None = None
) -> Callable[[Path, int], None]:
    def make(path: Path, variant: int) -> None:
        faststart = {"movflags": "+faststart"} if container == "mp4" else {"fflags": "+bitexact"}
        with av.open(str(path), "w", format=container, options=faststart) as out:
            stream = out.add_stream(codec, rate=10, options=options or {})
            stream.height, stream.width = SIZE
            stream.pix_fmt = pixel_format
            stream.codec_context.thread_count = 1
            for array in moving(8, variant):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(array, "rgb24")))
            out.mux(stream.encode(None))

    return make


def picture(mode: str, **options: object) -> Callable[[Path, int], None]:
    def make(path: Path, variant: int) -> None:
        image = Image.fromarray(moving(1, variant)[0])
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        else:
            image = image.convert(mode)
        image.save(path, **options)

    return make


def slot_file(path: Path, variant: int) -> None:
    rng = np.random.default_rng(variant)
    attention = rng.dirichlet(np.ones(3), size=(5, 2, 4)).transpose(0, 3, 1, 2)
    metadata = {
        "model": {"name": "tiny", "weights_sha256": "00ff", "spec": {"num_slots": 3}},
        "source": {"name": "a.mp4", "size": [20, 30], "time_base": [1, 90000]},
        "transform": {"source_size": [20, 30], "crop": [0, 5, 20, 20], "model_size": [16, 16]},
        "sampling": {"step": 1},
        "run": {"seed": 0, "options": {"fit": "crop"}},
        "statistics": {"background": 0, "frames": 5, "used_slots": [0, 1]},
    }
    content = SlotFile(
        slots=rng.normal(size=(5, 3, 6)).astype(np.float32),
        attention=attention.astype(np.float16),
        pts=3003 * np.arange(5),
        duration=np.full(5, 3003),
        frame_index=np.arange(5),
        flags=np.zeros(5, np.uint8),
        metadata=metadata,
        appearance=None if variant else rng.normal(size=(5, 3, 7)).astype(np.float16),
    )
    write_slot_file(path, content)


def with_true_hashes(content: bytes) -> bytes:
    """A safetensors file of ours whose header is as long, and whose hashes are, as they say."""
    text = content[8:].decode("latin-1")
    try:
        header, end = json.JSONDecoder().raw_decode(text)
        data = content[8 + len(text[:end]) + (-end % 8) :]
        metadata = json.loads(header["__metadata__"][METADATA_KEY])
        if isinstance(metadata.pop("sha256", None), dict):
            hashes = {
                name: hashlib.sha256(data[slice(*tensor["data_offsets"])]).hexdigest()
                for name, tensor in header.items()
                if name != "__metadata__"
            }
            hashes["metadata"] = hashlib.sha256(_canonical(metadata)).hexdigest()
            metadata["sha256"] = hashes
        header["__metadata__"][METADATA_KEY] = _canonical(metadata).decode()
        head = json.dumps(header).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return content
    return len(head).to_bytes(8, "little") + head + data


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def codec_spec() -> CodecModelSpec:
    spec = parse_spec(CODEC, "a test")
    assert isinstance(spec, CodecModelSpec)
    return spec


def weights(path: Path, variant: int) -> None:
    torch.manual_seed(variant)
    spec = codec_spec()
    save_model(path, spec, build(spec).state_dict(), variant, {"made": "by a test"})


def published(path: Path, variant: int) -> None:
    torch.manual_seed(variant)
    spec = codec_spec()
    ours = build(spec).state_dict()
    theirs = {name: ours[own] for own, name in published_names(spec).items()}
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in theirs.items()})
    elif path.suffix == ".pt":
        torch.save(theirs, path, _use_new_zipfile_serialization=False)
    elif path.suffix == ".safetensors":
        save_file(theirs, path)
    else:
        torch.save({"state_dict": theirs, "it": 3}, path)


def definition(path: Path, variant: int) -> None:
    path.write_text(OTHER_DEFINITION if variant else DEFINITION)


def override(path: Path, variant: int) -> None:
    path.write_text("\n".join(OVERRIDES[variant * 3 :]))


VIDEOS = {
    "mp4": Kind(".mp4", video("libx264", "yuv420p", "mp4", {"g": "4"}), mutations.in_mp4),
    "mkv": Kind(".mkv", video("ffv1", "yuv444p", "matroska"), mutations.in_ebml),
    "webm": Kind(
        ".webm",
        video("libvpx-vp9", "yuv420p", "webm", {"deadline": "realtime", "cpu-used": "8"}),
        mutations.in_ebml,
    ),
    "avi": Kind(".avi", video("mjpeg", "yuvj420p", "avi"), mutations.in_riff),
    "gif": Kind(".gif", video("gif", "rgb8", "gif"), mutations.in_gif),
}
IMAGES = {
    "png": Kind(".png", picture("RGB"), mutations.in_png),
    "forged png": Kind(".png", picture("RGBA"), mutations.in_png, mutations.with_checksums),
    "forged palette": Kind(".png", picture("P"), mutations.in_png, mutations.with_checksums),
    "forged deep png": Kind(".png", picture("I;16"), mutations.in_png, mutations.with_checksums),
    "jpeg": Kind(".jpg", picture("RGB", exif=b"Exif\0\0" + bytes(60)), mutations.in_jpeg),
    "webp": Kind(".webp", picture("RGB"), mutations.in_riff),
    "bmp": Kind(".bmp", picture("RGB"), mutations.in_bmp),
    "tiff": Kind(".tiff", picture("RGB", compression="tiff_lzw"), mutations.in_tiff),
}
RESULTS = {
    "slot file": Kind(".safetensors", slot_file),
    "forged slot file": Kind(".safetensors", slot_file, forge=with_true_hashes),
}
CHECKPOINTS = {
    "weights": Kind(".safetensors", weights),
    "forged weights": Kind(".safetensors", weights, forge=with_true_hashes),
    "published pth": Kind(".pth", published, mutations.in_zip),
    "published pt": Kind(".pt", published),
    "published npz": Kind(".npz", published, mutations.in_zip),
    "published safetensors": Kind(".safetensors", published),
}
DEFINITIONS = {"definition": Kind(".toml", definition), "override": Kind(".txt", override)}
# One picture of a folder is damaged at a time; every other kind is a file of its own.
FILES = VIDEOS | IMAGES | RESULTS | CHECKPOINTS | DEFINITIONS


def make_all(folder: Path) -> None:
    """Two sound files of every kind: 0 is damaged, 1 is what it is spliced with."""
    for name, kind in FILES.items():
        for variant in (0, 1):
            path = place(folder, name, variant)
            path.parent.mkdir(parents=True, exist_ok=True)
            kind.make(path, variant)


def place(folder: Path, name: str, variant: int) -> Path:
    """Where a sound file of a kind is."""
    return Path(f"{folder / name / str(variant)}{FILES[name].suffix}")


def mutant_of(folder: Path, name: str, seed: int) -> bytes:
    """The content of a kind's mutant, the same at every run for the same seed."""
    kind = FILES[name]
    rng = np.random.default_rng([seed, *name.encode()])
    sound, other = (place(folder, name, variant).read_bytes() for variant in (0, 1))
    content = mutant(sound, other, kind.lengths, rng)
    return kind.forge(content) if kind.forge else content
