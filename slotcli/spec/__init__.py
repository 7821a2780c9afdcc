"""Every parameter of a model and of its training, as frozen, checked records.

No torch here: `definition.py` reads these records from TOML, `build.py` turns them into networks.
Defaults are the paper's values; a parameter exists only where two published or shipped models
differ in it.
"""

from slotcli.spec.data import (
    DataSpec,
    FolderSpec,
    MixturePartSpec,
    MixtureSpec,
    PublicSpec,
    SingleSpec,
    SplitName,
    SpritesSpec,
    SynthSpec,
    TierName,
)
from slotcli.spec.models import CodecModelSpec, ModelSpec, SlotModelSpec
from slotcli.spec.networks import (
    BackboneSpec,
    CompactCnnSpec,
    DecoderSpec,
    DvaeSpec,
    EfficientNetLite0Spec,
    EncoderSpec,
    LatentDiffusionSpec,
    MasksOnlySpec,
    PatchMlpSpec,
    PixelsSpec,
    PredictorSpec,
    ResNet18Spec,
    SlotMixerSpec,
    SpatialBroadcastSpec,
    TokenTransformerSpec,
    VitSpec,
    VqvaeSpec,
)
from slotcli.spec.training import CodecTrainSpec, OptimiserSpec, SlotTrainSpec
from slotcli.spec.values import Record

__all__ = [
    "BackboneSpec",
    "CodecModelSpec",
    "CodecTrainSpec",
    "CompactCnnSpec",
    "DataSpec",
    "DecoderSpec",
    "DvaeSpec",
    "EfficientNetLite0Spec",
    "EncoderSpec",
    "FolderSpec",
    "LatentDiffusionSpec",
    "MasksOnlySpec",
    "MixturePartSpec",
    "MixtureSpec",
    "ModelSpec",
    "OptimiserSpec",
    "PatchMlpSpec",
    "PixelsSpec",
    "PredictorSpec",
    "PublicSpec",
    "Record",
    "ResNet18Spec",
    "SingleSpec",
    "SlotMixerSpec",
    "SlotModelSpec",
    "SlotTrainSpec",
    "SpatialBroadcastSpec",
    "SplitName",
    "SpritesSpec",
    "SynthSpec",
    "TierName",
    "TokenTransformerSpec",
    "VitSpec",
    "VqvaeSpec",
]
