"""Model definitions: TOML to a checked spec, and back with a comment on each key."""

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from slotcli.errors import CannotCreateError, ConfigError, NoInputError, printable
from slotcli.files.writing import output_errors, whole_file
from slotcli.spec import CodecModelSpec, ModelSpec, Record, SlotModelSpec
from slotcli.wrong_keys import key_paths, wrong_key

_WIDTH = 100
# Keys of earlier versions, per table: still read everywhere, never written.
_RENAMED = {
    "train": {
        "coherence_weight": "grouping_weight",
        "coherence_of": "grouping_by",
        "coherence_until": "grouping_until",
    }
}


def definition_text(spec: CodecModelSpec | SlotModelSpec, *, commented: bool = False) -> str:
    """The spec as TOML that `load_definition` reads back, with comments on the keys if `commented`.

    Every default is filled in; a key that is null is left out, which in TOML means the same.
    """
    values = spec_json(spec)
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    plain = {name: value for name, value in values.items() if name not in tables}
    lines = list(_lines(spec, plain, commented))
    for name, table in tables.items():
        lines += ["", *_comment(spec, name, commented), f"[{name}]"]
        lines += _lines(getattr(spec, name), table, commented)
    return "\n".join(lines) + "\n"


def write_new_definition(
    path: Path, spec: CodecModelSpec | SlotModelSpec, *, overwrite: bool = False
) -> None:
    """Writes a definition to edit, each key with a comment, named after the file.

    Raises CannotCreateError where something exists at `path`, unless it is a file and `overwrite`
    is on, and as `output_errors`.
    """
    own = spec.model_copy(update={"name": printable(path.stem)})
    with output_errors(path):
        if os.path.lexists(path) and not (overwrite and path.is_file()):
            raise CannotCreateError(
                f"{printable(path)}: exists already.", "Choose another name, or give --overwrite."
            )
    with whole_file(path) as file:
        file.write(definition_text(own, commented=True).encode())


def _lines(record: Record, table: dict[str, Any], commented: bool) -> Iterator[str]:
    for key, value in table.items():
        if value is not None:
            yield from _comment(record, key, commented)
            yield f"{key} = {toml_value(value)}"


def _comment(record: Record, key: str, commented: bool) -> list[str]:
    text = type(record).model_fields[key].description
    if not commented or text is None:
        return []
    return wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def toml_value(value: object) -> str:
    """A JSON value as TOML; tables in an array are on a line each."""
    if isinstance(value, dict):
        parts = [f"{key} = {toml_value(item)}" for key, item in value.items() if item is not None]
        return "{ " + ", ".join(parts) + " }"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[\n" + "".join(f"  {toml_value(item)},\n" for item in value) + "]"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    # TOML has no surrogate pairs, unlike JSON in ASCII, and requires DEL to be escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


_adapter: TypeAdapter[CodecModelSpec | SlotModelSpec] = TypeAdapter(ModelSpec)


def parse_spec(
    values: dict[str, Any], origin: str, overrides: tuple[str, ...] = ()
) -> CodecModelSpec | SlotModelSpec:
    """A checked spec from plain values, to which `overrides` have already been applied.

    Keys of earlier versions are renamed. Raises ConfigError naming the wrong key and its source:
    `origin` or an override.
    """
    values = _with_current_keys(values, origin)
    try:
        return _adapter.validate_python(values)
    except ValidationError as error:
        # An unknown key is reported first: if it is a typing error, another key is missing because
        # of it.
        found = sorted(
            error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden"
        )
        first = found[0]
        path = _written_path(values, first["loc"])
        kinds = CodecModelSpec if values.get("kind") == "codec" else SlotModelSpec
        known = list(dict.fromkeys(key_paths(kinds)))
        raise wrong_key(path, dict(first), origin, overrides, known) from None


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
    # Not only TOMLDecodeError: numbers may be too long, and arrays nested too deep, to be read.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.", "Correct the file.") from None
    return _overridden(values, overrides, str(path))


def with_overrides(
    spec: CodecModelSpec | SlotModelSpec, overrides: tuple[str, ...], origin: str
) -> CodecModelSpec | SlotModelSpec:
    """The spec with `key.path=value` applied, as in `load_definition`. Raises ConfigError."""
    return _overridden(spec_json(spec), overrides, origin)


def spec_json(spec: CodecModelSpec | SlotModelSpec) -> dict[str, Any]:
    """The spec as plain values that `parse_spec` reads back."""
    return json.loads(spec.model_dump_json())


def _overridden(
    values: dict[str, Any], overrides: tuple[str, ...], origin: str
) -> CodecModelSpec | SlotModelSpec:
    values = _with_current_keys(values, origin)
    current = tuple(map(_with_current_key, overrides))
    for override in current:
        _apply(values, override)
    return parse_spec(values, origin, current)


def _with_current_keys(values: dict[str, Any], origin: str) -> dict[str, Any]:
    """A copy without old keys. Raises ConfigError where one is beside its current name."""
    current = dict(values)
    for name, renamed in _RENAMED.items():
        table: object = values.get(name)
        if not isinstance(table, dict):
            continue
        keys = cast(dict[str, Any], table)
        for old, new in renamed.items():
            if old in keys and new in keys:
                raise ConfigError(
                    f"{origin}: {name}.{old} is the earlier name of {name}.{new}: both are given.",
                    f"Remove {name}.{old}.",
                )
        current[name] = {renamed.get(key, key): value for key, value in keys.items()}
    return current


def _with_current_key(override: str) -> str:
    """A `key.path=value` under the key's current name."""
    path, equals, text = override.partition("=")
    table, dot, key = path.partition(".")
    return f"{table}{dot}{_RENAMED.get(table, {}).get(key, key)}{equals}{text}"


def _written_path(values: dict[str, Any], location: tuple[int | str, ...]) -> str:
    """The path of a wrong key without the tags of unions, which are not in the file."""
    node = values
    parts: list[str] = []
    # The model's own tag comes first, and may also be the name of a table.
    for part in location[1:]:
        if part not in node and node.get("kind") == part:
            continue
        parts.append(str(part))
        child: object = node.get(str(part))
        node = cast(dict[str, Any], child) if isinstance(child, dict) else {}
    return ".".join(parts)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"--set {override}: not of the form key.path=value.", "Write e.g. train.steps=10."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    *parents, last = key.split(".")
    node = values
    for parent in parents:
        child: object = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(
                f"--set {override}: {parent} is a value, not a table.", "Check the key's path."
            )
        node = cast(dict[str, Any], child)
    node[last] = value
