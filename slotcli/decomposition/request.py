"""The request that a clip's result answers, and whether an existing result answers it."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from slotcli.checkpoint import LoadedModel
from slotcli.decomposition.clip_outputs import Background
from slotcli.decomposition.correction import Correction
from slotcli.decomposition.plan import PlannedClip
from slotcli.decomposition.resets import Reset
from slotcli.errors import UsageError
from slotcli.files.layout import RESULT
from slotcli.model import SlotModel
from slotcli.report.overlay import OPACITY
from slotcli.report.page import PageKind
from slotcli.tracks.fitting import STEP, Fit, fit_transform
from slotcli.tracks.formats.all_formats import MaskFormat
from slotcli.tracks.labelling import Edges, Labelling
from slotcli.tracks.pieces import Pieces
from slotcli.tracks.transform import Transform
from slotcli.types import Size
from slotcli.video.selection import Selection
from slotcli.video.source import MAX_PIXELS
from slotcli.video.source_identity import SourceIdentity, source_identity


@dataclass(frozen=True)
class DecomposeOptions:
    """`background` are slots, or how to find them; `fit` is for sources of another aspect ratio.

    `size` is the side of a square with the area of the model's input, or the input's own size. A
    None depends on the model: `settled` fills it in. `slots` and `slot_seed` are for models that
    draw their slots. `cyclic` clips are scanned to the end and back. `strict` refuses a clip of
    which anything was lost, repaired or changed in reading, where otherwise its result reports it.
    """

    masks: tuple[MaskFormat, ...] = ("png",)
    overlay: bool = True
    opacity: float = OPACITY
    page: PageKind = "single"
    background: Background = "auto"
    edges: Edges | None = None
    pieces: Pieces = field(default_factory=Pieces)
    fit: Fit | None = None
    size: int | Size | None = None
    chunk: int = 16
    selection: Selection = field(default_factory=Selection)
    reset: Reset = field(default_factory=Reset)
    slots: int | None = None
    slot_seed: int | None = None
    cyclic: bool = False
    start_from: Correction | None = None
    max_bad: float = 0.02
    strict: bool = False
    max_pixels: int = MAX_PIXELS
    overwrite: bool = False

    def settled(self, model: SlotModel) -> "DecomposeOptions":
        """The same options, with every None filled in from the model.

        Raises UsageError for a shape that the model cannot take.
        """
        any_size = model.encoder.takes_any_size
        drawn = model.encoder.initial is not None
        if not drawn and (self.slots is not None or self.slot_seed is not None):
            asked = f"--slots {self.slots}" if self.slots else f"--slot-seed {self.slot_seed}"
            raise UsageError(
                f"{asked}: this model has learned its {model.encoder.num_slots} slots one by one.",
                "Leave it out. Models that draw their slots: videosaur-movi-c and others.",
            )
        if self.cyclic and (self.reset.kind != "never" or model.encoder.appearance):
            raise UsageError(
                "--cyclic: only for models whose decoder reads slots alone, and without --reset.",
                "Leave out --cyclic or --reset.",
            )
        if not any_size and (self.fit == "keep" or self.size is not None):
            asked = "--fit keep" if self.fit == "keep" else f"--size {_format_size(self.size)}"
            height, width = model.size
            raise UsageError(
                f"{asked}: this model takes frames of {height}x{width} only.",
                "Use --fit squeeze or crop without --size, or a model such as things-128.",
            )
        fit = self.fit or ("keep" if any_size else "squeeze")  # TR1
        sides = self.size if isinstance(self.size, tuple) else (self.size or STEP,) * 2
        step = 1 if fit == "keep" and isinstance(self.size, int) else STEP
        if min(sides) < STEP or any(side % step for side in sides):
            raise UsageError(
                f"--size {_format_size(self.size)}: the sides of an input are multiples of {STEP}.",
                f"Use such as --size {5 * STEP}, or 96x160.",
            )
        return replace(
            self,
            fit=fit,
            edges=self.edges or ("guided" if any_size else "bilinear"),
            slots=(self.slots or model.encoder.num_slots) if drawn else None,
            slot_seed=(self.slot_seed or 0) if drawn else None,
        )

    def applied(self, loaded: LoadedModel) -> LoadedModel:
        """The model with the slots that are asked for; for `settled` options."""
        spec, model = loaded.slot_model()
        if model.encoder.initial is None or self.slots is None or self.slot_seed is None:
            return loaded
        model.encoder.num_slots = self.slots
        model.encoder.initial.seed = self.slot_seed
        return replace(loaded, spec=spec.model_copy(update={"num_slots": self.slots}))

    def transform(self, source: Size, model: Size) -> Transform:
        """The crop and scale from a source to a model of size `model`; for `settled` options."""
        assert self.fit is not None
        size = (self.size, self.size) if isinstance(self.size, int) else self.size or model
        return fit_transform(source, size, self.fit, exact=isinstance(self.size, tuple))

    def labelling(self, transform: Transform) -> Labelling:
        """The rule that makes labels, before the background is known; for `settled` options."""
        assert self.edges is not None
        return Labelling(transform, (), self.edges, self.pieces)

    def as_dict(self) -> dict[str, Any]:
        """The options that a result depends on, as plain values."""
        drawing = drawing_options(self.opacity, self.page)
        return drawing | {
            "background": self.background
            if isinstance(self.background, str)
            else list(self.background),
            "edges": self.edges,
            "min_area": self.pieces.least,
            "largest_component": self.pieces.largest,
            "fit": self.fit,
            "size": list(self.size) if isinstance(self.size, tuple) else self.size,
            "masks": list(self.masks),
            "overlay": self.overlay,
            "chunk": self.chunk,
            "start": self.selection.start,
            "end": self.selection.end,
            "stride": self.selection.stride,
            "max_frames": self.selection.max_frames,
            "reset": str(self.reset),
            # Only where they have a say, so that results of other models answer the same request.
            **({} if self.slots is None else {"slots": self.slots, "slot_seed": self.slot_seed}),
            **({"cyclic": True} if self.cyclic else {}),
            # Absent without a correction, so that results of older versions stay those asked for.
            **({} if self.start_from is None else {"start_from": self.start_from.as_dict()}),
        }


def drawing_options(opacity: float, page: PageKind) -> dict[str, Any]:
    """Options of overlay and page as plain values.

    Defaults are left out, as older versions did: their results still answer the same request.
    """
    options = {"opacity": opacity} if opacity != OPACITY else {}
    return options | ({"page": page} if page != "single" else {})


def _format_size(size: int | Size | None) -> str:
    return "x".join(map(str, size)) if isinstance(size, tuple) else str(size)


@dataclass(frozen=True)
class Request:
    """A request for a result: `key` is a hash of the source's content, weights and options."""

    key: str
    source: SourceIdentity
    weights: str
    options: dict[str, Any]


