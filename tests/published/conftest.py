"""Models of the authors' architectures, small enough for every test to write one."""

import pytest
from authors_weights import SMALL_CODEC, SMALL_MODEL, authors_state_dict, parse
from torch import Tensor

from slotcli.spec import CodecModelSpec, SlotModelSpec


@pytest.fixture(scope="module")
def small() -> SlotModelSpec:
    spec = parse(SMALL_MODEL)
    assert isinstance(spec, SlotModelSpec)
    return spec


@pytest.fixture(scope="module")
def small_codec() -> CodecModelSpec:
    spec = parse(SMALL_CODEC)
    assert isinstance(spec, CodecModelSpec)
    return spec


@pytest.fixture(scope="module")
def small_state(small: SlotModelSpec) -> dict[str, Tensor]:
    return authors_state_dict(small)


@pytest.fixture
def theirs(small_state: dict[str, Tensor]) -> dict[str, Tensor]:
    """For each test to change as it likes, though not the tensors themselves."""
    return dict(small_state)
