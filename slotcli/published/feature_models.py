"""Names of SlotContrast, SlotCurri, VideoSAUR and DINOSAUR, whose authors share one code base.

Their checkpoints hold the frozen backbone as well, so nothing else has to be fetched.
"""

from slotcli.encoder.predictor import HEADS
from slotcli.spec import CodecModelSpec, PatchMlpSpec, SlotMixerSpec, SlotModelSpec, VitSpec

_CORRECTOR = {
    "norm_inputs": "norm_features",
    "norm_slots": "norm_slots",
    "queries": "to_q",
    "keys": "to_k",
    "values": "to_v",
    "gru": "gru",
    "mlp": "mlp.layers",
}


def is_feature_model(spec: SlotModelSpec | CodecModelSpec) -> bool:
    """Whether a model decodes the features of a frozen vision transformer."""
    return (
        isinstance(spec, SlotModelSpec)
        and isinstance(spec.encoder.backbone, VitSpec)
        and isinstance(spec.decoder, PatchMlpSpec | SlotMixerSpec)
    )


def feature_table(spec: SlotModelSpec) -> dict[str, str]:
    """Our modules' names to the authors'; models of clips wrap their parts in one more module."""
    inside = "" if spec.encoder.predictor is None else "module."
    encoder, processor, decoder = (
        f"{part}.{inside}" for part in ("encoder", "processor", "decoder")
    )
    table = {
        "encoder.backbone": f"{encoder}backbone.model",
        "encoder.readout": f"{encoder}output_transform.layers",
        "encoder.initial_slots": "initializer.slots",
        "encoder.initial": "initializer",
        "decoder.positions": f"{decoder}pos_emb",
    }
    for own, name in _CORRECTOR.items():
        table[f"encoder.corrector.{own}"] = f"{processor}corrector.{name}"
    if spec.encoder.predictor is not None:
        for layer in range(spec.encoder.predictor.layers):
            ours = f"encoder.predictor.transformer.layers.{layer}"
            theirs = f"{processor}predictor.blocks.{layer}"
            table[ours] = theirs
            for kind in ("weight", "bias"):
                table[f"{ours}.self_attn.in_proj_{kind}"] = f"{theirs}.self_attn.qkv.{kind}"
    if isinstance(spec.decoder, PatchMlpSpec):
        table["decoder.layers"] = f"{decoder}mlp.layers"
    elif isinstance(spec.decoder, SlotMixerSpec):
        table["decoder.allocator"] = f"{decoder}allocator.blocks"
        table["decoder.renderer"] = f"{decoder}renderer.layers"
        table[f"decoder.renderer.{2 * spec.decoder.layers}"] = f"{decoder}output_transform"
        for part in ("norm_memory", "norm_q", "norm_k", "to_q", "to_k"):
            table[f"decoder.{part}"] = f"{decoder}{part}"
    return table


def query_scale(own: str, spec: SlotModelSpec | CodecModelSpec) -> tuple[int, float] | None:
    """Number of rows of one of our tensors that import multiplies, and the factor; None for none.

    The authors multiply the logits of predictor and allocator by the square root of the heads'
    width, where every other code divides by it. Queries times the width, weights and biases, turn
    the one into the other exactly.
    """
    if not is_feature_model(spec) or not isinstance(spec, SlotModelSpec):
        return None
    if ".self_attn.in_proj_" in own or ".self_attn.qkv." in own:
        return spec.slot_dim, spec.slot_dim / HEADS
    return None
