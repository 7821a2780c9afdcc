"""Model definitions: TOML to a checked spec, and back with a comment at each key."""

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from slotcli.errors import CannotCreateError, ConfigError, NoInputError, printable
from slotcli.files.writing import output_errors, whole_file
from slotcli.spec import CodecModelSpec, ModelSpec, SlotModelSpec
from slotcli.wrong_keys import key_paths, wrong_key

_WIDTH = 100

# Comments by the path of a key; in tables of a `kind`, the path without the tables around it.
COMMENTS = {
    "kind": "slot_model, or codec, which a slot model is trained on.",
    "name": "Free to choose; results name the model by it.",
    "size": "Height and width of the frames the model sees, in pixels; others are resized to it.",
    "num_slots": "Number of slots per frame, the background's included.",
    "slot_dim": "Dimensions per slot.",
    "encoder": "From frames to slots.",
    "encoder.backbone": "resnet18 is the paper's; compact_cnn, with channels, a small one; "
    "efficientnet_lite0, with channels, a pyramid over a network trained on ImageNet.",
    "encoder.slot_bias": "Whether a learned number is added to each slot's attention logits.",
    "encoder.iterations": "Iterations of slot attention per frame ...",
    "encoder.first_iterations": "... and in the first frame of a clip.",
    "encoder.predictor": "A transformer from each frame's slots to the next frame's; models for "
    "images have none.",
    "decoder": "From slots to frames.",
    "decoder.kind": "latent_diffusion, token_transformer, spatial_broadcast, or none: masks only.",
    "decoder.channels": "Channels at full resolution; the other levels have multiples of it.",
    "decoder.multipliers": "Channel multiplier of each level; each level halves the resolution.",
    "decoder.res_blocks": "Residual blocks per level.",
    "decoder.target": "What the U-Net predicts: eps (the paper), x0 or v.",
    "decoder.positions": "Whether the U-Net has position embeddings (the paper's has none).",
    "decoder.layout": "Channels in which the U-Net sees where slots are; 0, the paper's: none.",
    "decoder.appearance": "Whether it also reads how each slot's place looks in the frame.",
    "decoder.patch": "The U-Net takes squares of so many latents as one (1: the paper).",
    "decoder.null_tokens": "Null tokens beside the slots, for positions where no slot fits.",
    "decoder.latent_scale": "Factor on the codec's latents, to give them unit variance.",
    "decoder.noise_scale": "Standard deviation of the noise that rendering starts from (1: paper).",
    "decoder.evaluations": "Function evaluations a rendered frame takes (20: the paper).",
    "decoder.codec": "Has to equal the codec that train.codec defines.",
    "decoder.blocks": "Transformer blocks.",
    "decoder.heads": "Attention heads.",
    "codec": "From frames to latents and back; frozen while a slot model is trained on it.",
    "codec.kind": "vqvae (for latent_diffusion) or dvae (for token_transformer).",
    "codec.channels": "Channels at full resolution.",
    "codec.multipliers": "Channel multiplier of each level; each level halves the resolution.",
    "codec.res_blocks": "Residual blocks per level.",
    "codec.latent_channels": "Channels of the latents.",
    "codec.num_codes": "Entries of the codebook.",
    "codec.shortcuts": "Whether colour has a linear way past the networks (the published: none).",
    "train": "Each key can be changed for one run: --set train.steps=100",
    "train.codec": "The trained codec: a model's name, its folder or its weights file.",
    "train.steps": "Optimiser steps.",
    "train.batch_size": "Clips (for a codec: frames) per step.",
    "train.accumulate": "Gradient accumulation: parts per batch, to save memory.",
    "train.learning_rate": "Adam's peak; after the warm-up it falls along a cosine ...",
    "train.decoder_learning_rate": "... the decoder's peak learning rate ...",
    "train.trunk_learning_rate": "... that of the ImageNet weights, 0 keeps them frozen ...",
    "train.final_learning_rate": "... to this final learning rate.",
    "train.warmup": "Share of the steps in which the learning rate rises from 0.",
    "train.clip_norm": "Gradients are clipped to this norm. Left out: no clipping.",
    "train.ema": "Decay of the moving average of the weights, which is saved and used; 0: none.",
    "train.evaluate_every": "Steps between evaluations on held-out clips; each saves a state too.",
    "train.patience": "Evaluations in a row without a better score after which the run ends; the "
    "start is then evaluated too. 0: the run never ends early.",
    "train.keep_last": "Saved states that are kept: the last N ...",
    "train.keep_every": "... and those of every N-th step; 0: none of these.",
    "train.flip": "Whether clips are mirrored at random.",
    "train.seed": "Seed of weights, batches and noise. Degenerate runs happen: try several.",
    "train.clip_length": "Frames per training window ...",
    "train.clip_stride": "... and the distance between two of them, in frames of the clip.",
    "train.timesteps": "How noise levels are sampled: uniform (the paper), or mid: fewer extremes.",
    "train.mask_weight": "Weight of the loss on instance masks, which the data must then have.",
    "train.sizes": "Frame sizes that steps draw from, for a model without a decoder; []: `size`.",
    "train.coherence_weight": "Weight of the auxiliary grouping loss; 0 in the published models.",
    "train.coherence_of": "What that loss groups pixels by: colour, or motion (for still cameras).",
    "train.coherence_until": "Share of the steps over which that falls to 0. Left out: constant.",
    "train.contrast_weight": "Weight of a contrastive loss: distinct slots that persist over time.",
    "train.next_frame": "Share of the steps that decode the next frame, from predicted slots.",
    "train.freeze_encoder": "Whether to train the decoder only.",
    "train.cache_latents": "Whether to keep the codec's latents of frames in memory, up to 2 GiB.",
    "train.cache_encoder": "Whether to keep what a frozen encoder says of whole clips in memory;"
    " batches are then of frames.",
    "train.perceptual_weight": "Weight of LPIPS in a VQ-VAE's loss; it needs VGG16's weights.",
    "train.gradient_weight": "Weight of the difference of image gradients in a VQ-VAE's loss.",
    "train.chroma_weight": "Weight of the difference of colours, brightness apart, in that loss.",
    "train.frames_per_clip": "Frames in a row that a codec's batch has of each of its clips.",
    "train.crop": "Side of the square that a codec is shown of each frame; 0: whole frames.",
    "train.quantise_from": "Share of the steps after which a VQ-VAE's latents are quantised.",
    "train.data": 'Also: { kind = "folder", path = "clips" }, or movi, clevrtex, celeba, davis, '
    "ytvis, each with path and split. `train --data FOLDER` replaces it.",
}


