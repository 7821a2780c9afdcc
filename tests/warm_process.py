"""Python in children of a process that has loaded torch and slotcli: loading outlasts most runs.

`[*warm_python(), *arguments]` is a command like `[sys.executable, *arguments]`: a program with a
folder, environment, files, terminal and signals of its own, which ends as the child does. What a
process does before and while it loads torch is not seen this way, and SIGKILL comes to the child a
moment later than to what was started.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from functools import cache
from pathlib import Path
from shutil import rmtree
from typing import NoReturn

_FORWARDED = (signal.SIGINT, signal.SIGTERM)
_LOADED = (
    *("torch._dynamo", "torch._refs", "lpips", "cv2", "av", "numpy", "scipy.optimize"),
    *("slotcli.__main__", "slotcli.decomposition.worker", "slotcli.results.reconstruct"),
    *("slotcli.training.loop", "slotcli.training.tasks.slots", "slotcli.training.tasks.vqvae"),
)


@cache
def warm_python() -> list[str]:
    """The command that takes the place of `sys.executable`; the process ends with this one."""
    folder = tempfile.mkdtemp(prefix="warm-")
    atexit.register(rmtree, folder, ignore_errors=True)
    address = str(Path(folder) / "s")
    server = subprocess.Popen(
        [sys.executable, __file__, "serve", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert server.stdout is not None
    atexit.register(_end_server, server)
    assert server.stdout.readline() == b"ready\n"
    # Without site, it starts in hundredths of a second.
    return [sys.executable, "-I", "-S", __file__, "run", address]


def _end_server(server: subprocess.Popen[bytes]) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait()


def _run(address: str, arguments: list[str]) -> None:
    """Has a child run with what this process was given, passes signals on and ends as it does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.connect(address)
        wanted = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(server, [b"\0"], [0, 1, 2])
        told = server.makefile("rw")
        told.write(json.dumps(wanted) + "\n")
        told.flush()
        child = int(told.readline())
        for number in _FORWARDED:
            signal.signal(number, lambda number, _: os.kill(child, number))
        code = int(told.readline())
    if code >= 0:
        os._exit(code)
    for number in _FORWARDED:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), -code)


def _serve(address: str) -> None:
    """Forks for each connection one that waits for the child; ends with its input."""
    import gc
    import importlib

    from slotcli.limits import wait_without_spinning

    wait_without_spinning()
    for name in _LOADED:
        importlib.import_module(name)
    del sys.modules["slotcli.__main__"]  # each child's own
    gc.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                os._exit(0)
            client, _ = listening.accept()
            with client:
                if os.fork() == 0:
                    listening.close()
                    _attend(client)
            _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _attend(client: socket.socket) -> NoReturn:
    """Forks the child, tells its process id and how it ended; kills it where nobody is told."""
    _, given, _, _ = socket.recv_fds(client, 1, 3)
    told = client.makefile("rw")
    wanted = json.loads(told.readline())
    child = os.fork()
    if child == 0:
        client.close()
        told.close()
        _become(given, **wanted)
    for number in given:
        os.close(number)
    told.write(f"{child}\n")
    told.flush()
    ended = os.pidfd_open(child)
    if client in select.select([client, ended], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        told.write(f"{code}\n")
        told.flush()
    finally:
        os._exit(0)


def _become(
    given: list[int], arguments: list[str], folder: str, environment: dict[str, str]
) -> NoReturn:
    """Runs what Python would run with these arguments, in their place."""
    for number, taken in enumerate(given):
        os.dup2(taken, number)
        os.close(taken)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # noqa: SIM115
        2, "w", closefd=False, buffering=1, errors="backslashreplace"
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:1] = ["", *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    code = 1
    try:
        _execute(arguments)
        code = 0
    except SystemExit as ended:
        code = _exit_code(ended)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    _end(code)


def _execute(arguments: list[str]) -> None:
    match arguments:
        case ["-m", module, *_]:
            sys.argv = arguments[1:]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", program, *_]:
            sys.argv = ["-c", *arguments[2:]]
            exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
        case [path, *_]:
            sys.argv = arguments
            sys.path[0] = str(Path(path).parent)
            runpy.run_path(path, run_name="__main__")


def _exit_code(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    print(ended.code, file=sys.stderr)
    return 1


def _end(code: int) -> NoReturn:
    """All that a process does at its end but to free its memory, which is shared with others."""
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2])
    else:
        _run(sys.argv[2], sys.argv[3:])
