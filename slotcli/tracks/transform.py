"""The crop of the source that was resized for the model."""

from dataclasses import asdict, dataclass

from slotcli.errors import DataError
from slotcli.types import Size

# A slot file may come from an untrusted source: larger numbers must not cause allocations.
MAX_SIDE = 1 << 16
MAX_PIXELS = 1 << 28


@dataclass(frozen=True)
class Transform:
    """The source's size (upright, square pixels), the crop from it, and the size after resizing.

    `source_size` and `model_size` are (height, width); `crop` is (top, left, height, width), in
    source pixels and inside the source. Raises DataError if the numbers are impossible.
    """

    source_size: Size
    crop: tuple[int, int, int, int]
    model_size: Size

    def __post_init__(self) -> None:
        height, width = self.source_size
        top, left, crop_height, crop_width = self.crop
        sides = (height, width, crop_height, crop_width, *self.model_size)
        plausible = min(sides) >= 1 and max(sides) <= MAX_SIDE and height * width <= MAX_PIXELS
        inside = 0 <= top <= height - crop_height and 0 <= left <= width - crop_width
        if not (plausible and inside):
            raise DataError(
                f"The crop {self.crop} of a source of size {self.source_size} for a model of size "
                f"{self.model_size} is impossible.",
                "The slot file is damaged; make it again with `slotcli decompose`.",
            )

    @property
    def crop_size(self) -> Size:
        """(height, width) of the crop, in source pixels."""
        return self.crop[2], self.crop[3]

    def to_json(self) -> dict[str, list[int]]:
        """The three fields as lists of numbers."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_json(cls, data: object) -> "Transform":
        """The inverse of `to_json`; raises DataError for anything else."""
        source_size = _integers(data, "source_size", 2)
        crop = _integers(data, "crop", 4)
        model_size = _integers(data, "model_size", 2)
        return cls(
            source_size=(source_size[0], source_size[1]),
            crop=(crop[0], crop[1], crop[2], crop[3]),
            model_size=(model_size[0], model_size[1]),
        )


def _integers(data: object, name: str, count: int) -> list[int]:
    values = data.get(name) if isinstance(data, dict) else None
    if (
        not isinstance(values, list)
        or len(values) != count
        or not all(type(value) is int for value in values)
    ):
        raise DataError(
            f"The transform has no {name} of {count} whole numbers.",
            "The slot file is damaged; make it again with `slotcli decompose`.",
        )
    return values
