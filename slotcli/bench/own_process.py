"""Runs work in a process of its own, whose memory and crashes are separate from ours."""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from slotcli.errors import BusyError

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_ADVICE = "Use a smaller batch, or another device."


def in_own_process(task: Callable[[Argument], Result], argument: Argument) -> Result:
    """The result of `task(argument)` in a new process; `task` is a module-level function.

    Raises BusyError where memory ran out or the process was killed, RuntimeError where it failed
    otherwise; its traceback is then on standard error.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(task, argument, sender), daemon=True)
    process.start()
    sender.close()
    try:
        exhausted, answer = receiver.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGKILL:
            raise BusyError(
                "the process was killed, most likely because memory ran out.", _ADVICE
            ) from None
        raise RuntimeError(f"a process of slotcli ended with {process.exitcode}") from None
    finally:
        # An interrupt of ours may come while it works.
        process.kill()
        process.join()
        receiver.close()
    if exhausted:
        raise BusyError(f"memory ran out: {answer}.", _ADVICE)
    return answer


def _answer(task: Callable[[Argument], Result], argument: Argument, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it too, and ends this one
    try:
        found = task(argument)
    except (MemoryError, RuntimeError) as error:
        if not _is_exhaustion(error):
            raise
        sender.send((True, str(error).partition("\n")[0].rstrip(".")))
    else:
        sender.send((False, found))


def _is_exhaustion(error: Exception) -> bool:
    """torch's CPU allocator has no exception of its own."""
    from torch import OutOfMemoryError

    known = isinstance(error, MemoryError | OutOfMemoryError)
    return known or "can't allocate memory" in str(error)
