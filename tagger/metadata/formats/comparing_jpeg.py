"""A JPEG file in pieces for comparing: its segments without blocks, the index of its images by what it points to, and
everything from the first scan on, trailer included, as one piece.
"""

import hashlib
import struct
from typing import TypeAlias

Pieces: TypeAlias = list[tuple[str, object]]

_SOS, _APP2 = 0xDA, 0xE2
_SEGMENT_LIMIT = 200_000
_IPTC, _IPTC_DIGEST = b"\x04\x04", b"\x04\x25"
_MP_ENTRIES = 0xB002


def both_in_pieces(before: bytes, after: bytes) -> tuple[Pieces | None, Pieces | None]:
    """None where the segments ahead of the picture do not hold together.

    The size of the first image, which many programs get wrong, has to follow its image only where it was right before.
    """
    follows = any(_first_reaches_its_end(before, *segment) for segment in _head(before) or [])
    return _pieces(before, follows=follows), _pieces(after, follows=follows)


def _first_reaches_its_end(data: bytes, marker: int, start: int, end: int) -> bool:
    block = data[start + 8 : end]
    entries = _mp_entries(block) if marker == _APP2 and data[start + 4 : start + 8] == b"MPF\0" else []
    if not entries:
        return False
    scan = (_head(data) or [(0, 0, 0)])[-1][1]
    size, offset = _size_and_offset(block, entries[0])
    return offset == 0 and data.find(b"\xff\xd9", scan) + 2 <= size <= len(data)


def _size_and_offset(block: bytes | bytearray, at: int) -> tuple[int, int]:
    size, offset = struct.unpack_from(("<" if block[:2] == b"II" else ">") + "II", block, at + 4)
    return size, offset


def _pieces(data: bytes, *, follows: bool) -> Pieces | None:
    segments = _head(data)
    if segments is None:
        return None
    scan = segments.pop()[1]
    pieces: Pieces = []
    blocks: dict[bytes, bytes] = {}
    for marker, start, end in segments:
        payload = data[start + 4 : end]
        block = _block(marker, payload)
        if block and block not in blocks:
            blocks[block] = payload
        elif marker == 0xED and payload.startswith(b"Photoshop 3.0\0"):
            pieces += _resources(payload[14:], blocks)
        elif marker == _APP2 and payload.startswith(b"MPF\0"):
            pieces += _index(data[start + 8 : end], scan - start - 8, scan if follows else None)
        else:
            pieces.append((f"the JPEG segment {marker:02X}", payload))
    return [
        *pieces,
        ("the digest of IPTC", _digest(blocks)),
        ("the picture, or what follows it", data[scan:]),
    ]


def _head(data: bytes) -> list[tuple[int, int, int]] | None:
    """(marker, start, end) up to the first scan, which comes last."""
    found: list[tuple[int, int, int]] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and len(found) < _SEGMENT_LIMIT:
        marker = data[at + 1]
        length = (data[at + 2] << 8) + data[at + 3]
        if marker == 0xFF:
            at += 1
            continue
        found.append((marker, at, at + 2 + length))
        if marker == _SOS:
            return found
        if length < 2:
            return None
        at += 2 + length
    return None


def _block(marker: int, payload: bytes) -> bytes | None:
    names = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0")
    return next((name for name in names if marker == 0xE1 and payload.startswith(name)), None)


def _resources(payload: bytes, blocks: dict[bytes, bytes]) -> Pieces:
    """Photoshop's resources without the first of IPTC and of its digest."""
    pieces: Pieces = []
    at = 0
    while at + 12 <= len(payload) and payload[at : at + 4].isalnum():
        value_size_at = at + 6 + ((payload[at + 6] + 2) & ~1)
        start = value_size_at + 4
        end = start + int.from_bytes(payload[value_size_at:start], "big")
        if end > len(payload):
            break
        number = payload[at + 4 : at + 6]
        if number in (_IPTC, _IPTC_DIGEST) and number not in blocks:
            blocks[number] = payload[start:end]
            if payload[at:value_size_at] != b"8BIM" + number + b"\0\0":
                pieces.append(
                    (f"the name of the Photoshop resource {number.hex()}", payload[at:value_size_at])
                )
        else:
            pieces.append((f"the Photoshop resource {number.hex()}", (payload[at:start], payload[start:end])))
        at = end + (end - start) % 2
    return [*pieces, ("the end of the Photoshop resources", payload[at:])] if payload[at:] else pieces


def _digest(blocks: dict[bytes, bytes]) -> bytes | None:
    """The digest of IPTC, or b"right" where it is: then it follows IPTC. A wrong one says something and stays."""
    digest = blocks.get(_IPTC_DIGEST)
    right = hashlib.md5(blocks.get(_IPTC, b""), usedforsecurity=False).digest()
    return b"right" if digest == right else digest


def _index(block: bytes, scan: int, first_scan: int | None) -> Pieces:
    """The index of images with every number replaced by what it reaches, counted from the first scan.

    As all bytes from there on are compared too, the same distance reaches the same image. `scan` is how far behind the
    index the first scan begins; `first_scan` how far behind the start of the first image, if its size follows it.
    """
    rest = bytearray(block)
    entries = _mp_entries(block)
    reached: list[tuple[str, int, int]] = []
    for at in entries:
        size, offset = _size_and_offset(block, at)
        if offset == 0 and at == entries[0] and first_scan is not None:
            reached.append(("first", size - first_scan, 0))
            rest[at + 4 : at + 8] = bytes(4)
        elif offset and size:
            reached.append(("image", size, offset - scan))
            rest[at + 8 : at + 12] = bytes(4)
    return [("the images that follow the first", reached), ("the index of images", bytes(rest))]


def _mp_entries(block: bytes) -> list[int]:
    """Where each image's entry stands in the block; none where the index cannot be read."""
    if len(block) < 8 or block[:2] not in (b"II", b"MM"):
        return []
    order = "<" if block[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", block, 4)
    if first + 2 > len(block):
        return []
    (count,) = struct.unpack_from(order + "H", block, first)
    for at in range(first + 2, min(first + 2 + 12 * count, len(block) - 11), 12):
        tag, _, size, start = struct.unpack_from(order + "HHII", block, at)
        if tag == _MP_ENTRIES and start + size <= len(block):
            return list(range(start, start + size - 15, 16))
    return []
