"""The steps of an edit: parsed from options or a script, and recorded in the edited slot file."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from slotcli.errors import DataError, UsageError, printable
from slotcli.files.reading import access_errors

Kind = Literal["keep", "swap", "hold", "reverse", "scale", "move", "copy", "drop"]
# Also the order in which options apply, whatever their order on the command line: a copy is one of
# the moved object, and an object that was copied can then be dropped.
KINDS: tuple[Kind, ...] = get_args(Kind)
EVERYTHING = "all"  # --reverse all: the whole clip, with its background
EXAMPLES: dict[Kind, str] = {
    "keep": "3 or 1,3",
    "swap": "3=slotcli-out/other.mp4:5",
    "hold": "3, or 3=12 for the look of frame 12",
    "reverse": "3, 1,3 or all",
    "scale": "3=0.5",
    "move": "3=40,-10 (right and down, in pixels of the source)",
    "copy": "3=40,-10 (right and down, in pixels of the source)",
    "drop": "3 or 1,3",
}
LARGEST_SCALE = 100.0


@dataclass(frozen=True)
class Step:
    """One change of the objects `ids`, by their IDs; a reversal of everything has none.

    `dx` and `dy` are pixels of the source, to the right and down. `frame` is the one that a held
    object keeps, by its index in the clip, None for its first. `other` is the path of a result,
    `other_id` an object in it, and `other_sha256` the hash of its slot file.
    """

    kind: Kind
    ids: tuple[int, ...] = ()
    dx: float | int = 0.0
    dy: float | int = 0.0
    factor: float | int = 1.0
    frame: int | None = None
    other: str | None = None
    other_id: int | None = None
    other_sha256: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The step for the metadata of a slot file, without a path."""
        plain = {"kind": self.kind, "ids": list(self.ids)}
        values = {name: value for name, value in asdict(self).items() if value != _DEFAULTS[name]}
        return {name: value for name, value in values.items() if name != "other"} | plain

    def __str__(self) -> str:
        ids = ",".join(map(str, self.ids)) or EVERYTHING
        match self.kind:
            case "move" | "copy":
                return f"{self.kind} {ids}={self.dx:g},{self.dy:g}"
            case "scale":
                return f"{self.kind} {ids}={self.factor:g}"
            case "hold" if self.frame is not None:
                return f"{self.kind} {ids}={self.frame}"
            case "swap":
                return f"{self.kind} {ids}={self.other or (self.other_sha256 or '')[:8]}:" + str(
                    self.other_id
                )
        return f"{self.kind} {ids}"


_DEFAULTS = {name: None for name in Step.__dataclass_fields__} | {
    "ids": (),
    "dx": 0.0,
    "dy": 0.0,
    "factor": 1.0,
}


def parsed_step(kind: Kind, text: str) -> Step:
    """A step from the value of its option. Raises UsageError for anything but EXAMPLES[kind]."""
    ids, equals, value = text.partition("=")
    try:
        if kind == "reverse" and text == EVERYTHING:
            return Step(kind)
        if kind in ("drop", "keep", "reverse") and not equals:
            return Step(kind, tuple(_number(part) for part in ids.split(",")))
        own = (_number(ids),)
        match kind:
            case "hold":
                return Step(kind, own, frame=_number(value) if equals else None)
            case "move" | "copy":
                dx, dy = map(float, value.split(","))
                if not max(abs(dx), abs(dy)) < float(1 << 16):
                    raise ValueError
                return Step(kind, own, dx=dx, dy=dy)
            case "scale":
                if not 1 / LARGEST_SCALE <= float(value) <= LARGEST_SCALE:
                    raise ValueError
                return Step(kind, own, factor=float(value))
            case "swap":
                other, _, other_id = value.rpartition(":")
                if not other:
                    raise ValueError
                return Step(kind, own, other=other, other_id=_number(other_id))
        raise ValueError
    except ValueError:
        raise UsageError(
            f"--{kind} {text}: not understood.", f"Write --{kind} {EXAMPLES[kind]}."
        ) from None


def parsed_steps(asked: Mapping[Kind, Sequence[str] | None]) -> list[Step]:
    """The steps of all options, in the order of KINDS. Raises as `parsed_step`."""
    return [parsed_step(kind, text) for kind in KINDS for text in asked[kind] or ()]


def read_script(path: Path) -> list[Step]:
    """The steps of a TOML file: `edits = [{move = "3=40,-10"}, {drop = "2"}]`, in their order.

    Raises NoInputError, AccessError, and DataError for anything else.
    """
    shown = printable(path)
    advice = 'Write edits = [{move = "3=40,-10"}, {drop = "2"}], with the options\' own values.'
    with access_errors(path):
        text = path.read_bytes()
    try:
        document = tomllib.loads(text.decode())
        tables = document.pop("edits")
        if document or not isinstance(tables, list) or not tables:
            raise ValueError("it holds something else than edits")
        pairs = [_pair(table) for table in tables]
        return [parsed_step(kind, value) for kind, value in pairs]
    except UsageError as error:
        raise DataError(f"{shown}: {error.what.removeprefix('--')}", error.advice) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{shown} is no script of edits: {error}.", advice) from error


def _pair(table: Mapping[str, Any]) -> tuple[Kind, str]:
    ((kind, value),) = table.items()
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")
    return kind, str(value)


def recorded_steps(recorded: Sequence[Any]) -> list[Step]:
    """The inverse of `Step.as_dict`. Raises DataError for anything else."""
    try:
        steps = [Step(**{**values, "ids": tuple(values["ids"])}) for values in recorded]
        for step in steps:
            numbers = (*step.ids, step.frame or 0, step.other_id or 0)
            sizes = (step.dx, step.dy, step.factor)
            if (
                step.kind not in KINDS
                or not all(type(number) is int and number >= 0 for number in numbers)
                or not all(isinstance(size, int | float) for size in sizes)
            ):
                raise ValueError(step)
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"The slot file's history is damaged: {error}.", "Make the edit again: slotcli edit."
        ) from error
    return steps


def touched_ids(steps: Iterable[Step]) -> list[int]:
    """The IDs that steps name, ascending; those that `keep` names are left as they are."""
    return sorted({own for step in steps if step.kind != "keep" for own in step.ids})


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(text)
    return int(text)