def definition_text(spec: CodecModelSpec | SlotModelSpec, *, commented: bool = False) -> str:
    """The spec as TOML that `load_definition` reads back, with a remark on each knob if wanted.

    Every default is filled in; a knob that is null is left out, which in TOML means the same.
    """
    values = spec_json(spec)
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    plain = {name: value for name, value in values.items() if name not in tables}
    lines = list(_lines(plain, "", commented))
    for name, table in tables.items():
        lines += ["", *_remark(name, commented), f"[{name}]"]
        lines += _lines(table, f"{name}.", commented)
    return "\n".join(lines) + "\n"


def write_new_definition(
    path: Path, spec: CodecModelSpec | SlotModelSpec, *, overwrite: bool = False
) -> None:
    """Write a definition to edit, each key with a comment, named after the file.

    Raises CannotCreateError where something exists at `path` unless a file may be overwritten, and
    as `output_errors`.
    """
    own = spec.model_copy(update={"name": printable(path.stem)})
    with output_errors(path):
        if os.path.lexists(path) and not (overwrite and path.is_file()):
            raise CannotCreateError(
                f"{printable(path)}: exists already.", "Choose another name, or give --overwrite."
            )
    with whole_file(path) as file:
        file.write(definition_text(own, commented=True).encode())


def _lines(table: dict[str, Any], above: str, commented: bool) -> Iterator[str]:
    for key, value in table.items():
        if value is not None:
            yield from _remark(above + key, commented)
            yield f"{key} = {toml_value(value)}"


