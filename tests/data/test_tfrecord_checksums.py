"""TFRecord checksums against the examples of RFC 3720 and the definition bit by bit."""

import numpy as np
import pytest
from movi_files import slow_crc32c

from slotcli.data.formats.movi.tfrecord import masked_checksum


def masked(checksum: int) -> int:
    """Rotated right by 15 bits, plus TensorFlow's constant."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) % 2**32


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_the_examples_of_rfc_3720(data, checksum):
    assert masked_checksum(data) == masked(checksum)


def test_any_length_and_content_agrees_with_the_definition_bit_by_bit():
    random = np.random.default_rng(0)
    for length in [*range(1, 70), 1000, 20011]:
        data = random.integers(0, 256, length, dtype=np.uint8).tobytes()
        assert masked_checksum(data) == masked(slow_crc32c(data)), length
