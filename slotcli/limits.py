"""The limits on this process: cores, threads, memory; and the errors when they are reached."""

import errno
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from slotcli.errors import BusyError, OutputError, SlotcliError, UsageError

_MOST_THREADS = 64  # or the number of cores, if larger
# Frames up to this many pixels (64 x 64) make layers so small that threads wait for each other.
_SMALL_FRAME = 64 * 64
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_GROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def wait_without_spinning() -> None:
    """Makes OpenMP's threads sleep while they wait; to be called before torch is imported.

    By default they spin for milliseconds at each of thousands of small operations, which takes the
    core from the thread that they wait for wherever another program is running. Settings of the
    environment are kept.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # CP6


def usable_cores(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> int:
    """Cores that this process may keep busy by its affinity and its control groups' quotas."""
    cores = len(os.sched_getaffinity(0))
    quotas = [quota for folder in _cpu_groups(groups, own) if (quota := _quota(folder))]
    return max(1, min([cores, *(round(quota) for quota in quotas)]))


def threads_for(asked: int | None, frame_pixels: int | None = None) -> int:
    """CPU threads to compute with: `asked`, else by the frames' size and the usable cores.

    Without a `frame_pixels` the work is taken to be large, as training batches are. OMP_NUM_THREADS
    is an upper bound, as everywhere. Raises UsageError for more than are of any use, BusyError
    where the system does not start that many.
    """
    most = max(_MOST_THREADS, os.cpu_count() or 1)
    if asked is not None and asked > most:
        raise UsageError(
            f"--threads {asked}: at most {most} here.",
            f"Leave it out, or give the number of cores: {usable_cores()}.",
        )
    threads = asked or min(usable_cores(), _environment_bound(most))
    if asked is None and frame_pixels is not None and frame_pixels <= _SMALL_FRAME:
        threads = 1
    _require_threads(threads)
    return threads


def exhaustion_error(error: BaseException) -> SlotcliError | None:
    """The error for an exception at a limit of memory, threads, files or a file's size, or None.

    BusyError (75), or for a file's size OutputError (74).
    """
    text, number = str(error), getattr(error, "errno", None)
    if type(error).__name__ == "OutOfMemoryError":
        return BusyError(
            "The GPU is out of memory.", "Close what else uses it, or choose smaller batches."
        )
    if isinstance(error, MemoryError) or number == errno.ENOMEM or _tells_of_memory(error, text):
        return out_of_memory()
    if "can't start new thread" in text or number == errno.EAGAIN:
        return _no_threads()
    if number in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return BusyError(
            f"Too many files are open; the limit is {limit}.", "Raise it: ulimit -n 1024."
        )
    if number == errno.EFBIG:
        return OutputError(
            "A file is larger than this process may write.", "Raise the limit: ulimit -f unlimited."
        )
    return None


def out_of_memory() -> BusyError:
    """The error for exhausted memory, with the memory limit if there is one."""
    limit = _memory_limit()
    if limit is None:
        return BusyError("Out of memory.", "Close other programs, or choose smaller batches.")
    return BusyError(
        f"Out of memory: this process may use {limit / 2**20:.0f} MiB.",
        "Raise the limit (ulimit -v unlimited); loading PyTorch alone takes up to 4 GiB of it.",
    )


def run_guarded(run: Callable[[], int], report: Callable[[SlotcliError], None]) -> int:
    """The exit code of `run`; where memory is limited, `run` is in a process of its own.

    Libraries end a process that gets no memory (abort, oneMKL's FATAL): nothing in that process
    could report it, or give the exit code of `BusyError`. A process that has already loaded PyTorch
    is another program's, and is not forked.
    """
    if _memory_limit() is None or threading.active_count() > 1 or "torch" in sys.modules:
        return run()
    ended, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ended)
        try:
            return run()
        finally:
            os.write(told, b".")
    os.close(told)

    def passed_on(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT:  # a terminal sends it to both
            os.kill(child, number)

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, passed_on)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = status if status >= 0 else 128 - status
    if os.read(ended, 1) or code - 128 in (*_SIGNALS, signal.SIGKILL):
        return code
    error = out_of_memory()
    report(error)
    return error.exit_code


def _tells_of_memory(error: BaseException, text: str) -> bool:
    if isinstance(error, ImportError):
        return "failed to map segment" in text or "cannot allocate memory" in text.lower()
    signs = ("not enough memory", "can't allocate memory", "bad_alloc", "Insufficient memory")
    return any(sign in text for sign in signs)


def _memory_limit() -> int | None:
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=None)


def _no_threads() -> BusyError:
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    most = "" if limit == resource.RLIM_INFINITY else f" The limit is {limit}."
    return BusyError(
        f"The system starts no more threads or processes.{most}",
        "Use --threads 1, or raise the limit (ulimit -u).",
    )


def _require_threads(count: int) -> None:
    """Tries to start the threads, because OpenMP ends the process where it gets one too few."""
    stop = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count - 1):
            thread = threading.Thread(target=stop.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        raise _no_threads() from None
    finally:
        stop.set()
        for thread in started:
            thread.join()


def _environment_bound(most: int) -> int:
    """The first number of OMP_NUM_THREADS, as OpenMP reads it."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdigit() and int(first) > 0 else most


def _cpu_groups(groups: Path, own: Path) -> list[Path]:
    """Folders of the control groups that limit this process: its own, and those above it."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = groups / controllers if controllers else groups
        if controllers and not top.is_dir():
            top = groups / "cpu"
        inner = top / path.lstrip("/")
        found += [inner, *(p for p in inner.parents if p == top or top in p.parents)]
    return found


def _quota(folder: Path) -> float | None:
    """Cores of a control group's quota, of either version; None where there is none."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        cores = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None
