"""Error messages for a wrong key or value of a definition: its source, and the likely key."""

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any, get_args

from pydantic import BaseModel

from slotcli.errors import ConfigError

_LEAST_ALIKE = 0.6
_BEGINS = 0.9  # for a key whose first word was given: more than for a merely similar one
_ALL_KEYS = "`slotcli config show MODEL` shows every key."


def wrong_key(
    path: str,
    reason: Mapping[str, Any],
    origin: str,
    overrides: tuple[str, ...],
    known: list[str],
) -> ConfigError:
    """The error for pydantic's `reason`, about the key at `path`.

    It names the `key.path=value` that set the key, if one of `overrides` did, else `origin`, which
    is the definition's. `known` are the paths of all keys.
    """
    path = path.removesuffix(".[key]")
    if reason["type"].startswith("union_tag"):
        path = f"{path}.kind" if path else "kind"
    where, wanted = origin, path
    for override in overrides:
        key = override.partition("=")[0]
        # A table of another kind has other keys.
        table = key.removesuffix("kind") if key.endswith(".kind") else f"{key}."
        above = bool(path) and f"{key}.".startswith(f"{path}.")
        if f"{path}.".startswith((f"{key}.", table)) or above:
            where, wanted = f"--set {override}", max(key, path, key=len)
    if reason["type"] == "extra_forbidden" and wanted in known:
        return ConfigError(
            f"{where}: {wanted} is a key of another kind.",
            f"Remove it, or choose the kind that has it. {_ALL_KEYS}",
        )
    if reason["type"] == "extra_forbidden":
        meant = closest(wanted, known)
        return ConfigError(
            f"{where}: there is no key {wanted}.",
            f"Did you mean {meant}? {_ALL_KEYS}" if meant else _ALL_KEYS,
        )
    text = reason["msg"].removeprefix("Value error, ").replace("Input should be", "has to be")
    text = text.partition(", unable to parse")[0]
    context, meant = reason.get("ctx", {}), None
    if reason["type"] == "union_tag_invalid":
        kinds = context["expected_tags"].replace("'", "")
        meant = closest(str(context["tag"]), kinds.split(", "))
        text = f"{str(context['tag'])[:100]!r} is not one of {kinds}"
    elif reason["type"] in ("union_tag_not_found", "missing"):
        text = "is missing"
    return ConfigError(
        f"{where}: {path + ': ' if path else ''}{text[:500].rstrip('.')}.",
        f"Did you mean {meant}? {_ALL_KEYS}" if meant else f"Correct that value. {_ALL_KEYS}",
    )


def closest(wanted: str, known: list[str]) -> str | None:
    """The most similar of `known`, by its whole path or its last part; None if none is similar."""
    last = wanted.rpartition(".")[2]

    def likeness(key: str) -> float:
        own = key.rpartition(".")[2]
        begins = _BEGINS if last and own.startswith(f"{last}_") else 0.0
        return max(_ratio(key, wanted), 0.95 * _ratio(own, last), begins)

    best = max(known, key=likeness, default=None)
    return best if best is not None and likeness(best) >= _LEAST_ALIKE else None


def key_paths(annotation: Any, above: str = "") -> Iterator[str]:
    """The dotted paths of all keys of a record, or of a union of records, tables included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield above + name
            yield from key_paths(field.annotation, f"{above}{name}.")
    else:
        for part in get_args(annotation):
            yield from key_paths(part, above)


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()
