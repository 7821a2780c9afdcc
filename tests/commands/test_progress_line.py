"""The progress display itself: one line at any width, above which everything else is printed."""

import io
import re
import sys
import threading
from pathlib import Path

import pytest
from pseudo_terminal import shown
from rich.console import Console

from slotcli.commands import console
from slotcli.commands.meters import LineMeter, PlainMeter

COUNTS = [(0, None), (3, None), (0, 0), (7, 0), (0, 24), (12, 24), (24, 24), (30, 24)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def line_of(meter: LineMeter, terminal: Terminal) -> str:
    """The line as it is now."""
    with meter.console:  # a refresh by the meter's own thread waits
        meter._line.refresh()
    (line,) = shown(terminal.getvalue())
    return line


@pytest.mark.parametrize("width", [8, 20, 40, 80, 200])
@pytest.mark.parametrize(("done", "total"), COUNTS)
def test_any_count_fits_in_any_width(width: int, done: int, total: int | None) -> None:
    terminal = Terminal()
    meter = LineMeter(Console(file=terminal, force_terminal=True, width=width))
    meter.phase("decoding a clip with quite a long name.mp4", "frames")
    meter.update(done, total, "loss 0.1234, degeneration 0.5")
    line = line_of(meter, terminal)
    meter.close()
    assert len(line) < width
    assert "dec" in line
    if width >= 20 and (done or total is not None):
        known = total is not None and done <= total
        assert f"{done}/{total if known else '?'}" in re.sub(r"/ +", "/", line)
    assert shown(terminal.getvalue()) == []


def test_what_is_left_out_is_what_matters_least() -> None:
    lines = {}
    for width in (20, 30, 50, 80, 120):
        terminal = Terminal()
        meter = LineMeter(Console(file=terminal, force_terminal=True, width=width))
        meter.phase("training", "steps")
        meter.update(12, 100, "loss 0.1234")
        lines[width] = line_of(meter, terminal)
        meter.close()
    assert "12/100" in lines[20]
    assert "training" in lines[20]
    assert "0:00:0" in lines[30]
    assert "loss 0.1234" in lines[50]
    assert "━━━━━━━━" in lines[80]


def test_a_phase_keeps_its_count_while_another_is_shown() -> None:
    terminal = Terminal()
    meter = LineMeter(Console(file=terminal, force_terminal=True, width=80))
    meter.phase("training", "steps")
    meter.update(5, 10)
    meter.phase("evaluating", "steps")
    evaluating = line_of(meter, terminal)
    meter.phase("training", "steps")
    training = line_of(meter, terminal)
    meter.close()
    assert "evaluating" in evaluating
    assert "/" not in evaluating
    assert "5/10" in training.replace(" ", "")


def test_phases_may_change_while_the_line_is_redrawn() -> None:
    """Locks are taken in one order only, or this test does not end."""
    meter = LineMeter(Console(file=Terminal(), force_terminal=True, width=80))
    redrawn = threading.Thread(target=lambda: [meter._line.live.refresh() for _ in range(300)])
    redrawn.start()
    number = 0
    while redrawn.is_alive():
        meter.phase(f"phase {number % 7}", "steps")
        meter.update(number, None)
        number += 1
    redrawn.join()
    meter.close()


def test_a_terminal_without_unicode_gets_none() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    meter = LineMeter(Console(file=file, force_terminal=True, width=20))
    meter.phase("decoding a long name.mp4", "frames")
    meter.update(3, 24)
    meter.close()
    assert b"\\u" not in raw.getvalue()
    assert b"3/24" in raw.getvalue()


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("width", ["20", "80"])
def test_notes_and_results_stand_above_the_line(
    monkeypatch: pytest.MonkeyPatch, width: str, quiet: bool
) -> None:
    """stdout and stderr are the same terminal, as they are for people."""
    terminal = Terminal()
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    console.restart()
    console.configure(quiet=quiet, json=True)
    console.phase("loading the model")
    with console.progress("decoding a.mp4", "frames") as meter:
        meter.update(1, 3)
        console.note("a note")
        console.warn("a warning")
        meter.update(2, 3)
        console.result("a result")
        console.record({"a": "record"})
        meter.update(3, 3)
    console.table("", ["a", "table"], [["of", "rows"]])
    console.restart()
    lines = shown(terminal.getvalue())
    wanted = ["warning: a warning", "a result", '{"a": "record"}', " a   table", " of   rows"]
    assert lines == [*(["a note"] * (not quiet)), *wanted]
    assert ("decoding" in terminal.getvalue()) is not quiet
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h")


def test_results_go_to_stdout_while_a_line_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """rich would have sent them to stderr, with escape codes where FORCE_COLOR is set."""
    terminal, out = Terminal(), io.StringIO()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", terminal)
    console.restart()
    console.configure(json=True)
    with console.progress("decoding a.mp4", "frames"):
        console.result("a result")
        console.record({"a": "record"})
        console.table("", ["a"], [["b"]])
    console.restart()
    assert out.getvalue().split() == ["a", "result", '{"a":', '"record"}', "a", "b"]
    assert shown(terminal.getvalue()) == []


def test_plain_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr("slotcli.commands.meters.time.monotonic", lambda: clock)
    said: list[str] = []
    meter = PlainMeter(said.append)
    meter.phase("loading the model")
    meter.phase("decoding", "frames")
    meter.update(0, None)
    meter.update(0, 0)
    for done in range(101):
        clock = done / 4
        meter.update(done, 100, "facts")
    meter.update(120, 100)
    assert said[0] == "decoding: 5/100, 4 frames/s, facts"
    assert said[-1] == "decoding: 100/100, 4 frames/s, facts"
    assert 15 <= len(said) <= 20
