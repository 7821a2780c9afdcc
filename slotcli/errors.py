"""Every error a user can cause, each with the exit code it ends the program with.

SlotcliError
├── UsageError          2    bad combination of options
├── LossError           3    finished, but clips or too many frames were lost
├── DataError          65    undecodable input, damaged slot file or checkpoint
├── NoInputError       66    nothing there to read
├── UnavailableError   69    no such device, missing weights, missing extra
├── NumericError       70    NaN or infinity in slots or loss
├── CannotCreateError  73    output cannot be created, or exists already
├── OutputError        74    input/output error, disk full
├── BusyError          75    out of device memory, locked by another run
├── AccessError        77    permission denied
└── ConfigError        78    invalid model definition or override
"""

import errno
from pathlib import Path


class SlotcliError(Exception):
    """A failure with a cause the user can act on: what happened, and what to do.

    Both lines are at the end of a traceback, the second one as a note.
    """

    exit_code = 1

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.add_note(advice)

    def __reduce__(self) -> tuple[type["SlotcliError"], tuple[str, str]]:
        # By default only `what` would be passed when another process sends the exception.
        return type(self), (self.what, self.advice)


class ClipWarning(UserWarning):
    """A remark on a finished result, such as of frames that were damaged, to callers in Python."""


class Terminated(BaseException):
    """SIGTERM, raised like KeyboardInterrupt: partial outputs are removed. Exit code 143."""


class UsageError(SlotcliError):
    exit_code = 2


class LossError(SlotcliError):
    exit_code = 3


class DataError(SlotcliError):
    exit_code = 65


class NoInputError(SlotcliError):
    exit_code = 66


class UnavailableError(SlotcliError):
    exit_code = 69


class NumericError(SlotcliError):
    exit_code = 70


class CannotCreateError(SlotcliError):
    exit_code = 73


class OutputError(SlotcliError):
    exit_code = 74


class BusyError(SlotcliError):
    exit_code = 75


class AccessError(SlotcliError):
    exit_code = 77


class ConfigError(SlotcliError):
    exit_code = 78


def error_from_code(exit_code: int, what: str, advice: str) -> SlotcliError:
    """An error of another process, from its exit code and its two lines."""
    kinds = {kind.exit_code: kind for kind in SlotcliError.__subclasses__()}
    return kinds.get(exit_code, SlotcliError)(what, advice)


_OS_ERRORS: dict[int, type[SlotcliError]] = {
    errno.EACCES: AccessError,
    errno.EPERM: AccessError,
}


def clip_error(error: Exception, clip: Path | None = None) -> SlotcliError:
    """An exception during the work on one clip, as the failure of that clip.

    A SlotcliError is returned itself; exceptions of the system and of libraries get a message, the
    name of the clip if it is given, and an exit code: 1, that of a bug, for unforeseen ones.
    """
    if isinstance(error, SlotcliError):
        return error
    converted: SlotcliError
    named = "" if clip is None else f"{printable(clip)}: "
    if isinstance(error, MemoryError):
        converted = BusyError(
            f"{named}there is not enough memory for this clip.",
            "Close what else runs, or scale it down.",
        )
    elif type(error).__module__ == "builtins" and isinstance(error, OSError):
        kind = _OS_ERRORS.get(error.errno or 0, OutputError)
        path = printable(str(error.filename or "input/output"))
        converted = kind(
            f"{path}: {error.strerror or error}.", "Check the disk and the permissions."
        )
    else:
        text = " ".join(str(error).split())
        converted = SlotcliError(
            named + printable(f"a bug: {type(error).__name__}: {text}"),
            "Please report it with the output of the same command after: slotcli --verbose",
        )
    converted.__cause__ = error
    return converted


def require_choice(option: str, value: str | None, choices: tuple[str, ...]) -> None:
    """Raises UsageError for a value that is neither None nor among the choices."""
    if value is not None and value not in choices:
        raise UsageError(
            f"{option} {printable(value)}: no such choice.", f"Choose from {', '.join(choices)}."
        )


def printable(text: Path | str) -> str:
    """External text, fit for a message on any terminal: odd bytes and controls escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
