"""--quiet, --verbose and --json, which every command takes before its name and after it."""

from functools import cache
from typing import Annotated, Any

import typer

from slotcli.commands import console


def _verbose(given: bool) -> None:
    if given:
        console.configure(verbose=True)


def _quiet(given: bool) -> None:
    if given:
        console.configure(quiet=True)


def _json(given: bool) -> None:
    if given:
        console.configure(json=True)


_SHARED = {
    "expose_value": False,
    "show_default": False,
    "rich_help_panel": "Global options (before or after the command)",
}
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Print more, and tracebacks of errors.",
        callback=_verbose,
        **_SHARED,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Hide remarks and progress.", callback=_quiet, **_SHARED),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Results as JSON, one object per line.", callback=_json, **_SHARED),
]


@cache
def global_options() -> list[Any]:
    """The options as click objects, which typer makes only from a function's signature."""
    template = typer.Typer(add_completion=False)

    @template.command()
    def _(verbose: Verbose = False, quiet: Quiet = False, json: Json = False) -> None: ...

    return typer.main.get_command(template).params


def add_global_options(command: Any) -> None:
    """Gives the options to a click command and to those below it."""
    command.params.extend(global_options())
    for below in getattr(command, "commands", {}).values():
        add_global_options(below)
