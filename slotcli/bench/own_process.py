"""Runs work in a process of its own, whose memory and crashes are separate from ours."""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def in_own_process(
    task: Callable[[Argument], Result], argument: Argument
) -> tuple[Result | None, str]:
    """The result of `task(argument)` in a new process; where memory ran out, None and the reason.

    `task` is a module-level function. Raises RuntimeError where it failed otherwise; its traceback
    is then on standard error.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(task, argument, sender), daemon=True)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGKILL:
            return None, "the process was killed, most likely because memory ran out."
        raise RuntimeError(f"a process of slotcli ended with {process.exitcode}") from None
    finally:
        # An interrupt of ours may come while it works.
        process.kill()
        process.join()
        receiver.close()


def _answer(task: Callable[[Argument], Result], argument: Argument, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it too, and ends this one
    try:
        found = task(argument)
    except (MemoryError, RuntimeError) as error:
        if not _is_exhaustion(error):
            raise
        why = str(error).partition("\n")[0].rstrip(".")
        sender.send((None, f"memory ran out: {why}."))
    else:
        sender.send((found, ""))


def _is_exhaustion(error: Exception) -> bool:
    """torch's CPU allocator has no exception of its own."""
    from torch import OutOfMemoryError

    known = isinstance(error, MemoryError | OutOfMemoryError)
    return known or "can't allocate memory" in str(error)
