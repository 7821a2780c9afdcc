"""Too little of memory, threads, files or a working directory: said in two lines, with a code."""

import errno
import os
import resource
import subprocess
import sys

import pytest

from slotcli.errors import BusyError, OutputError, UsageError
from slotcli.limits import exhaustion_error, threads_for, usable_cores, wait_without_spinning

pytestmark = pytest.mark.slow

MIB = 2**20


def _run(tmp_path, *arguments, limit=None, code=None):
    """slotcli as a program under a limit, or after some code of its own."""
    program = f"{code or ''}\nfrom slotcli.__main__ import main\nmain()"

    def limited():
        if limit is not None:
            resource.setrlimit(limit[0], (limit[1], limit[1]))

    ended = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        preexec_fn=limited,
        timeout=300,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("mebibytes", [300, 2900])
def test_memory_that_does_not_suffice_for_torch_is_said(tmp_path, mebibytes):
    """Under the larger limit it is C++ that ends the process."""
    if mebibytes > 1000 and not _torch_has_cuda():
        pytest.skip("torch for the CPU alone is smaller than that")
    limit = (resource.RLIMIT_AS, mebibytes * MIB)
    code, out, err = _run(tmp_path, "doctor", "--device", "cpu", limit=limit)
    assert (code, out) == (75, "")
    assert "Traceback" not in err
    what, advice = err.splitlines()[-2:]
    assert what.startswith(f"error: Out of memory: this process may use {mebibytes} MiB")
    assert "ulimit -v" in advice


def test_a_limit_that_suffices_changes_nothing(tmp_path):
    limit = (resource.RLIMIT_AS, 2**37)
    assert _run(tmp_path, "info", "absent", limit=limit)[0] == 66
    assert _run(tmp_path, "--version", limit=limit)[0] == 0
    assert _run(tmp_path, "config", limit=limit)[0] == 2


def test_a_file_that_may_not_become_large_enough(tmp_path):
    given = ("data", "synth", "clips", "--clips", 1, "--frames", 4, "--size", 32)
    code, _, err = _run(tmp_path, *given, "--device", "cpu", limit=(resource.RLIMIT_FSIZE, 100))
    assert code == 74
    assert "ulimit -f" in err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.mp4"))


def test_a_working_directory_that_is_gone(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    code, out, err = _run(gone, "config", "show", code="import os; os.rmdir(os.getcwd())")
    assert (code, out) == (66, "")
    assert err.splitlines() == [
        "error: The working directory does not exist any more.",
        "  Change to another one (cd).",
    ]


@pytest.mark.parametrize("threads", ["100000", "65000", "0", "-1", "1.5", "many"])
def test_threads_that_are_none(cli, threads):
    if threads.isdigit() and (os.cpu_count() or 1) >= int(threads) > 0:
        pytest.skip("this machine has so many")
    code, out, err = cli("doctor", "--device", "cpu", "--threads", threads)
    assert (code, out) == (2, "")
    assert threads in err or "--threads" in err


def test_threads_follow_the_work_and_the_environment(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("slotcli.limits.usable_cores", lambda: 6)
    assert threads_for(None) == threads_for(None, 128 * 128) == 6
    assert threads_for(None, 64 * 64) == 1
    assert threads_for(3, 64 * 64) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert threads_for(None) == 4
    assert threads_for(5) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "none")
    assert threads_for(None) == 6


def test_threads_that_the_system_does_not_start(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    with pytest.raises(BusyError, match="no more threads"):
        threads_for(2)
    assert threads_for(1) == 1
    with pytest.raises(UsageError):
        threads_for(10**6)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"job/cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "max 100000", "job/cpu.max": "max 100000"}, 64),
        ({"job/cpu.max": "1000000 100000", "cpu.max": "450000 100000"}, 4),
        ({"job/cpu.max": "50000 100000"}, 1),
        ({"cpu/job/cpu.cfs_quota_us": "300000", "cpu/job/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, 64),
        ({"job/cpu.max": "damaged"}, 64),
        ({}, 64),
    ],
)
def test_cores_are_those_of_the_control_groups(tmp_path, monkeypatch, files, cores):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    own = tmp_path / "own"
    own.write_text("4:memory:/else\n2:cpu,cpuacct:/job\n0::/job\n")
    assert usable_cores(tmp_path, own) == cores
    assert usable_cores(tmp_path, tmp_path / "absent") == 64


def test_waiting_threads_sleep_unless_told_otherwise(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "x")  # restored afterwards, also where it was absent
        monkeypatch.delenv(name)
    wait_without_spinning()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    wait_without_spinning()
    assert "OMP_WAIT_POLICY" not in os.environ


def test_the_policy_is_set_before_torch_is_loaded(tmp_path):
    seen = "import sys; sys.addaudithook(lambda name, given: name == 'import' and given[0] == "
    seen += "'torch' and (print(os.environ.get('OMP_WAIT_POLICY')), os._exit(0)))"
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        seen = f"os.environ.pop({name!r}, None); {seen}"
    _, out, err = _run(tmp_path, "doctor", code=f"import os; {seen}")
    assert out.strip() == "PASSIVE", err


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), BusyError),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), BusyError),
        (OSError(errno.EMFILE, "Too many open files"), BusyError),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), BusyError),
        (OSError(errno.EFBIG, "File too large"), OutputError),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), BusyError),
        (RuntimeError("can't start new thread"), BusyError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."), BusyError),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."), BusyError),
        (ImportError("No module named 'x'"), None),
        (RuntimeError("shapes do not match"), None),
        (OSError(errno.ENOSPC, "No space left on device"), None),
    ],
)
def test_what_has_run_out(error, kind):
    found = exhaustion_error(error)
    assert found is None if kind is None else isinstance(found, kind)


def _torch_has_cuda():
    import torch

    return torch.version.cuda is not None
