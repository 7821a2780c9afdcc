"""Models small enough to build and train within a test, and slotcli as a program.

The definitions touch every kind of layer.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from torch import nn
from warm_process import warm_python

from slotcli.build import build
from slotcli.checkpoint import WEIGHTS, save_model
from slotcli.data import held_out
from slotcli.definition import parse_spec, spec_json
from slotcli.scenes import Rendered
from slotcli.spec import CodecModelSpec, SlotModelSpec
from slotcli.types import ClipBatch, Size

Cli = Callable[..., tuple[int, str, str]]
RunCli = Callable[..., "subprocess.CompletedProcess[str]"]

_CODEC = {
    "kind": "vqvae",
    "channels": 8,
    "multipliers": [1, 2],
    "res_blocks": 1,
    "latent_channels": 4,
    "num_codes": 32,
}
_TRAIN = {
    "steps": 4,
    "batch_size": 2,
    "learning_rate": 1e-3,
    "clip_norm": 1.0,
    "ema": 0.9,
    "flip": True,
    "evaluate_every": 2,
    "data": {"kind": "synth", "mix": {"A": 1.0}, "clips": 4, "frames": 3},
}


@pytest.fixture(scope="session")
def tiny_codec_spec() -> CodecModelSpec:
    spec = parse_spec(
        {
            "kind": "codec",
            "name": "tiny-codec",
            "size": [32, 32],
            "codec": _CODEC,
            "train": _TRAIN | {"perceptual_weight": 0.0, "gradient_weight": 1.0},
        },
        "tests",
    )
    assert isinstance(spec, CodecModelSpec)
    return spec


@pytest.fixture(scope="session")
def tiny_slot_spec() -> SlotModelSpec:
    spec = parse_spec(
        {
            "kind": "slot_model",
            "name": "tiny-slots",
            "size": [32, 32],
            "num_slots": 3,
            "slot_dim": 16,
            "encoder": {
                "backbone": {"kind": "compact_cnn", "channels": 8},
                "predictor": {"layers": 1},
            },
            "decoder": {
                "kind": "latent_diffusion",
                "codec": _CODEC,
                "channels": 32,
                "multipliers": [1, 2],
                "res_blocks": 1,
                "null_tokens": 2,
                "evaluations": 4,
            },
            "train": _TRAIN
            | {"codec": "tiny-codec", "decoder_learning_rate": 2e-3, "clip_length": 2},
        },
        "tests",
    )
    assert isinstance(spec, SlotModelSpec)
    return spec


@pytest.fixture(scope="session")
def tiny_drawing_spec(tiny_slot_spec: SlotModelSpec) -> SlotModelSpec:
    """A slot model whose decoder reads where slots are and how their places look."""
    values = spec_json(tiny_slot_spec)
    values["name"] = "tiny-drawing"
    values["decoder"] |= {
        "layout": 4,
        "appearance": True,
        "colour_grid": 3,
        "fine_layout": True,
        "patch": 2,
    }
    values["train"] |= {"mask_weight": 1.0, "freeze_encoder": True, "cache_encoder": True}
    spec = parse_spec(values, "tests")
    assert isinstance(spec, SlotModelSpec)
    return spec


@pytest.fixture(scope="session")
def tiny_drawing_model(
    tmp_path_factory: pytest.TempPathFactory, tiny_drawing_spec: SlotModelSpec
) -> Path:
    """A folder with the weights of such a model, untrained."""
    return _untrained(tmp_path_factory.mktemp("tiny-drawing"), tiny_drawing_spec)


_DIFFUSION = {
    "kind": "latent_diffusion",
    "codec": _CODEC,
    "channels": 32,
    "multipliers": [1, 2],
    "res_blocks": 1,
    "evaluations": 4,
}
_TOKENS = {
    "kind": "token_transformer",
    "codec": {"kind": "dvae", "channels": 8, "num_codes": 16},
    "blocks": 2,
    "heads": 2,
}
_BROADCAST = {"kind": "spatial_broadcast", "channels": 8}
# Decoder, and whether the system is one for videos; the codec's name follows from the decoder.
SYSTEMS: dict[str, tuple[dict[str, Any], bool]] = {
    "slot-attention": (_BROADCAST, False),
    "slate": (_TOKENS, False),
    "savi": (_BROADCAST, True),
    "steve": (_TOKENS, True),
    "slotdiffusion": (_DIFFUSION, True),
    "savi-latents": ({**_BROADCAST, "codec": _CODEC}, True),
}


def _on_a_vit(decoder: dict[str, Any], encoder: dict[str, Any], **train: Any) -> SlotModelSpec:
    spec = parse_spec(
        {
            "kind": "slot_model",
            "name": f"tiny-{decoder['kind']}",
            "size": [28, 28],
            "num_slots": 3,
            "slot_dim": 16,
            "encoder": {
                "backbone": {
                    "kind": "vit",
                    "patch": 7,
                    "width": 16,
                    "heads": 2,
                    "blocks": 2,
                    "grid": 4,
                    "layer_scale": True,
                },
                "predictor": {"layers": 1, "dropout": 0.0},
                "first_iterations": 3,
                "positions": False,
                "readout": 32,
                "initial_deviation": 0.25,
                "gru_state": "normalised",
                "read_eps": 1e-8,
            }
            | encoder,
            "decoder": decoder | {"channels": 32, "layers": 2},
            "train": _TRAIN | {"decoder_learning_rate": 1e-3, "clip_length": 3} | train,
        },
        "tests",
    )
    assert isinstance(spec, SlotModelSpec)
    return spec


@pytest.fixture(scope="session")
def feature_specs() -> dict[str, SlotModelSpec]:
    """Small models that decode the features of a vision transformer, by their decoder."""
    return {
        "patch_mlp": _on_a_vit({"kind": "patch_mlp"}, {"slot_mlp": 4}, contrast_weight=0.5),
        "slot_mixer": _on_a_vit(
            {"kind": "slot_mixer"},
            {"slot_mlp": 0, "initial_slots": "gaussian"},
            similarity_weight=0.1,
        ),
    }


@pytest.fixture(scope="session")
def system_specs() -> dict[str, SlotModelSpec]:
    """All five systems by name, small."""
    return {name: _system(name) for name in SYSTEMS}


@pytest.fixture(scope="session", params=SYSTEMS)
def system_spec(
    request: pytest.FixtureRequest, system_specs: dict[str, SlotModelSpec]
) -> SlotModelSpec:
    """Each of the five systems in turn, small."""
    return system_specs[request.param]


@pytest.fixture(scope="session")
def tiny_dvae_spec() -> CodecModelSpec:
    spec = parse_spec(
        {
            "kind": "codec",
            "name": "tiny-dvae",
            "size": [32, 32],
            "codec": _TOKENS["codec"],
            "train": _TRAIN,
        },
        "tests",
    )
    assert isinstance(spec, CodecModelSpec)
    return spec


@pytest.fixture(scope="session")
def tiny_dvae(tmp_path_factory: pytest.TempPathFactory, tiny_dvae_spec: CodecModelSpec) -> Path:
    """A folder with the weights of a small untrained dVAE."""
    return _untrained(tmp_path_factory.mktemp("tiny-dvae"), tiny_dvae_spec)


@pytest.fixture(scope="session")
def tiny_system(tmp_path_factory: pytest.TempPathFactory, system_spec: SlotModelSpec) -> Path:
    """A folder with the weights of each small untrained system in turn."""
    return _untrained(tmp_path_factory.mktemp(system_spec.name), system_spec)


@pytest.fixture(scope="session")
def tiny_codec(tmp_path_factory: pytest.TempPathFactory, tiny_codec_spec: CodecModelSpec) -> Path:
    """A folder with the weights of a small untrained codec."""
    return _untrained(tmp_path_factory.mktemp("tiny-codec"), tiny_codec_spec)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_slot_spec: SlotModelSpec) -> Path:
    """A folder with the weights of a small untrained slot model: 32x32, 4 slots of 32 numbers."""
    spec = tiny_slot_spec.model_copy(update={"name": "tiny-model", "num_slots": 4, "slot_dim": 32})
    return _untrained(tmp_path_factory.mktemp("tiny-model"), spec)


def _system(name: str) -> SlotModelSpec:
    decoder, video = SYSTEMS[name]
    codecs = {"dvae": "tiny-dvae", "vqvae": "tiny-codec"}
    spec = parse_spec(
        {
            "kind": "slot_model",
            "name": name,
            "size": [32, 32],
            "num_slots": 3,
            "slot_dim": 16,
            "encoder": {
                "backbone": {"kind": "compact_cnn", "channels": 8},
                "predictor": {"layers": 1} if video else None,
                "iterations": 2,
                "first_iterations": 2 if video else 3,
            },
            "decoder": decoder,
            "train": _TRAIN
            | {
                "codec": codecs[decoder["codec"].get("kind", "vqvae")]
                if "codec" in decoder
                else None,
                "decoder_learning_rate": 2e-3,
                "clip_length": 2 if video else 1,
            },
        },
        "tests",
    )
    assert isinstance(spec, SlotModelSpec)
    return spec


def _untrained(folder: Path, spec: SlotModelSpec | CodecModelSpec) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build(spec)
        # What starts at zero would hide whatever hangs on it.
        for parameter in module.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.05)
    save_model(folder / WEIGHTS, spec, module.state_dict(), 0, {})
    return folder


# Whole commands and long runs: what annotations say is proved by the tests of the parts.
_UNCHECKED = {"commands", "fuzz", "published", "bench"}
_UNCHECKED |= {"test_shipped_model.py", "test_loop.py", "test_patience.py"}
_UNCHECKED |= {"test_samples_in_python.py"}


@pytest.fixture(scope="module", autouse=True)
def annotations_are_checked_where_parts_are_tested(
    request: pytest.FixtureRequest,
) -> Iterator[None]:
    """Checking takes a fifth of a command's time."""
    before = jaxtyping.config.jaxtyping_disable
    unchecked = {request.path.name, request.path.parent.name} & _UNCHECKED
    jaxtyping.config.update("jaxtyping_disable", bool(unchecked))
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests run side by side, and their networks are too small to gain by threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def held_out_scenes() -> Iterator[None]:
    """Those that runs are judged on are rendered once, and few: that takes longer than the steps.

    64 of them, as in use, took two thirds of the time of every test that trains.
    """
    known: dict[tuple[object, ...], ClipBatch] = {}
    render = held_out.render_clips

    def once(
        seeds: Sequence[int], tier: str, frames: int, size: Size, rendered: Rendered | None = None
    ) -> ClipBatch:
        asked = (tuple(seeds), tier, frames, tuple(size))
        if asked not in known:
            known[asked] = render(seeds, tier, frames, size)
        return known[asked]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_out, "render_clips", once)
        patch.setattr(held_out, "held_out_clips", partial(held_out.held_out_clips, clips=8))
        yield


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Ctrl-C works in tests that send it, also where the whole run is one in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    """The ffmpeg program, which reads what we write without any code of ours."""
    # Here, for a machine without the program still runs all tests that do not need it.
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


@pytest.fixture
def run_cli(tmp_path: Path) -> RunCli:
    """Run slotcli as a program, in a folder of the test's own."""

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*warm_python(), "-m", "slotcli", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run slotcli's main in this process: its exit code, standard output and standard error."""
    from slotcli.__main__ import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["slotcli", *map(str, arguments)])
        threads = torch.get_num_threads()
        usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        torch.set_num_threads(threads)
        for number, handler in usual.items():
            signal.signal(number, handler)
        code = ended.value.code
        assert isinstance(code, int), code
        return code, out.getvalue(), err.getvalue()

    return run
