"""Commands run at the speed that users see: what annotations say is proved by all other tests."""

from collections.abc import Iterator

import jaxtyping
import pytest


@pytest.fixture(scope="module", autouse=True)
def annotations_are_not_checked() -> Iterator[None]:
    """Checking them takes a fifth of a command's time."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
