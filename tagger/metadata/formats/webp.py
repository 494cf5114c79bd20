"""WebP files: XMP and EXIF are chunks after the image. Flags in the extended header announce them; simple files lack it."""

import struct
from dataclasses import dataclass

from tagger.metadata.splices import (
    Blocks,
    Splice,
    ambiguous_blocks,
    broken_structure,
    in_order,
    signed_file,
    too_large,
    unsupported_block,
)
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
    """`stop` is where the content ends, `end` where the next chunk starts, one byte later if there is padding."""

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
    """Read the XMP and EXIF chunks."""
    riff = _read(data)
    xmp, exif = riff.of(_XMP), riff.of(_EXIF)
    return Blocks(
        xmp=_content(data, xmp[0]) if xmp else None,
        exif=_content(data, exif[0]).removeprefix(_EXIF_PREFIX) if exif else None,
    )


def replace_blocks(data: bytes, new: Blocks) -> tuple[Splice, ...]:
    """Return the splices that give the file these blocks."""
    riff, current = _read(data), read_blocks(data)
    if new.iptc is not None:
        raise unsupported_block("WebP files cannot hold IPTC")
    new_contents = {}
    if new.exif != current.exif:
        has_prefix = any(_content(data, chunk).startswith(_EXIF_PREFIX) for chunk in riff.of(_EXIF))
        prefix = _EXIF_PREFIX if has_prefix else b""
        new_contents[_EXIF] = None if new.exif is None else prefix + new.exif
    if new.xmp != current.xmp:
        new_contents[_XMP] = new.xmp
    if not new_contents:
        return ()
    if riff.of(_SIGNED):
        raise signed_file()
    return _with_size(riff, [_header_change(data, riff, new_contents), *_chunk_changes(riff, new_contents)])


def _read(data: bytes) -> _Riff:
    """The chunks in the RIFF container; raises WriteRefused if the file is broken."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise broken_structure("it is cut off")
    chunks: list[_Chunk] = []
    at = _HEAD_BYTES
    while at < end:
        if at + 8 > end or len(chunks) >= SEGMENT_LIMIT:
            raise broken_structure(f"the chunk at byte {at} is incomplete")
        kind, length = struct.unpack_from("<4sI", data, at)
        stop = at + 8 + length
        if stop > end:
            raise broken_structure(f"the chunk at byte {at} is incomplete")
        # The last chunk may lack its padding.
        next_start = min(stop + length % 2, end)
        chunks.append(_Chunk(kind, at, stop, next_start))
        at = next_start
    if not chunks or chunks[0].kind not in (_EXTENDED, _LOSSY, _LOSSLESS):
        raise broken_structure("it holds no image")
    if chunks[0].kind == _EXTENDED and chunks[0].stop - chunks[0].start - 8 != _EXTENDED_BYTES:
        raise broken_structure("its header has an invalid size")
    return _Riff(tuple(chunks), end)


def _content(data: bytes, chunk: _Chunk) -> bytes:
    return data[chunk.start + 8 : chunk.stop]


def _header_change(data: bytes, riff: _Riff, new_contents: dict[bytes, bytes | None]) -> Splice:
    """Change the flags of the extended header, or insert a header before a simple file's image."""
    first = riff.chunks[0]
    simple = first.kind != _EXTENDED
    at = first.start if simple else first.start + 8
    header = _new_header(_content(data, first), first.kind) if simple else _content(data, first)
    flags = header[0]
    for kind, content in new_contents.items():
        flags = flags & ~_FLAGS[kind] if content is None else flags | _FLAGS[kind]
    if simple:
        return Splice(at, at, _pack_chunk(_EXTENDED, bytes([flags]) + header[1:]))
    return Splice(at, at + 1, bytes([flags]))


def _new_header(image: bytes, kind: bytes) -> bytes:
    """An extended header with the image's own size and transparency, without metadata flags."""
    flags = 0
    if kind == _LOSSY and image[3:6] == b"\x9d\x01\x2a" and len(image) >= 10:
        width, height = _number(image[6:8]) & 0x3FFF, _number(image[8:10]) & 0x3FFF
    elif kind == _LOSSLESS and image[:1] == b"\x2f" and len(image) >= 5:
        bits = _number(image[1:5])
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags = _ALPHA if bits >> 28 & 1 else 0
    else:
        raise broken_structure("the image does not state its size")
    if not width or not height:
        raise broken_structure("the image has no size")
    return bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _chunk_changes(riff: _Riff, new_contents: dict[bytes, bytes | None]) -> list[Splice]:
    """Replace existing chunks. New chunks go to the end, EXIF before XMP."""
    changes = []
    for kind, content in new_contents.items():
        existing = riff.of(kind)
        if len(existing) > 1:
            raise ambiguous_blocks(f"It has several {kind.decode().strip()} chunks")
        packed = b"" if content is None else _pack_chunk(kind, content)
        xmp = riff.of(_XMP) if kind == _EXIF else []
        new_at = xmp[0].start if xmp else riff.end
        start, end = (existing[0].start, existing[0].end) if existing else (new_at, new_at)
        changes.append(Splice(start, end, packed))
    return changes


def _with_size(riff: _Riff, changes: list[Splice]) -> tuple[Splice, ...]:
    """Sort the changes, add the padding that the last chunk may lack, and update the container's size."""
    last = riff.chunks[-1]
    replaced = any(change.start == last.start for change in changes[1:])
    if (last.end - last.start) % 2 and not replaced and any(change.start == riff.end for change in changes):
        changes = [Splice(riff.end, riff.end, b"\0"), *changes]
    changes = in_order(changes)
    size = riff.end - 8 + sum(change.growth for change in changes)
    if size > _LARGEST:
        raise too_large("The file would exceed the 4 GB of a WebP file")
    return (Splice(4, 8, struct.pack("<I", size)), *changes)


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def _pack_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
