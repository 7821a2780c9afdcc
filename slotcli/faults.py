"""Faults on demand, so that tests see what a full disk or a killed process leaves behind.

SLOTCLI_FAULT is a list such as "kill@chunk:2,enospc@write:3": a fault, the place in the program,
and at which pass through it the fault comes, counted from 1. Without it nothing happens.
"""

import errno
import os
import signal
from collections import Counter

_VARIABLE = "SLOTCLI_FAULT"
_passes: Counter[str] = Counter()


def may_fail(place: str) -> str | None:
    """Counts a pass through `place`, and brings the fault that was asked for there, if any.

    `enospc` raises OSError, `kill`, `term` and `int` send this process SIGKILL, SIGTERM or SIGINT;
    the name of any other fault is returned, for the place itself to bring about.
    """
    wanted = os.environ.get(_VARIABLE)
    if not wanted:
        return None
    _passes[place] += 1
    for entry in wanted.split(","):
        fault, _, where = entry.strip().partition("@")
        if where != f"{place}:{_passes[place]}":
            continue
        if fault == "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        signals = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
        if fault in signals:
            os.kill(os.getpid(), signals[fault])
            return None
        return fault
    return None