def request_of(clip: PlannedClip, loaded: LoadedModel, options: DecomposeOptions) -> Request:
    """The request that a clip's result is to answer. Raises NoInputError and its kin.

    All of the source is read, unless an existing result of the clip records that it was not written
    to since.
    """
    source = source_identity(clip.source, _recorded_identity(clip))
    weights, given = loaded.sha256, options.as_dict()
    asked = {"source": source.digest, "weights": weights, "options": given}
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return Request(key, source, weights, given)


def existing_status(clip: PlannedClip, request: Request) -> Literal["ok", "degraded"] | None:
    """The status of an existing complete result of the same request, None if there is none."""
    recorded = _recorded(clip)
    if recorded.get("request") != request.key:
        return None
    return "degraded" if recorded.get("status") == "degraded" else "ok"


def describe_difference(clip: PlannedClip, request: Request) -> str:
    """The difference between a clip's existing result and the request, in words."""
    before = _recorded_identity(clip)
    if before is not None and before.digest != request.source.digest:
        return "its source has changed since"
    recorded, now = _recorded(clip), request.options
    model, options = recorded.get("model"), recorded.get("options")
    if not isinstance(model, dict) or not isinstance(options, dict):
        return "its record does not say how it was made"
    if model.get("weights_sha256") != request.weights:
        return "it was made by other weights"
    names = ", ".join(name for name in {**now, **options} if options.get(name) != now.get(name))
    if not names:
        return "it was made by another version of slotcli"
    return f"it was made with other options, or by a version without them ({names})"


def _recorded_identity(clip: PlannedClip) -> SourceIdentity | None:
    source = _recorded(clip).get("source")
    if not isinstance(source, dict):
        return None
    digest, state = source.get("sha256"), source.get("state")
    if not isinstance(digest, str):
        return None
    return SourceIdentity(digest, state if isinstance(state, str) else None)


def _recorded(clip: PlannedClip) -> dict[str, Any]:
    try:
        recorded = json.loads((clip.result / RESULT).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return recorded if isinstance(recorded, dict) else {}
