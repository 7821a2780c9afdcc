"""Parses and explains command lines: help pages, unusable words, typer's error messages."""

import inspect
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import typer
from typer.core import TyperCommand, TyperGroup

from slotcli.errors import NoInputError, UsageError, printable

if TYPE_CHECKING:
    from typer import Context

_EXAMPLES = re.compile(r"^Examples:$", re.MULTILINE)
_WIDEST_NAME = 30  # columns; the help of an option with a longer name begins on the next line
_OTHER = "Other"
# In the help of an argument that may be given as --out instead: it is needed, though not to typer.
HERE_OR_OUT = "[required, here or as --out]"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|www\.\w[\w.-]*/")
# typer's messages, of its versions with and without pydantic, and ours.
_REFUSALS = [
    (r"(?:Value error, )?'(.*)' is not one of (.*?)\.?$", "choose one of {1}"),
    (r"Input should be greater than or equal to (\S+)", "has to be {0} or more"),
    (r"Input should be less than or equal to (\S+)", "has to be {0} or less"),
    (r"\S+ is not in the range x>=(\S+?)\.?$", "has to be {0} or more"),
    (r"\S+ is not in the range (\S+)<=x<=(\S+?)\.?$", "has to be from {0} to {1}"),
    (r"Input should be a valid integer.*|.* is not a valid int(?:eger)?\b.*", "not a whole number"),
    (r"Input should be a (?:valid|finite) number.*|.* is not a valid float\b.*", "not a number"),
]


class Command(TyperCommand):
    """A command whose help page groups options by `rich_help_panel` and ends with examples.

    Examples are the indented lines below "Examples:" at the end of the docstring. Raises UsageError
    for a value that cannot be read.
    """

    def __init__(self, name: str | None, **settings: Any) -> None:
        text, *examples = _EXAMPLES.split(inspect.cleandoc(settings.pop("help", None) or ""))
        if examples:
            settings["epilog"] = f"\b\nExamples:\n{examples[0].strip(chr(10))}"
        super().__init__(name, help=text.rstrip(), **{**settings, "rich_markup_mode": None})

    def collect_usage_pieces(self, ctx: "Context") -> list[str]:
        arguments = [own for own in self.get_params(ctx) if own.param_type_name == "argument"]
        names = [_written(own) if _is_needed(own) else f"[{_written(own)}]" for own in arguments]
        return [self.options_metavar or "", *names]

    def format_options(self, ctx: "Context", formatter: Any) -> None:
        _write_options(self, ctx, formatter)

    def format_epilog(self, ctx: "Context", formatter: Any) -> None:
        _write_epilog(self.epilog, formatter)

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if (param := error.param) is None or not error.message:
                raise
            name = _named(param)
            values, _, _ = self.make_parser(ctx).parse_args(given)
            raise _refusal(name, values.get(param.name), error.message) from None


class Group(TyperGroup):
    """A group of commands, with the help pages of `Command`; it checks every word of a line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "rich_markup_mode": None})

    def format_options(self, ctx: "Context", formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        _write_options(self, ctx, formatter)

    def format_commands(self, ctx: "Context", formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        write_sentences(
            [(name, first_sentence(own.help or "")) for name, own in commands if own], formatter
        )

    def format_epilog(self, ctx: "Context", formatter: Any) -> None:
        _write_epilog(self.epilog, formatter)

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:  # as while a shell completes a line
            refuse_unusable(args)
        return super().parse_args(ctx, args)


def first_sentence(help_text: str) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = " ".join(inspect.cleandoc(help_text).partition("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", paragraph, maxsplit=1)[0]


def write_sentences(sentences: list[tuple[str, str]], formatter: Any) -> None:
    """The commands of a help page, each with the first sentence of its own."""
    with formatter.section("Commands"):
        formatter.write_dl(sentences)


def refuse_unusable(args: Sequence[str]) -> None:
    """Raises UsageError for an empty word of a command line, NoInputError for a URL.

    An empty path would mean the current folder; it is mostly a shell variable that is not set. A
    URL as --out would become a folder of that name.
    """
    for before, word in zip(["", *args], args, strict=False):
        name, equals, value = word.partition("=")
        if not (equals and re.match(r"--[\w-]+$|-\w$", name)):
            name, value = before if before.startswith("-") and before.strip("-") else "", word
        if not value.strip():
            raise UsageError(
                f"{name or 'An argument'} is empty.",
                "Give it a value. If it is a shell variable, that is not set.",
            )
        if _URL.match(value) and not os.path.exists(value):
            if name in ("-o", "--out"):
                advice = "Give a folder or file on this machine, and upload it afterwards."
            elif value.startswith("file://"):
                advice = f"Give the path alone: {printable(unquote(value.removeprefix('file://')))}"
            else:
                advice = "Download it first, then give the path of the file."
            raise NoInputError(
                f"{printable(value)}: slotcli reads and writes files, not URLs.", advice
            )


def _refusal(name: str, value: object, message: str) -> UsageError:
    """typer's message in our words, if it is a known one."""
    for pattern, ours in _REFUSALS:
        if found := re.match(pattern, message):
            shown = found.group(1) if ours.startswith("choose") else value
            shown = " ".join(map(str, shown)) if isinstance(shown, list | tuple) else shown
            reason = ours.format(*(group.replace("'", "") for group in found.groups() if group))
            return UsageError(
                f"{name} {printable(str(shown))}: {reason}.", "See the same command with --help."
            )
    return UsageError(f"{name}: {message.rstrip('.')}.", "See the same command with --help.")


def _named(param: Any) -> str:
    """The displayed name of a parameter: --out, or INPUT."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name).upper()
    return max(param.opts, key=len)


def _is_needed(argument: Any) -> bool:
    return argument.required or HERE_OR_OUT in (argument.help or "")


def _written(argument: Any) -> str:
    return _named(argument) + "..." * (argument.nargs != 1)


def _write_options(command: Any, ctx: "Context", formatter: Any) -> None:
    """Arguments, then options by panel, in the order of their declaration."""
    panels: dict[str, list[tuple[str, str]]] = {"Arguments": []}
    for param in command.get_params(ctx):
        if (row := param.get_help_record(ctx)) is None:
            continue
        if param.param_type_name == "argument":
            panel, row = "Arguments", (_written(param), row[1])
        else:
            panel = getattr(param, "rich_help_panel", None) or _OTHER
        panels.setdefault(panel, []).append((row[0], _without_noise(row[1])))
    others = panels.pop(_OTHER)
    panels[_OTHER if any(panels.values()) else "Options"] = others
    names = [len(name) for rows in panels.values() for name, _ in rows]
    width = max((length for length in names if length <= _WIDEST_NAME), default=0)
    for panel, rows in panels.items():
        if rows:
            with formatter.section(panel):
                formatter.write_dl([(name.ljust(width), text) for name, text in rows], width)


def _without_noise(text: str) -> str:
    """An option's help without the ranges of numbers that typer appends."""
    shown, bracket, facts = text.rpartition("  [")
    if not bracket:
        return text
    kept = [fact for fact in facts.removesuffix("]").split("; ") if not re.search("x[<>]", fact)]
    return f"{shown}  [{'; '.join(kept)}]" if kept else shown


def _write_epilog(epilog: str | None, formatter: Any) -> None:
    if epilog:
        formatter.write_paragraph()
        formatter.write_text(epilog)
