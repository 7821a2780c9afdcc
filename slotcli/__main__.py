"""The slotcli program: its commands, and the one place where a failure becomes an exit code."""

import errno
import os
import signal
import sys
from types import FrameType

import typer

from slotcli import __version__
from slotcli.commands import (
    adapt,
    audit,
    bench,
    config,
    console,
    data,
    decompose,
    doctor,
    evaluate,
    export,
    info,
    models,
    pretrain,
    reconstruct,
    report,
    train,
)
from slotcli.errors import NoInputError, SlotcliError, Terminated
from slotcli.limits import exhaustion, guarded, wait_without_spinning

EXIT_CODES = """
Exit codes: 0 done; 1 a bug; 2 bad command line; 3 finished with losses; 65 undecodable or damaged
input; 66 no input; 69 device, weights or extra missing; 70 not a number; 73 output cannot be
created or exists; 74 input/output error, disk full; 75 out of memory or busy, try later; 77
permission denied; 78 invalid configuration; 130 interrupted; 143 terminated.
"""

app = typer.Typer(
    name="slotcli",
    help="Takes videos nobody annotated and gives back the objects in them.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
)
app.command()(decompose.decompose)
app.command()(reconstruct.reconstruct)
app.command()(export.export)
app.command()(pretrain.pretrain)
app.command()(train.train)
app.command()(adapt.adapt)
app.command()(evaluate.evaluate)
app.command()(audit.audit)
app.command()(report.report)
app.command()(info.info)
app.command()(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")
app.add_typer(bench.app, name="bench")


def _version(wanted: bool) -> bool:
    if wanted:
        console.result(f"slotcli {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Say more; show tracebacks."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Say only what went wrong."),
    json: bool = typer.Option(False, "--json", help="Results as JSON, one object a line."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True),
) -> None:
    console.configure(verbose=verbose, quiet=quiet, json=json)
    _require_working_directory()


def _require_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise NoInputError(
            "The working directory does not exist any more.", "Change to another one (cd)."
        ) from None


INTERRUPTED = 130
_UNFINISHED = ("Interrupted.", "What was finished is kept; the same command goes on.")
_OS_EXIT = {errno.ENOSPC: 74, errno.EDQUOT: 74, errno.EIO: 74, errno.EACCES: 77, errno.EPERM: 77}


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _stop(number: int, frame: FrameType | None) -> None:
    """A first signal has what is half done tidied away; tidying is not to be cut in two."""
    for each in _SIGNALS:
        if signal.getsignal(each) is _stop:
            signal.signal(each, _leave)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _leave(number: int, frame: FrameType | None) -> None:
    """A second one ends the process where it stands, with threads still at work."""
    os._exit(128 + number)


def main() -> None:
    """Runs the program and exits with one of EXIT_CODES; a traceback only with --verbose."""
    wait_without_spinning()
    sys.exit(guarded(_exit_code, lambda error: console.error(error.what, error.advice)))


def _exit_code() -> int:
    """Runs the command line; the exit code, with what went wrong said."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell's way to run in the background
            signal.signal(number, _stop)
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # typer makes this of Ctrl-C by itself
            console.error(*_UNFINISHED)
    except SlotcliError as error:
        console.error(error.what, error.advice)
        code = error.exit_code
    except typer.TyperException as error:
        if message := error.format_message():  # none where help was all that was wanted
            console.error(message, "See the same command with --help.")
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        console.error(*_UNFINISHED)
        code = INTERRUPTED
    except Terminated:
        console.error(*_UNFINISHED)
        code = 143
    except SystemExit as error:
        # rich and typer make this of a pipe that nobody reads any more (head has seen enough).
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        code = 0
    except Exception as error:
        if (known := exhaustion(error)) is not None:
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
