"""Which device a command gets for the name that it was given."""

import pytest
import torch

from slotcli.commands.setup import choose_device
from slotcli.errors import UnavailableError, UsageError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("name", "index"), [("auto", 1), ("cuda", 1), ("cuda:0", 0), ("cuda:1", 1)]
)
def test_a_gpu_is_named_with_its_index(name: str, index: int) -> None:
    """torch.cuda.set_device, for one, refuses a device without an index."""
    assert choose_device(name) == torch.device("cuda", index)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnavailableError, match="cuda:2"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["tpu", "mps", "cuda:x"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        choose_device(name)


def test_a_cpu_has_no_index() -> None:
    assert choose_device("cpu") == torch.device("cpu")
