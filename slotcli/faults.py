"""Fault injection for tests of full disks and killed processes.

SLOTCLI_FAULT is a list such as "kill@chunk:2,enospc@write:3": a fault, the point in the program,
and the pass through it at which the fault occurs, counted from 1. Without it nothing happens.
"""

import errno
import os
import signal
from collections import Counter

_VARIABLE = "SLOTCLI_FAULT"
_passes: Counter[str] = Counter()


def may_fail(place: str) -> str | None:
    """Counts a pass through the point `place`, and triggers the fault requested there, if any.

    `enospc` raises OSError, `kill`, `term` and `int` send this process SIGKILL, SIGTERM or SIGINT;
    the name of any other fault is returned, for the caller to cause.
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
