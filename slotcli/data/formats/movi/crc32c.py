"""CRC-32C (Castagnoli), the checksum in TFRecord files, in numpy: many segments in parallel.

The register of a CRC is linear in its input. So segments of equal length are processed by empty
registers in parallel, and pairs are then combined: the left register after as many zero bytes as
the right segment has, plus the right register.
"""

from functools import cache

import numpy as np
from jaxtyping import UInt32

_POLYNOMIAL = 0x82F63B78  # of RFC 3720, section 12.1, its bits reversed
_ONES = 0xFFFFFFFF
_BITS = np.arange(32, dtype=np.uint32)


def crc32c(data: bytes) -> int:
    """The checksum of any number of bytes, as in RFC 3720."""
    words = -(-len(data) // 4)
    lane = 1 << words.bit_length() // 2  # words per segment: about the square root of all
    # Leading zeros do not change an empty register; a register of ones is equivalent to an empty
    # one and data whose first 32 bits are inverted.
    padding = -len(data) % (4 * lane)
    padded = np.concatenate([np.zeros(padding, np.uint8), np.frombuffer(data, np.uint8)])
    padded[padding : padding + 4] ^= 0xFF
    stretches = padded.view("<u4").astype(np.uint32).reshape(-1, lane)
    register = _fold(_pass(np.ascontiguousarray(stretches.T)), 4 * lane)
    return register ^ _ONES ^ _ONES >> 8 * min(len(data), 4)


def masked(checksum: int) -> int:
    """The checksum as TFRecord files hold it. Source: tensorflow/core/lib/hash/crc32c.h, Mask."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & _ONES


@cache
def _byte_tables() -> tuple[UInt32[np.ndarray, "256"], ...]:
    """Registers below 256 after one, two, three or four zero bytes."""
    first = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = first >> 1 ^ (first & 1) * np.uint32(_POLYNOMIAL)
    tables = [first]
    for _ in range(3):
        tables.append(tables[-1] >> 8 ^ first[tables[-1] & 255])
    return tuple(tables)


def _pass(words: UInt32[np.ndarray, "lane stretches"]) -> UInt32[np.ndarray, " stretches"]:
    """Registers after their segments, four bytes at a time."""
    tables = _byte_tables()
    register = np.zeros(words.shape[1], np.uint32)
    for word in words:
        register ^= word
        register = (
            tables[3][register & 255]
            ^ tables[2][register >> 8 & 255]
            ^ tables[1][register >> 16 & 255]
            ^ tables[0][register >> 24]
        )
    return register


def _fold(registers: UInt32[np.ndarray, " stretches"], length: int) -> int:
    """The register after all segments, of `length` bytes each, a power of two."""
    single = np.uint32(1) << _BITS
    # The contribution of each bit of a register after a zero byte.
    move = single >> 8 ^ _byte_tables()[0][single & 255]
    while length > 1:
        move, length = _moved(move, move), length // 2
    while len(registers) > 1:
        if len(registers) % 2:
            registers = np.concatenate([np.zeros(1, np.uint32), registers])
        registers = _moved(move, registers[0::2]) ^ registers[1::2]
        move = _moved(move, move)
    return int(registers[0]) if len(registers) else 0


def _moved(
    move: UInt32[np.ndarray, "32"], registers: UInt32[np.ndarray, " n"]
) -> UInt32[np.ndarray, " n"]:
    """Registers after the zero bytes of `move`."""
    taken = (registers[:, None] >> _BITS & 1) * move
    return np.bitwise_xor.reduce(taken, axis=1)
