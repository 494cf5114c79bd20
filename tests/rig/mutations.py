"""Random damage to photo files: flipped bits, missing ends, odd numbers, repeated and exchanged parts.

The same random state damages a file in the same way. Knows no reader, and of layouts only PNG's checksums.
"""

import random
import struct
import zlib
from collections.abc import Callable, Sequence

_PNG = b"\x89PNG\r\n\x1a\n"
_ODD_NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_FRONT_BYTES = 512  # Headers, sizes and metadata of small photos are there


def broken(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """The file with one to four random kinds of damage, half of them near its beginning."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        size = rng.choice((len(data), min(len(data), _FRONT_BYTES)))
        if size:
            data = rng.choice(_WAYS)(data, rng.randrange(size), others, rng)
    # Decoders stop at a wrong checksum; correct ones let them reach the damage behind it.
    return _with_checksums(data) if data.startswith(_PNG) and rng.random() < 0.8 else data


def _flip_bits(data: bytes, at: int, _others: Sequence[bytes], rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[min(at + rng.randrange(64), len(data) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _set_bytes(data: bytes, at: int, _others: Sequence[bytes], rng: random.Random) -> bytes:
    length = rng.choice((1, 2, 4, 16, 300))
    value = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    return data[:at] + value + data[at + length :]


def _odd_number(data: bytes, at: int, _others: Sequence[bytes], rng: random.Random) -> bytes:
    width = rng.choice((1, 2, 4))
    number: int = rng.choice(_ODD_NUMBERS) % 256**width
    return data[:at] + number.to_bytes(width, rng.choice(("big", "little"))) + data[at + width :]


def _truncate(data: bytes, at: int, _others: Sequence[bytes], _rng: random.Random) -> bytes:
    return data[:at]


def _insert(data: bytes, at: int, _others: Sequence[bytes], rng: random.Random) -> bytes:
    return data[:at] + rng.randbytes(rng.choice((1, 2, 3, 50, 5000))) + data[at:]


def _delete(data: bytes, at: int, _others: Sequence[bytes], rng: random.Random) -> bytes:
    return data[:at] + data[at + rng.choice((1, 2, 4, 100, 4096)) :]


def _repeat(data: bytes, at: int, _others: Sequence[bytes], rng: random.Random) -> bytes:
    length = rng.choice((2, 12, 100, 4096))
    return data[:at] + data[at : at + length] * rng.choice((2, 3, 50)) + data[at + length :]


def _splice(data: bytes, at: int, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others) if others else data
    return data[:at] + other[rng.randrange(len(other) or 1) :]


_WAYS: tuple[Callable[[bytes, int, Sequence[bytes], random.Random], bytes], ...] = (
    *(_flip_bits, _flip_bits, _set_bytes, _odd_number, _odd_number, _odd_number),
    *(_truncate, _insert, _delete, _repeat, _splice),
)


def _with_checksums(data: bytes) -> bytes:
    changed, at = bytearray(data), len(_PNG)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end <= len(data):
            changed[end - 4 : end] = struct.pack(">I", zlib.crc32(data[at + 4 : end - 4]))
        at = end
    return bytes(changed)