def _remark(path: str, commented: bool) -> list[str]:
    if not commented or path not in COMMENTS:
        return []
    return wrap(COMMENTS[path], _WIDTH, initial_indent="# ", subsequent_indent="# ")


def toml_value(value: object) -> str:
    """A JSON value as TOML; tables in an array get a line each."""
    if isinstance(value, dict):
        parts = [f"{key} = {toml_value(item)}" for key, item in value.items() if item is not None]
        return "{ " + ", ".join(parts) + " }"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[\n" + "".join(f"  {toml_value(item)},\n" for item in value) + "]"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    # TOML knows no surrogate pairs, which JSON in ASCII has, and wants DEL escaped, unlike JSON.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


_adapter: TypeAdapter[CodecModelSpec | SlotModelSpec] = TypeAdapter(ModelSpec)


def parse_spec(
    values: dict[str, Any], origin: str, overrides: tuple[str, ...] = ()
) -> CodecModelSpec | SlotModelSpec:
    """A checked spec from plain values, over which `overrides` were applied already.

    Raises ConfigError naming the wrong key and where it is from: `origin` or an override.
    """
    try:
        return _adapter.validate_python(values)
    except ValidationError as error:
        # An unknown key first: where it is a typing error, another key is missing for it.
        found = sorted(
            error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden"
        )
        first = found[0]
        path = _written_path(values, first["loc"])
        kinds = CodecModelSpec if values.get("kind") == "codec" else SlotModelSpec
        known = list(dict.fromkeys(key_paths(kinds)))
        raise wrong_key(path, dict(first), origin, overrides, known) from None


def load_definition(path: Path, overrides: tuple[str, ...] = ()) -> CodecModelSpec | SlotModelSpec:
    """The spec in a model.toml, with `key.path=value` overrides (values are TOML, or else text).

    Raises NoInputError where there is no such file, ConfigError where it or an override is wrong.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoInputError(
            f"{path}: there is no such model definition.", "Check the path."
        ) from None
    # Not only TOMLDecodeError: numbers may be too long, and arrays nested too deep, to be read.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.", "Correct the file.") from None
    for override in overrides:
        _apply(values, override)
    return parse_spec(values, str(path), overrides)


def with_overrides(
    spec: CodecModelSpec | SlotModelSpec, overrides: tuple[str, ...], origin: str
) -> CodecModelSpec | SlotModelSpec:
    """The spec with `key.path=value` over it, as in `load_definition`. Raises ConfigError."""
    values = spec_json(spec)
    for override in overrides:
        _apply(values, override)
    return parse_spec(values, origin, overrides)


def spec_json(spec: CodecModelSpec | SlotModelSpec) -> dict[str, Any]:
    """The spec as plain values that `parse_spec` reads back."""
    return json.loads(spec.model_dump_json())


def _written_path(values: dict[str, Any], location: tuple[int | str, ...]) -> str:
    """The path of a wrong knob without the tags of unions, which nobody wrote there."""
    node = values
    parts: list[str] = []
    # The model's own tag comes first, and may be the name of a table too.
    for part in location[1:]:
        if part not in node and node.get("kind") == part:
            continue
        parts.append(str(part))
        child: object = node.get(str(part))
        node = cast(dict[str, Any], child) if isinstance(child, dict) else {}
    return ".".join(parts)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"--set {override}: not of the form key.path=value.", "Write e.g. train.steps=10."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    *parents, last = key.split(".")
    node = values
    for parent in parents:
        child: object = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(
                f"--set {override}: {parent} is a value, not a table.", "Check the key's path."
            )
        node = cast(dict[str, Any], child)
    node[last] = value
