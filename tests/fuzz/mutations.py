"""Seeded damage to files: what disks, networks and people who mean harm do to bytes."""

import re
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np

# Places of numbers that say how long something is: (offset, bytes, byte order).
Lengths = Callable[[bytes], list[tuple[int, int, str]]]

EDGES = [0, 1, 7, 8, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
EDGES += [2**40, 2**53, 2**63 - 1, 2**63, 2**64 - 1]
NUMBERS = ["0", "1", "2", "3", "5", "8", "64", "100", "65536", "2147483647", "4294967296"]
NUMBERS += ["9" * 18, "1" + "0" * 40, "-1", "-0.5", "0.25", "1e999", "nan", "9" * 5000]
VALUES = ["null", "true", "[]", "{}", '""', '"text"', "[1, 2]", "[" * 3000]
INJURIES = (
    "bits",
    "run",
    "cut",
    "repeat",
    "remove",
    "move",
    "splice",
    "length",
    "length",
    "number",
)
IN_TEXT = ("number", "number", "number", "word", "word", "line", "line", "bits", "cut", "splice")


def mutant(
    content: bytes, other: bytes, lengths: Lengths | None, rng: np.random.Generator
) -> bytes:
    """One to three injuries to `content`; `other` is what it may be spliced with.

    Without `lengths` it is a text, and mostly its numbers, words and lines are exchanged.
    """
    places = lengths(content) if lengths else []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        injury = rng.choice(INJURIES if lengths else IN_TEXT)
        if injury == "length" and places:
            content = _with_length(content, *places[int(rng.integers(len(places)))], rng)
        elif injury in ("number", "word", "line"):
            content = _with_word(content, str(injury), rng)
        else:
            content = _with_block(content, other, str(injury), rng)
    return content


def _with_block(content: bytes, other: bytes, injury: str, rng: np.random.Generator) -> bytes:
    size = max(1, len(content))
    # Half of all injuries hit the first quarter, where structure is.
    start = int(rng.integers(size if rng.random() < 0.5 else size // 4 + 1))
    end = int(min(start + rng.geometric(0.05), size))
    before, block, after = content[:start], content[start:end], content[end:]
    if injury == "bits":
        flipped = bytearray(content)
        for place in rng.integers(start, size, int(rng.integers(1, 9))) if content else []:
            flipped[place] ^= 1 << int(rng.integers(8))
        return bytes(flipped)
    if injury == "run":
        noise = (rng.bytes(len(block)), bytes(len(block)), b"\xff" * len(block))
        return before + noise[int(rng.integers(3))] + after
    if injury == "cut":
        return before
    if injury == "repeat":
        return before + block * int(rng.integers(2, 5)) + after
    if injury == "move":
        place = int(rng.integers(size))
        return (before + after)[:place] + block + (before + after)[place:]
    if injury == "splice":
        return before + other[int(rng.integers(len(other))) :]
    return before + after


def _with_length(
    content: bytes, offset: int, width: int, order: str, rng: np.random.Generator
) -> bytes:
    old = int.from_bytes(content[offset : offset + width], order)
    new = [old + 1, old - 1, old * 2, old + int(rng.integers(-64, 64)), *EDGES]
    number = new[int(rng.integers(len(new)))] % 256**width
    return content[:offset] + number.to_bytes(width, order) + content[offset + width :]


def _with_word(content: bytes, injury: str, rng: np.random.Generator) -> bytes:
    """One number, word or line gives way to another one, of those that are there or that hurt."""
    pattern = {"number": rb"\d+", "word": rb"[A-Za-z_]{2,}", "line": rb"[^\n,]+"}[injury]
    found = list(re.finditer(pattern, content[: 1 << 16]))
    if not found:
        return content
    match = found[int(rng.integers(len(found)))]
    spares = [value.encode() for value in (NUMBERS if injury == "number" else VALUES)]
    if rng.random() < 0.7:
        spares = [other.group() for other in found] + spares[:3]
    spare = spares[int(rng.integers(len(spares)))]
    return content[: match.start()] + spare + content[match.end() :]


def in_mp4(content: bytes) -> list[tuple[int, int, str]]:
    """Sizes of boxes, and the counts and first entries of the tables in them."""
    return [place for place in _boxes(content, 0, len(content)) if place[0] + 4 <= len(content)]


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    while start + 8 <= end:
        size = int.from_bytes(content[start : start + 4], "big")
        name = content[start + 4 : start + 8]
        yield start, 4, "big"
        if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta"):
            yield from _boxes(content, start + 8, min(end, start + size))
        elif name != b"mdat":
            yield from ((start + offset, 4, "big") for offset in range(12, min(size, 64), 4))
        start += max(8, size)


def in_ebml(content: bytes) -> list[tuple[int, int, str]]:
    """Sizes of Matroska's elements, and small numbers in them."""
    return list(_elements(content, 0, len(content)))


def _elements(content: bytes, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    masters = {"1a45dfa3", "18538067", "1549a966", "1654ae6b", "ae", "e0", "1f43b675", "1254c367"}
    while start + 2 <= end and content[start]:
        width = 9 - content[start].bit_length()
        at = start + width
        if at >= end or not content[at]:
            return
        size_width = 9 - content[at].bit_length()
        size = int.from_bytes(content[at : at + size_width], "big") & (1 << 7 * size_width) - 1
        yield at, size_width, "big"
        inside = at + size_width
        if content[start:at].hex() in masters:
            yield from _elements(content, inside, min(end, inside + size))
        elif 0 < size <= 8:
            yield inside, size, "big"
        start = inside + size


def in_riff(content: bytes) -> list[tuple[int, int, str]]:
    """Sizes of an AVI's or WebP's chunks, and the numbers of its headers."""
    names = rb"RIFF|LIST|avih|strh|strf|00dc|idx1|VP8 |VP8L|VP8X"
    places = [(match.end(), 4, "little") for match in re.finditer(names, content)]
    head = content.find(b"avih")
    numbers = range(head + 8, head + 180, 4) if head >= 0 else ()
    return places + [(place, 4, "little") for place in numbers]


def in_png(content: bytes) -> list[tuple[int, int, str]]:
    """Lengths of chunks, and the picture's size."""
    return [(start, 4, "big") for start, _ in _chunks(content)] + [(16, 4, "big"), (20, 4, "big")]


def _chunks(content: bytes) -> Iterator[tuple[int, int]]:
    start = 8
    while start + 12 <= len(content):
        length = int.from_bytes(content[start : start + 4], "big")
        yield start, length
        start += 12 + length


def with_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what is in them, as one made in bad faith would."""
    mended = bytearray(content)
    for start, length in _chunks(content):
        end = start + 8 + length
        if end + 4 <= len(content):
            mended[end : end + 4] = struct.pack(">I", zlib.crc32(content[start + 4 : end]))
    return bytes(mended)


def in_jpeg(content: bytes) -> list[tuple[int, int, str]]:
    """Lengths of segments, and what follows them: sizes, tables, components."""
    found = [match.end() for match in re.finditer(rb"\xff[\xc0-\xfe]", content)]
    return [(at + more, 2, "big") for at in found for more in (0, 3, 5) if at + 7 < len(content)]


def in_gif(content: bytes) -> list[tuple[int, int, str]]:
    """The screen's size, and each picture's place and size."""
    found = [match.end() for match in re.finditer(rb"\x00\x2c", content)]
    places = [6, 8, *(at + more for at in found for more in (0, 2, 4, 6))]
    return [(place, 2, "little") for place in places if place + 2 <= len(content)]


def in_tiff(content: bytes) -> list[tuple[int, int, str]]:
    """Every number of the directory, which is all there is of structure."""
    start = int.from_bytes(content[4:8], "little")
    return [(place, 4, "little") for place in range(start + 2, len(content) - 4, 4)]


def in_bmp(content: bytes) -> list[tuple[int, int, str]]:
    return [(place, 4, "little") for place in range(2, min(54, len(content) - 4), 4)]


def in_zip(content: bytes) -> list[tuple[int, int, str]]:
    """Sizes and offsets of the entries: of a .pth or .npz."""
    places = []
    for name, fields in ((b"PK\3\4", (18, 22)), (b"PK\1\2", (20, 24, 42)), (b"PK\5\6", (12, 16))):
        for match in re.finditer(re.escape(name), content):
            places += [(match.start() + field, 4, "little") for field in fields]
    return [place for place in places if place[0] + 4 <= len(content)]
