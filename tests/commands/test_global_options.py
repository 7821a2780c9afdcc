"""--quiet, --verbose and --json: the same before the command and after it, for every command."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from slotcli.__main__ import app

FLAGS = {"--quiet", "-q", "--verbose", "-v", "--json"}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


def test_every_command_has_them_once() -> None:
    every = dict(commands(typer.main.get_command(app)))
    assert {(), ("data",), ("data", "synth"), ("bench", "train"), ("decompose",)} <= set(every)
    for path, command in every.items():
        names = [name for option in command.params for name in option.opts if name in FLAGS]
        assert sorted(names) == sorted(FLAGS), path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "config", "show", "tiny-64"],
        ["config", "--json", "show", "tiny-64"],
        ["config", "show", "--json", "tiny-64"],
        ["config", "show", "tiny-64", "--json"],
        ["config", "show", "tiny-64", "-qv", "--json"],
    ],
)
def test_json_wherever_it_stands(cli, arguments) -> None:
    code, out, err = cli(*arguments)
    assert (code, err) == (0, "")
    assert json.loads(out)["name"] == "tiny-64"


@pytest.mark.parametrize("arguments", [["-q", "data", "synth"], ["data", "synth", "-q"]])
def test_quiet_wherever_it_stands(cli, arguments) -> None:
    given = ["--size", "16", "--frames", "1", "--clips", "1", "--device", "cpu", "--threads", "1"]
    code, out, err = cli(*arguments, "clips", *given)
    assert (code, out, err) == (0, "clips: 1 clips rendered, 0 existed already.\n", "")


def test_one_command_says_nothing_of_the_next_ones(cli) -> None:
    assert cli("config", "show", "tiny-64", "--json")[1].startswith("{")
    assert not cli("config", "show", "tiny-64")[1].startswith("{")


def test_what_is_a_value_or_a_name_stays_one(cli, tmp_path) -> None:
    (tmp_path / "-q").write_bytes(b"no video")
    code, _, err = cli("info", "--", "-q")
    assert code == 65
    assert "-q" in err
    code, _, err = cli("data", "index", "absent", "--kind", "--json")
    assert code == 2
    assert "--json" in err


def test_help_shows_them(cli) -> None:
    code, out, _ = cli("data", "synth", "--help")
    assert code == 0
    assert "Global options" in out
    assert all(flag in out for flag in FLAGS)
