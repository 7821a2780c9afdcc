"""Facts about the machine and the installation that results and speed depend on."""

import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import av
import torch

from slotcli import __version__
from slotcli.limits import usable_cores

# Instruction sets of the fast paths on a CPU, by their names in Linux.
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")


def versions() -> dict[str, str | None]:
    """Versions of the packages that compute and decode; None if not installed."""
    return {
        "slotcli": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _installed("triton"),
        "pyav": av.__version__,
        "ffmpeg": av.ffmpeg_version_info,
        "cuda": torch.version.cuda,
        "nvidia_driver": _driver(),
    }


def cpu() -> dict[str, Any]:
    """Name, cores available to this process, threads of torch, and instruction sets."""
    flags = set((_cpuinfo("flags") or "").split())
    return {
        "name": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "features": [feature for feature in CPU_FEATURES if feature in flags],
    }


def gpu(device: torch.device) -> dict[str, Any] | None:
    """Name, compute capability and memory of a CUDA device; None for any other."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return {
        "name": torch.cuda.get_device_name(device),
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
        "free_bytes": free,
        "total_bytes": total,
    }


def free_disk(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _driver() -> str | None:
    """Version of the driver's kernel module: CUDA reports one only where it works."""
    try:
        line = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return None
    return next((word for word in line.split() if word[:1].isdigit()), None)


def _cpuinfo(key: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(values, None)
