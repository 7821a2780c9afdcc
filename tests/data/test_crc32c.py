import numpy as np
import pytest
from movi_files import slow_crc32c

from slotcli.data.formats.movi.crc32c import crc32c, masked


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
    assert crc32c(data) == checksum


def test_any_length_and_content_agrees_with_the_definition_bit_by_bit():
    random = np.random.default_rng(0)
    for length in [*range(1, 70), 127, 128, 129, 1000, 4095, 4097, 20011]:
        data = random.integers(0, 256, length, dtype=np.uint8).tobytes()
        assert crc32c(data) == slow_crc32c(data), length


def test_the_mask_rotates_by_15_bits_and_adds_tensorflows_constant():
    assert masked(0) == 0xA282EAD8
    assert masked(1) == 0xA282EAD8 + (1 << 17)
    assert masked(0xFFFFFFFF) == 0xA282EAD8 - 1
