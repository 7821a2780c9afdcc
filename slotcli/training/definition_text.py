"""A definition written as TOML: a table each for encoder, decoder, codec and training."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any

from slotcli.errors import CannotCreateError, printable
from slotcli.spec import CodecModelSpec, SlotModelSpec, spec_json
from slotcli.tracks.writing import output_errors, whole_file

_WIDTH = 100

# What a knob is for, by its path; in tables of a `kind`, the path without the tables around it.
COMMENTS = {
    "kind": "What is defined: a slot_model, or the codec that one is trained on.",
    "name": "Yours to choose; results name the model by it.",
    "size": "Height and width of the frames the model sees, in pixels; others are resized to it.",
    "num_slots": "Into how many slots a frame is divided, the background's among them.",
    "slot_dim": "Numbers a slot.",
    "encoder": "Frames to slots.",
    "encoder.backbone": "resnet18 is the paper's; compact_cnn, with channels, a small one; "
    "efficientnet_lite0 a pyramid of so many channels over a network trained on ImageNet.",
    "encoder.slot_bias": "Whether each slot has a learned number added to its attention logits.",
    "encoder.iterations": "Rounds of slot attention a frame ...",
    "encoder.first_iterations": "... and in a clip's first frame.",
    "encoder.predictor": "From frame to frame: a transformer of so many layers; images need none.",
    "decoder": "Slots to frames.",
    "decoder.kind": "latent_diffusion, token_transformer, spatial_broadcast, or none: masks only.",
    "decoder.channels": "Width of its widest-grid layers; the others' are multiples.",
    "decoder.multipliers": "A level each, coarser by two: its width in channels.",
    "decoder.res_blocks": "Residual blocks a level.",
    "decoder.target": "What the U-Net predicts: eps (the paper), x0 or v.",
    "decoder.positions": "Whether the U-Net is told its place in the picture (the paper's is not).",
    "decoder.null_tokens": "Fixed vectors beside the slots, to look at where no slot fits.",
    "decoder.latent_scale": "Times the codec's latents, to bring them to unit variance.",
    "decoder.codec": "Has to be the one that train.codec defines.",
    "decoder.blocks": "Transformer blocks.",
    "decoder.heads": "Heads of its attention.",
    "codec": "Frames to latents and back; frozen while a slot model is trained on it.",
    "codec.kind": "vqvae (for latent_diffusion) or dvae (for token_transformer).",
    "codec.channels": "Width of its finest layers.",
    "codec.multipliers": "A level each, coarser by two: its width in channels.",
    "codec.res_blocks": "Residual blocks a level.",
    "codec.latent_channels": "Numbers a latent.",
    "codec.num_codes": "Entries of the codebook.",
    "train": "Any of these can be changed for one run: --set train.steps=100",
    "train.codec": "The trained codec: a model's name, its folder or its weights file.",
    "train.steps": "Updates of the weights.",
    "train.batch_size": "Clips (of a codec: frames) a step.",
    "train.accumulate": "Parts that a batch is taken in, one after the other, to save memory.",
    "train.learning_rate": "Adam's largest; after the warm-up it falls along a cosine ...",
    "train.decoder_learning_rate": "... the decoder's own ...",
    "train.trunk_learning_rate": "... that of the ImageNet weights, 0 leaves them as they are ...",
    "train.final_learning_rate": "... to this one.",
    "train.warmup": "Share of the steps in which it rises from 0.",
    "train.clip_norm": "Gradients are scaled down to this norm. Left out: never.",
    "train.ema": "Decay of the average of the weights, which is what is saved and used; 0: none.",
    "train.evaluate_every": "Steps between evaluations on held-out clips; state is saved then too.",
    "train.patience": "Evaluations in a row without a better score that end a run, whose start is "
    "then evaluated too; 0: it runs to its end.",
    "train.keep_last": "Of the states saved, so many of the last ...",
    "train.keep_every": "... and of every so manieth step are kept; 0: none of these.",
    "train.flip": "Whether clips are mirrored at random.",
    "train.seed": "Of everything random. Degenerate runs happen: try several.",
    "train.clip_length": "Frames of a window ...",
    "train.clip_stride": "... and the distance between two, in frames of the clip.",
    "train.timesteps": "How noise levels are drawn: uniform (the paper), or mid, fewer extremes.",
    "train.mask_weight": "Of the loss on instance masks, which the data then has to have.",
    "train.sizes": "Frame sizes that steps draw from, for a model without a decoder; [] is `size`.",
    "train.coherence_weight": "Of a term that groups pixels; 0 in the published models.",
    "train.coherence_of": "colour, or motion (and place, and some colour) before a still camera.",
    "train.coherence_until": "Share of the steps over which that falls to 0. Left out: it stays.",
    "train.contrast_weight": "Of a term that tells slots apart and keeps them over time.",
    "train.next_frame": "Share of the steps that draw each next frame, from predicted slots.",
    "train.freeze_encoder": "Whether only the decoder learns.",
    "train.cache_latents": "Whether the codec's latents of frames are kept, up to 2 GiB of them.",
    "train.perceptual_weight": "Of LPIPS in a VQ-VAE's loss, which needs VGG16's weights.",
    "train.gradient_weight": "Of the difference of image gradients in a VQ-VAE's loss.",
    "train.quantise_from": "Share of the steps before a VQ-VAE's latents are quantised.",
    "train.data": 'Also: { kind = "folder", path = "clips" }, or movi, clevrtex, celeba, davis, '
    "ytvis, each with path and split. `--data DIR` of train takes its place.",
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


def write_new_definition(path: Path, spec: CodecModelSpec | SlotModelSpec) -> None:
    """Write a definition to start from, every knob with its remark, named after the file.

    Raises CannotCreateError where something exists at `path`, and as `output_errors`.
    """
    own = spec.model_copy(update={"name": printable(path.stem)})
    with output_errors(path):
        if os.path.lexists(path):
            raise CannotCreateError(
                f"{printable(path)}: exists already.", "Choose another name, or remove it."
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
