"""Where, when and with whose look each object of an edited clip appears: all steps together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Float64, Int64

from slotcli.editing.steps import Step
from slotcli.errors import UsageError
from slotcli.tracks.transform import Transform


@dataclass(frozen=True)
class Layer:
    """One column of an edited slot file, made of slot `source` of the unedited one.

    Frame t shows the object as it was in frame `times[t]`, scaled by `scale` about the centre of
    its mask and moved by (`dx`, `dy`) pixels of the source. A layer that is `lifted` is cut out of
    its original position and laid in front of everything else; a `copy` leaves the original where
    it is. `foreign` is whether the look comes from another slot.
    """

    source: int
    times: Int64[np.ndarray, " t"]
    dx: float | int = 0.0
    dy: float | int = 0.0
    scale: float | int = 1.0
    lifted: bool = False
    copy: bool = False
    dropped: bool = False
    foreign: bool = False


@dataclass
class Arrangement:
    """The layers of an edit by column, and `order`: the lifted columns, those in front last.

    `base_times` are the frames of the clip that everything else shows.
    """

    layers: list[Layer]
    base_times: Int64[np.ndarray, " t"]
    background: tuple[int, ...]
    order: list[int] = field(default_factory=list)

    @property
    def moves(self) -> bool:
        """Whether an object is at another position, or of another size, or there twice."""
        return any(
            layer.copy or (layer.dx, layer.dy, layer.scale) != (0, 0, 1)
            for layer in self.layers
            if not layer.dropped
        )

    @property
    def displaced(self) -> bool:
        """Whether any mask differs from the source's in that frame, apart from dropped objects."""
        now = np.arange(len(self.base_times))
        return self.moves or any(
            not np.array_equal(times, now)
            for times in (self.base_times, *(layer.times for layer in self.layers))
        )

    @property
    def dropped(self) -> list[int]:
        """The columns of objects that are gone."""
        return [column for column, layer in enumerate(self.layers) if layer.dropped]

    @property
    def holes(self) -> list[int]:
        """The unedited slots that are cut out of the frames."""
        return [
            layer.source
            for layer in self.layers
            if (layer.lifted or layer.dropped) and not layer.copy
        ]


def arrange(
    steps: Iterable[Step], num_slots: int, frame_index: Sequence[int], background: tuple[int, ...]
) -> Arrangement:
    """The layers that steps make of a clip of `num_slots` slots.

    `frame_index` are the indices of its frames in the source. Raises UsageError for objects and
    frames that do not exist and for edits of the background.
    """
    times = np.arange(len(frame_index))
    arrangement = Arrangement([Layer(slot, times) for slot in range(num_slots)], times, background)
    for step in steps:
        _apply(arrangement, step, list(frame_index))
    arrangement.order = [
        column for column in arrangement.order if not arrangement.layers[column].dropped
    ]
    kept = [layer for layer in arrangement.layers if not layer.dropped]
    if not kept:
        raise UsageError("No object is left.", "Drop fewer objects.")
    return arrangement


def _apply(arrangement: Arrangement, step: Step, frames: list[int]) -> None:
    columns = [_column(arrangement, object_id) for object_id in step.ids]
    match step.kind:
        case "keep":
            stay = {*columns, *arrangement.background}
            for column in range(len(arrangement.layers)):
                if column not in stay:
                    _change(arrangement, column, dropped=True)
        case "drop":
            for column in columns:
                _change(arrangement, column, dropped=True)
        case "reverse" if not columns:
            arrangement.base_times = arrangement.base_times[::-1]
            arrangement.layers = [
                replace(layer, times=layer.times[::-1]) for layer in arrangement.layers
            ]
        case "reverse":
            for column in columns:
                _lift(arrangement, column, times=arrangement.layers[column].times[::-1])
        case "hold":
            for column in columns:
                row = 0 if step.frame is None else _row(frames, step.frame)
                times = arrangement.layers[column].times
                _lift(arrangement, column, times=np.full_like(times, times[row]))
        case "move":
            for column in columns:
                layer = arrangement.layers[column]
                _lift(arrangement, column, dx=layer.dx + step.dx, dy=layer.dy + step.dy)
        case "scale":
            for column in columns:
                _lift(arrangement, column, scale=arrangement.layers[column].scale * step.factor)
        case "swap":
            for column in columns:
                _lift(arrangement, column, foreign=True)
        case "copy":
            for column in columns:
                layer = arrangement.layers[column]
                arrangement.layers.append(
                    replace(layer, dx=layer.dx + step.dx, dy=layer.dy + step.dy, copy=True)
                )
                _lift(arrangement, len(arrangement.layers) - 1)


def _column(arrangement: Arrangement, object_id: int) -> int:
    column = object_id - 1
    if object_id == 0 or column in arrangement.background:
        raise UsageError(
            "The background cannot be edited.", "Name an object; --reverse all takes all of it."
        )
    if column >= len(arrangement.layers) or arrangement.layers[column].dropped:
        raise UsageError(
            f"No object has the ID {object_id}.",
            "slotcli info RESULT lists the objects of a result.",
        )
    return column


def _row(frames: list[int], frame: int) -> int:
    if frame not in frames:
        raise UsageError(
            f"The result has no frame {frame}.", f"It has frames {frames[0]} to {frames[-1]}."
        )
    return frames.index(frame)


def _change(arrangement: Arrangement, column: int, **values: object) -> None:
    arrangement.layers[column] = replace(arrangement.layers[column], **values)  # pyright: ignore[reportArgumentType]


def _lift(arrangement: Arrangement, column: int, **values: object) -> None:
    _change(arrangement, column, lifted=True, **values)
    arrangement.order = [*(other for other in arrangement.order if other != column), column]


def placement(
    layer: Layer, row: int, attention: Float[np.ndarray, "t n i j"], transform: Transform
) -> Float64[np.ndarray, "2 3"]:
    """The affine map from source pixels (x, y) of frame `times[row]` to those of frame `row`.

    `attention` is the unedited one. Pixel centres are at whole numbers.
    """
    x, y = 0.0, 0.0
    if layer.scale != 1:
        x, y = _centre(attention[layer.times[row]], layer.source, transform)
    s = layer.scale
    return np.array([[s, 0, x - s * x + layer.dx], [0, s, y - s * y + layer.dy]])


def _centre(
    attention: Float[np.ndarray, "n i j"], slot: int, transform: Transform
) -> tuple[float, float]:
    """The centre (x, y) of a slot's mask in source pixels; of its soft mask where it wins none."""
    weights = attention[slot].astype(np.float64)
    wins = attention.argmax(0) == slot
    weights = weights * wins if wins.any() else weights + 1e-9
    total, (rows, columns) = weights.sum(), weights.shape
    top, left, height, width = transform.crop
    x = (weights.sum(0) @ (np.arange(columns) + 0.5)) / total * width / columns + left - 0.5
    y = (weights.sum(1) @ (np.arange(rows) + 0.5)) / total * height / rows + top - 0.5
    return float(x), float(y)
