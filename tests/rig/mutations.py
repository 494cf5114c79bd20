"""Random damage to photo files: flipped bits, missing ends, wrong lengths, repeated parts, invalid metadata.

The same random state damages a file in the same way. Knows the layout of containers, but no reader.
"""

import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .containers import png_chunk, riff_chunk

ByteOrder = Literal["big", "little"]


@dataclass(frozen=True)
class Piece:
    """A part of a file, with its length at `length_at` in `width` bytes in this `order`."""

    start: int
    end: int
    length_at: int
    width: int
    order: ByteOrder


def broken(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """The file with one to four random kinds of damage."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        if data:
            data = rng.choice(_WAYS)(data, others, rng)
    # Decoders stop at a wrong checksum; correct ones let them reach the damage behind it.
    return _with_checksums(data) if data.startswith(_PNG) and rng.random() < 0.8 else data


def with_other_metadata(data: bytes, rng: random.Random) -> bytes | None:
    """The same image with added metadata; None for a container that this module cannot write."""
    text = bytes(rng.choices(range(256), k=rng.randrange(1, 200)))
    if data.startswith(b"\xff\xd8\xff"):
        kind, head = rng.choice(((0xE1, _XMP_HEAD), (0xED, b"Photoshop 3.0\0"), (0xFE, b""), (0xE5, b"")))
        return data[:2] + struct.pack(">BBH", 0xFF, kind, len(head + text) + 2) + head + text + data[2:]
    if data.startswith(_PNG):
        at = rng.choice((33, data.rfind(b"IEND") - 4))
        return data[:at] + png_chunk(rng.choice((b"tEXt", b"tIME", b"prVt")), text) + data[at:]
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        chunk = riff_chunk(b"XMP ", text)
        body = data[8:] + bytes(len(data) % 2) + chunk
        return b"RIFF" + struct.pack("<I", len(body)) + body
    return None


def pieces_of(data: bytes) -> list[Piece]:
    """The segments, chunks, boxes or tags of a file, up to the first that is invalid."""
    walk = _jpeg if data.startswith(b"\xff\xd8") else _png if data.startswith(_PNG) else None
    if walk is None and data[:4] == b"RIFF":
        walk = _riff
    if walk is None and data[4:8] == b"ftyp":
        walk = _boxes
    if walk is None and data[:2] in (b"II", b"MM"):
        walk = _tiff
    return list(walk(data)) if walk else []


_PNG = b"\x89PNG\r\n\x1a\n"
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_PIECES_LIMIT = 2000
_ODD_NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_METADATA = (
    b"Exif\0\0",
    b"II*\0",
    b"MM\0*",
    b"acsp",
    b"EXIF",
    b"xmpmeta",
    b"colr",
    b"ispe",
    b"Adobe\0",
    b"gAMA",
    b"PLTE",
)
_SIZES = (b"\xff\xc0", b"\xff\xc2", b"IHDR", b"VP8X", b"VP8 ", b"BM", b"ispe")


def _flip_bits(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _flip_in_front(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    return _flip_bits(data[:512], (), rng) + data[512:]


def _set_bytes(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    at, length = rng.randrange(len(data)), rng.choice((1, 2, 4, 16, 300))
    value = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    return data[:at] + value + data[at + length :]


def _truncate(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    return data[: rng.choice((rng.randrange(len(data)), rng.randrange(min(len(data), 700)), len(data) - 1))]


def _insert(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 2, 3, 50, 5000))) + data[at:]


def _delete(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 2, 4, 100, 4096)) :]


def _repeat(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    at, length = rng.randrange(len(data)), rng.choice((2, 12, 100, 4096))
    return data[:at] + data[at : at + length] * rng.choice((2, 3, 50)) + data[at + length :]


def _splice(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others) if others else data
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other) or 1) :]


def _garbage_behind(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    tails = (bytes(1000), rng.randbytes(1000), b"\xff" * 1000, rng.choice(others) if others else data)
    return data + rng.choice(tails)


def _lie_about_length(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    pieces = pieces_of(data)
    if not pieces:
        return _odd_number(data, (), rng)
    piece = rng.choice(pieces)
    at, width = piece.length_at, piece.width
    length = int.from_bytes(data[at : at + width], piece.order)
    wrong_length: int = (
        rng.choice((*_ODD_NUMBERS, length + 1, length - 1, length * 2, length // 2)) % 256**width
    )
    return data[:at] + wrong_length.to_bytes(width, piece.order) + data[at + width :]


def _piece_twice(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    pieces = pieces_of(data)
    if not pieces:
        return _repeat(data, (), rng)
    piece, target = rng.choice(pieces), rng.choice(pieces)
    return (
        data[: target.start] + data[piece.start : piece.end] * rng.choice((1, 1, 30)) + data[target.start :]
    )


def _piece_missing(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    pieces = pieces_of(data)
    if not pieces:
        return _delete(data, (), rng)
    piece = rng.choice(pieces)
    return data[: piece.start] + data[piece.end :]


def _odd_number(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    at, width = rng.randrange(len(data)), rng.choice((1, 2, 4))
    number: int = rng.choice(_ODD_NUMBERS) % 256**width
    return data[:at] + number.to_bytes(width, rng.choice(("big", "little"))) + data[at + width :]


def _near(data: bytes, marks: Sequence[bytes], reach: int, rng: random.Random) -> bytes:
    """Damage the bytes after one of the marks that the file contains."""
    offsets = [at for mark in marks if (at := data.find(mark)) >= 0]
    if not offsets:
        return _flip_in_front(data, (), rng)
    at = rng.choice(offsets)
    damage = rng.choice((_flip_bits, _odd_number, _set_bytes))
    return data[:at] + damage(data[at : at + reach], (), rng)[:reach].ljust(reach, b"\0") + data[at + reach :]


def _nonsense_in_metadata(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    return _near(data, _METADATA, rng.choice((20, 60, 400)), rng)


def _nonsense_in_sizes(data: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    return _near(data, _SIZES, 24, rng)


_WAYS: tuple[Callable[[bytes, Sequence[bytes], random.Random], bytes], ...] = (
    _flip_bits,
    _flip_in_front,
    _set_bytes,
    _truncate,
    _insert,
    _delete,
    _repeat,
    _splice,
    _garbage_behind,
    _lie_about_length,
    _lie_about_length,
    _piece_twice,
    _piece_missing,
    _odd_number,
    _nonsense_in_metadata,
    _nonsense_in_metadata,
    _nonsense_in_sizes,
)


def _jpeg(data: bytes) -> Iterator[Piece]:
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        if data[at + 1] in (0x00, 0x01, 0xFF, *range(0xD0, 0xDA)):
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield Piece(at, end, at + 2, 2, "big")
        at = max(end, at + 4)


def _png(data: bytes) -> Iterator[Piece]:
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        yield Piece(at, end, at, 4, "big")
        at = end


def _riff(data: bytes) -> Iterator[Piece]:
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield Piece(at, at + 8 + length, at + 4, 4, "little")
        at += 8 + length + length % 2


def _boxes(data: bytes, at: int = 0, end: int | None = None) -> Iterator[Piece]:
    end = len(data) if end is None else end
    while at + 8 <= end:
        length = max(int.from_bytes(data[at : at + 4], "big"), 8)
        yield Piece(at, at + length, at, 4, "big")
        inner = {b"meta": 12, b"iprp": 8, b"ipco": 8, b"moov": 8, b"trak": 8}.get(data[at + 4 : at + 8])
        if inner and at + length <= end:
            yield from _boxes(data, at + inner, at + length)
        at += length


def _tiff(data: bytes) -> Iterator[Piece]:
    order: ByteOrder = "little" if data.startswith(b"II") else "big"
    at = int.from_bytes(data[4:8], order)
    count = int.from_bytes(data[at : at + 2], order)
    for entry in range(at + 2, at + 2 + 12 * min(count, _PIECES_LIMIT), 12):
        yield Piece(entry, entry + 12, entry + 4, 4, order)
        yield Piece(entry, entry + 12, entry + 8, 4, order)


def _with_checksums(data: bytes) -> bytes:
    changed = bytearray(data)
    for piece in pieces_of(data):
        if piece.end <= len(data):
            checksum = struct.pack(">I", zlib.crc32(data[piece.start + 4 : piece.end - 4]))
            changed[piece.end - 4 : piece.end] = checksum
    return bytes(changed)
