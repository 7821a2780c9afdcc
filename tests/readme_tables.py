"""The parts of README.md that are generated from the program: python tests/readme_tables.py"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from slotcli.__main__ import EXIT_CODES, app
from slotcli.commands.command_line import first_sentence

README = Path(__file__).parents[1] / "README.md"


def program() -> Any:
    return typer.main.get_command(app)


def commands(command: Any = None, above: str = "slotcli") -> Iterator[tuple[str, Any]]:
    """Every command that is no group, with its full name, in the order of --help."""
    for name, own in (command or program()).commands.items():
        if hasattr(own, "commands"):
            yield from commands(own, f"{above} {name}")
        else:
            yield f"{above} {name}", own


def command_table() -> str:
    """Markdown: each command with what it cannot do without, and the first sentence of its help."""
    rows = ["| command | does |", "|---|---|"]
    for name, command in commands():
        needed = []
        for param in command.params:
            if param.param_type_name == "argument":
                shown = (param.metavar or param.name).upper() + "..." * (param.nargs != 1)
                needed.append(shown if param.required else f"[{shown}]")
            elif param.required:
                needed.append(f"{max(param.opts, key=len)} {param.metavar}")
        rows.append(f"| `{' '.join([name, *needed])}` | {first_sentence(command.help)} |")
    return "\n".join(rows)


def exit_code_table() -> str:
    """Markdown: the exit codes of --help."""
    rows = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def generated(readme: str) -> str:
    """README.md with its generated parts as they should be."""
    for name, table in (("commands", command_table()), ("exit codes", exit_code_table())):
        readme, found = re.subn(
            rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)",
            lambda match, table=table: match[1] + table + match[2],
            readme,
            flags=re.DOTALL,
        )
        assert found == 1, f"README.md has no place for its {name}"
    return readme


if __name__ == "__main__":
    README.write_text(generated(README.read_text()))
