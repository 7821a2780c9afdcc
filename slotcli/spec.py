"""Every knob of a model and of its training, read from TOML into frozen, checked records.

No torch here: `build.py` turns these records into networks. Defaults are the paper's values; a knob
exists only where two published or shipped models differ in it.
"""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from slotcli.errors import ConfigError, NoInputError

PositiveInt = Annotated[int, Field(gt=0)]
Levels = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
TierName = Literal["A", "C", "E"]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ResNet18Spec(Record):
    """The paper's modified ResNet18: stride-1 stem, three stages, a quarter of the input's size."""

    kind: Literal["resnet18"]


class CompactCnnSpec(Record):
    """A small two-scale network for small models: half of the input's size."""

    kind: Literal["compact_cnn"]
    channels: PositiveInt = 32


BackboneSpec = Annotated[ResNet18Spec | CompactCnnSpec, Field(discriminator="kind")]


class PredictorSpec(Record):
    layers: PositiveInt = 2
    identity_start: bool = False


class EncoderSpec(Record):
    backbone: BackboneSpec
    iterations: PositiveInt = 2
    first_iterations: PositiveInt = 2
    predictor: PredictorSpec | None = None


class VqvaeSpec(Record):
    kind: Literal["vqvae"] = "vqvae"
    channels: PositiveInt = 64
    multipliers: Levels = (1, 2, 4)
    res_blocks: PositiveInt = 2
    latent_channels: PositiveInt = 3
    num_codes: PositiveInt = 4096

    @property
    def downsampling(self) -> int:
        return 2 ** (len(self.multipliers) - 1)


class LatentDiffusionSpec(Record):
    kind: Literal["latent_diffusion"]
    codec: VqvaeSpec = VqvaeSpec()
    channels: PositiveInt = 128
    multipliers: Levels = (1, 2, 3, 4)
    res_blocks: PositiveInt = 2
    target: Literal["eps", "x0", "v"] = "eps"
    null_tokens: Annotated[int, Field(ge=0)] = 0
    latent_scale: Annotated[float, Field(gt=0)] = 1.0


class SynthSpec(Record):
    """Clips from the scene generator; `mix` gives each tier's share, `clips` how many are made."""

    kind: Literal["synth"] = "synth"
    mix: dict[TierName, Fraction] = {"A": 0.2, "C": 0.5, "E": 0.3}
    clips: PositiveInt = 2000
    frames: PositiveInt = 12
    seed: Annotated[int, Field(ge=0)] = 0


class FolderSpec(Record):
    """Every clip found under a folder, cut into windows."""

    kind: Literal["folder"] = "folder"
    path: str


DataSpec = Annotated[SynthSpec | FolderSpec, Field(discriminator="kind")]


class OptimiserSpec(Record):
    steps: PositiveInt
    batch_size: PositiveInt
    learning_rate: Annotated[float, Field(gt=0)]
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    warmup: Fraction = 0.05
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    evaluate_every: PositiveInt = 1000
    flip: bool = False
    seed: Annotated[int, Field(ge=0)] = 0


class CodecTrainSpec(OptimiserSpec):
    data: DataSpec = SynthSpec()
    perceptual_weight: Annotated[float, Field(ge=0)] = 1.0
    gradient_weight: Annotated[float, Field(ge=0)] = 0.0
    quantise_from: Fraction = 0.0


class SlotTrainSpec(OptimiserSpec):
    codec: str
    data: DataSpec = SynthSpec()
    decoder_learning_rate: Annotated[float, Field(gt=0)]
    clip_length: PositiveInt = 3
    clip_stride: PositiveInt = 1
    timesteps: Literal["uniform", "mid"] = "uniform"
    coherence_weight: Annotated[float, Field(ge=0)] = 0.0
    freeze_encoder: bool = False


class CodecModelSpec(Record):
    kind: Literal["codec"]
    name: str
    size: tuple[PositiveInt, PositiveInt] = (128, 128)
    codec: VqvaeSpec = VqvaeSpec()
    train: CodecTrainSpec


class SlotModelSpec(Record):
    kind: Literal["slot_model"]
    name: str
    size: tuple[PositiveInt, PositiveInt] = (128, 128)
    num_slots: PositiveInt
    slot_dim: PositiveInt = 192
    encoder: EncoderSpec
    decoder: LatentDiffusionSpec
    train: SlotTrainSpec


ModelSpec = Annotated[CodecModelSpec | SlotModelSpec, Field(discriminator="kind")]
_adapter: TypeAdapter[CodecModelSpec | SlotModelSpec] = TypeAdapter(ModelSpec)


def parse_spec(values: dict[str, Any], origin: str) -> CodecModelSpec | SlotModelSpec:
    """A checked spec from plain values. Raises ConfigError naming `origin` and the wrong knob."""
    try:
        return _adapter.validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # The union's tag stands first in the path; the reader of the file never wrote it there.
        path = ".".join(str(part) for part in first["loc"][1:]) or "kind"
        raise ConfigError(
            f"{origin}: {path}: {first['msg']}.",
            "Correct that key; the definitions under models/ show every key there is.",
        ) from None


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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.", "Correct the file.") from None
    for override in overrides:
        _apply(values, override)
    return parse_spec(values, str(path))


def spec_json(spec: CodecModelSpec | SlotModelSpec) -> dict[str, Any]:
    """The spec as plain values that `parse_spec` reads back."""
    return json.loads(spec.model_dump_json())


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"--set {override}: not of the form key.path=value.", "Write e.g. train.steps=10."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.split(".")
    node = values
    for parent in parents:
        child: object = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(
                f"--set {override}: {parent} is not a table.", "Check the key's path."
            )
        node = cast(dict[str, Any], child)
    node[last] = value
