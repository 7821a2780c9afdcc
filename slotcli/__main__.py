"""The slotcli program: its commands, and the conversion of failures to exit codes."""

import errno
import os
import signal
import sys
from types import FrameType

import typer

from slotcli import __version__
from slotcli.commands import console
from slotcli.commands.program import Program
from slotcli.errors import NoInputError, SlotcliError, Terminated
from slotcli.limits import exhaustion_error, run_guarded, wait_without_spinning

EXIT_CODES = {
    0: "done",
    1: "a bug in slotcli",
    2: "bad command line",
    3: "finished with losses, or a check failed",
    65: "undecodable or damaged input",
    66: "no input found",
    69: "device, weights or an optional package missing",
    70: "NaN or infinity in slots or loss",
    73: "output exists, or cannot be created",
    74: "input/output error, disk full",
    75: "out of memory, or locked by another run: try later",
    77: "permission denied",
    78: "invalid model definition or --set",
    130: "interrupted by Ctrl-C",
    143: "terminated",
}
_EPILOG = """\b
Examples:
  slotcli decompose samples/tier-a.mp4
  slotcli reconstruct slotcli-out/tier-a.mp4
  slotcli COMMAND -h

\b
Exit codes:
""" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())

app = typer.Typer(
    name="slotcli",
    cls=Program,
    help="Find the objects in videos without annotations: mask tracks and slot vectors.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> bool:
    if wanted:
        console.result(f"slotcli {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", callback=_version, is_eager=True
    ),
) -> None:
    """Options of the program itself."""
    _require_working_directory()


def _require_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise NoInputError(
            "The working directory does not exist any more.", "Change to another one (cd)."
        ) from None


INTERRUPTED = 130
_OS_EXIT = {errno.ENOSPC: 74, errno.EDQUOT: 74, errno.EIO: 74, errno.EACCES: 77, errno.EPERM: 77}


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _stop(number: int, frame: FrameType | None) -> None:
    """A first signal raises, so that partial outputs are removed; a second one calls `_leave`."""
    for each in _SIGNALS:
        if signal.getsignal(each) is _stop:
            signal.signal(each, _leave)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _leave(number: int, frame: FrameType | None) -> None:
    """A second signal ends the process immediately, with threads still running."""
    console.leave_terminal()
    os._exit(128 + number)


def main() -> None:
    """Runs the program and exits with one of EXIT_CODES; a traceback only with --verbose."""
    wait_without_spinning()
    sys.exit(run_guarded(_exit_code, lambda error: console.error(error.what, error.advice)))


def _exit_code() -> int:
    """Runs the command line, reports its failure, and returns the exit code."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell ignores it in background jobs
            signal.signal(number, _stop)
    console.restart()
    try:
        try:
            program = typer.main.get_command(app)
            code = program(standalone_mode=False, prog_name="slotcli")
        finally:
            console.end_progress()
        if code == INTERRUPTED:  # typer makes this of Ctrl-C by itself
            console.interrupted()
    except SlotcliError as error:
        console.cause(error)
        console.error(error.what, error.advice)
        code = error.exit_code
    except typer.TyperException as error:
        # Without a command the help is shown, which comes as this exception's message.
        if type(error).__name__ == "NoArgsIsHelpError":
            console.page(error.format_message())
        elif message := error.format_message():
            console.error(message, "See the same command with --help.")
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        console.interrupted()
        code = INTERRUPTED
    except Terminated:
        console.interrupted()
        code = 143
    except SystemExit as error:
        # rich and typer raise this for a closed pipe (as head leaves it).
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        code = 0
    except Exception as error:
        if (known := exhaustion_error(error)) is not None:
            console.error(known.what, known.advice)
            code = known.exit_code
        elif isinstance(error, OSError):
            what = f"{error.filename or 'input/output'}: {error.strerror}."
            console.error(what, "Check the disk.")
            code = _OS_EXIT.get(error.errno or 0, 74)
        else:
            console.bug(error)
            code = 1
    return code or 0


if __name__ == "__main__":
    main()
