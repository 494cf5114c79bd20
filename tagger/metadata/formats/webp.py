"""WebP files: XMP and EXIF in chunks behind the picture, announced by flags in a header that simple files lack."""

import struct
from dataclasses import dataclass

from tagger.metadata.blocks import Blocks
from tagger.metadata.formats.refusing import ambiguous, broken, no_place, signed, too_large
from tagger.metadata.splices import Splice
from tagger.photos.jpeg import SEGMENT_LIMIT

_HEAD_BYTES = 12
_EXTENDED, _LOSSY, _LOSSLESS, _EXIF, _XMP, _SIGNED = b"VP8X", b"VP8 ", b"VP8L", b"EXIF", b"XMP ", b"C2PA"
_FLAGS = {_EXIF: 0x08, _XMP: 0x04}
_ALPHA = 0x10
_EXTENDED_BYTES = 10
_EXIF_PREFIX = b"Exif\0\0"
_LARGEST = 2**32 - 10


@dataclass(frozen=True)
class _Chunk:
    """`end` is where the next one begins; `stop` where the content ends, a byte ahead of it if there is padding."""

    kind: bytes
    start: int
    stop: int
    end: int


@dataclass(frozen=True)
class _Riff:
    chunks: tuple[_Chunk, ...]
    end: int

    def of(self, kind: bytes) -> list[_Chunk]:
        return [chunk for chunk in self.chunks if chunk.kind == kind]


def read_blocks(data: bytes) -> Blocks:
    """The XMP and EXIF chunks."""
    riff = _read(data)
    xmp, exif = riff.of(_XMP), riff.of(_EXIF)
    return Blocks(
        xmp=_content(data, xmp[0]) if xmp else None,
        exif=_content(data, exif[0]).removeprefix(_EXIF_PREFIX) if exif else None,
    )


def replace_blocks(data: bytes, wanted: Blocks) -> tuple[Splice, ...]:
    """The splices that make the blocks of a file the wanted ones."""
    riff, held = _read(data), read_blocks(data)
    if wanted.iptc is not None:
        raise no_place("WebP files have no place for IPTC")
    changed = {}
    if wanted.exif != held.exif:
        changed[_EXIF] = None if wanted.exif is None else _exif_prefix(data, riff) + wanted.exif
    if wanted.xmp != held.xmp:
        changed[_XMP] = wanted.xmp
    if not changed:
        return ()
    if riff.of(_SIGNED):
        raise signed()
    return _with_size(riff, [_header_change(data, riff, changed), *_chunk_changes(riff, changed)])


def _read(data: bytes) -> _Riff:
    """The chunks within the RIFF; raises WriteRefused where they do not hold together."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise broken("it is cut off")
    chunks: list[_Chunk] = []
    at = _HEAD_BYTES
    while at < end:
        if at + 8 > end or len(chunks) >= SEGMENT_LIMIT:
            raise broken(f"there is no whole chunk at byte {at}")
        kind, length = struct.unpack_from("<4sI", data, at)
        stop = at + 8 + length
        if stop > end:
            raise broken(f"there is no whole chunk at byte {at}")
        # The last chunk may lack its padding.
        following = min(stop + length % 2, end)
        chunks.append(_Chunk(kind, at, stop, following))
        at = following
    if not chunks or chunks[0].kind not in (_EXTENDED, _LOSSY, _LOSSLESS):
        raise broken("there is no picture in it")
    if chunks[0].kind == _EXTENDED and chunks[0].stop - chunks[0].start - 8 != _EXTENDED_BYTES:
        raise broken("its header has an odd size")
    return _Riff(tuple(chunks), end)


def _content(data: bytes, chunk: _Chunk) -> bytes:
    return data[chunk.start + 8 : chunk.stop]


def _exif_prefix(data: bytes, riff: _Riff) -> bytes:
    there = riff.of(_EXIF)
    prefixed = there and _content(data, there[0]).startswith(_EXIF_PREFIX)
    return _EXIF_PREFIX if prefixed else b""


def _header_change(data: bytes, riff: _Riff, changed: dict[bytes, bytes | None]) -> Splice:
    """The flags of the extended header, or all of it ahead of a simple file's picture."""
    first = riff.chunks[0]
    simple = first.kind != _EXTENDED
    at = first.start if simple else first.start + 8
    header = _new_header(_content(data, first), first.kind) if simple else _content(data, first)
    flags = header[0]
    for kind, content in changed.items():
        flags = flags & ~_FLAGS[kind] if content is None else flags | _FLAGS[kind]
    if simple:
        return Splice(at, at, _chunk(_EXTENDED, bytes([flags]) + header[1:]))
    return Splice(at, at + 1, bytes([flags]))


def _new_header(picture: bytes, kind: bytes) -> bytes:
    """An extended header without flags of metadata, for the size and transparency that the picture says itself."""
    flags = 0
    if kind == _LOSSY and picture[3:6] == b"\x9d\x01\x2a" and len(picture) >= 10:
        width, height = _number(picture[6:8]) & 0x3FFF, _number(picture[8:10]) & 0x3FFF
    elif kind == _LOSSLESS and picture[:1] == b"\x2f" and len(picture) >= 5:
        bits = _number(picture[1:5])
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags = _ALPHA if bits >> 28 & 1 else 0
    else:
        raise broken("the picture does not say how large it is")
    if not width or not height:
        raise broken("the picture has no size")
    return bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _chunk_changes(riff: _Riff, changed: dict[bytes, bytes | None]) -> list[Splice]:
    """EXIF ahead of XMP, new ones behind everything else."""
    changes = []
    for kind, content in changed.items():
        there = riff.of(kind)
        if len(there) > 1:
            raise ambiguous(f"It has several {kind.decode().strip()} chunks")
        put = b"" if content is None else _chunk(kind, content)
        xmp = riff.of(_XMP) if kind == _EXIF else []
        new_at = xmp[0].start if xmp else riff.end
        start, end = (there[0].start, there[0].end) if there else (new_at, new_at)
        changes.append(Splice(start, end, put))
    return changes


def _with_size(riff: _Riff, changes: list[Splice]) -> tuple[Splice, ...]:
    """The changes in order, with the padding a last chunk lacked, and the size of the whole put right."""
    last = riff.chunks[-1]
    replaced = any(change.start == last.start for change in changes[1:])
    if (last.end - last.start) % 2 and not replaced and any(change.start == riff.end for change in changes):
        changes = [Splice(riff.end, riff.end, b"\0"), *changes]
    changes = _merged(changes)
    size = riff.end - 8 + sum(len(change.put) - (change.end - change.start) for change in changes)
    if size > _LARGEST:
        raise too_large("The file would be larger than a WebP file can be, which is 4 GB")
    return (Splice(4, 8, struct.pack("<I", size)), *changes)


def _merged(changes: list[Splice]) -> list[Splice]:
    """In the order of the file; what is inserted at one place in the order given becomes one splice."""
    ordered: list[Splice] = []
    for change in sorted(changes, key=lambda change: (change.start, change.end)):
        if ordered and ordered[-1].end == change.start:
            last = ordered.pop()
            ordered.append(Splice(last.start, change.end, last.put + change.put))
        else:
            ordered.append(change)
    return ordered


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
