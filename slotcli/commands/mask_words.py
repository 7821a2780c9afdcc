"""Parses the values of decompose's --background and --size."""

from typing import Literal

from slotcli.errors import UsageError

MOST_SIDE = 4096  # pixels


def parsed_background(text: str) -> tuple[int, ...] | Literal["auto", "none"]:
    """--background: auto, none, or the slots of IDs. Raises UsageError for anything else."""
    if text == "auto" or text == "none":
        return text
    try:
        ids = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--background {text}: not an ID.",
            "Use auto, none, an object's ID: 1, 2, ..., or several as 1,4.",
        ) from None
    return tuple(sorted({own - 1 for own in ids}))  # the slots of these IDs


def parsed_size(text: str | None) -> int | tuple[int, int] | None:
    """--size: N, or height x width. Raises UsageError for anything else."""
    sides = [] if text is None else text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() for side in sides):
        raise UsageError(f"--size {text}: not a size.", "Use such as 160, or 96x160.")
    if any(int(side) > MOST_SIDE for side in sides):
        raise UsageError(f"--size {text}: too large.", f"Use sides of at most {MOST_SIDE} pixels.")
    if len(sides) == 2:
        return int(sides[0]), int(sides[1])
    return int(sides[0]) if sides else None
