"""slotcli as a program on a terminal, and what stands on its screen at the end."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

from warm_process import warm_python

LONGEST = 300  # seconds that a command may take
CODES = r"\x1b\[[0-9;?]*[A-Za-z]"


def run_on_terminal(
    folder: Path, arguments: list[str], *, columns: int = 80, **environment: str
) -> tuple[int, str]:
    """The exit code of a command, and all that it sent to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    settings = {"TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **environment}
    of_terminals = ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE")
    inherited = {name: value for name, value in os.environ.items() if name not in of_terminals}
    process = subprocess.Popen(
        [*warm_python(), "-m", "slotcli", *arguments],
        cwd=folder,
        env=inherited | settings,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    sent, latest = b"", time.monotonic() + LONGEST
    while True:
        if not select.select([ours], [], [], max(0.0, latest - time.monotonic()))[0]:
            process.kill()
            raise AssertionError(f"does not end: {sent.decode(errors='replace')[-2000:]}")
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not part:
            break
        sent += part
    os.close(ours)
    return process.wait(timeout=60), sent.decode()


def without_codes(sent: str) -> str:
    """What a terminal was sent, its control codes left out."""
    return re.sub(CODES, "", sent)


def shown(sent: str) -> list[str]:
    """The lines that are left on the screen: those of a progress display were written over."""
    lines, row, column = [""], 0, 0
    for part in re.findall(rf"{CODES}|.", sent, re.DOTALL):
        if part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif up := re.fullmatch(r"\x1b\[(\d*)A", part):
            row = max(0, row - int(up[1] or 1))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not part.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines if line.strip()]
