"""PNG files: XMP in a text chunk of its own name, EXIF in a chunk of its own kind. Each chunk stands for itself."""

import struct
import zlib
from dataclasses import dataclass

from tagger.metadata.blocks import Blocks
from tagger.metadata.formats.refusing import ambiguous, broken, no_place, signed, too_large
from tagger.metadata.splices import Splice
from tagger.photos.containers import PNG_SIGNATURE
from tagger.photos.jpeg import SEGMENT_LIMIT

_KEYWORD = b"XML:com.adobe.xmp"
_XMP_HEAD = _KEYWORD + b"\0\0\0\0\0"
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_RAW_XMP = {b"Raw profile type xmp", b"Raw profile type APP1"}
_RAW_EXIF = {b"Raw profile type exif", b"Raw profile type APP1"}
_EXIF_PREFIX = b"Exif\0\0"
_LARGEST = 2**31 - 1
_KEYWORD_BYTES = 79
_UNPACKED_LIMIT = 16 * 2**20


@dataclass(frozen=True)
class _Chunk:
    kind: bytes
    start: int
    end: int
    keyword: bytes


def read_blocks(data: bytes) -> Blocks:
    """The XMP text and the EXIF chunk."""
    chunks = _chunks(data)
    xmp = [chunk for chunk in chunks if _is_xmp(chunk)]
    exif = [chunk for chunk in chunks if chunk.kind == b"eXIf"]
    return Blocks(
        xmp=_xmp(_content(data, xmp[0])) if xmp else None,
        exif=_content(data, exif[0]).removeprefix(_EXIF_PREFIX) if exif else None,
    )


def replace_blocks(data: bytes, wanted: Blocks) -> tuple[Splice, ...]:
    """The splices that make the blocks of a file the wanted ones."""
    chunks, held = _chunks(data), read_blocks(data)
    if wanted.iptc is not None:
        raise no_place("PNG files have no place for IPTC")
    changes = []
    if wanted.exif != held.exif:
        changes.append(_exif_change(data, chunks, wanted.exif))
    if wanted.xmp != held.xmp:
        changes.append(_xmp_change(chunks, wanted.xmp))
    if changes and any(chunk.kind == b"caBX" for chunk in chunks):
        raise signed()
    if len(changes) == 2 and changes[0].start == changes[0].end == changes[1].start == changes[1].end:
        return (Splice(changes[0].start, changes[0].end, changes[0].put + changes[1].put),)
    return tuple(sorted(changes, key=lambda change: (change.start, change.end)))


def _chunks(data: bytes) -> list[_Chunk]:
    """All chunks from the first to the end chunk; raises WriteRefused where they do not hold together."""
    chunks: list[_Chunk] = []
    at = len(PNG_SIGNATURE)
    while not chunks or chunks[-1].kind != b"IEND":
        if at + 12 > len(data) or len(chunks) >= SEGMENT_LIMIT:
            raise broken("its chunks do not come to an end")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if length > _LARGEST or end > len(data) or not kind.isalpha():
            raise broken(f"the chunk at byte {at} is no whole one")
        chunks.append(_Chunk(kind, at, end, _keyword(data, kind, at + 8, end - 4)))
        at = end
    kinds = [chunk.kind for chunk in chunks]
    if kinds[0] != b"IHDR" or b"IDAT" not in kinds:
        raise broken("there is no picture in it")
    return chunks


def _keyword(data: bytes, kind: bytes, start: int, end: int) -> bytes:
    if kind not in _TEXTS:
        return b""
    return data[start : min(end, start + _KEYWORD_BYTES + 1)].partition(b"\0")[0]


def _is_xmp(chunk: _Chunk) -> bool:
    return chunk.kind == b"iTXt" and chunk.keyword == _KEYWORD


def _content(data: bytes, chunk: _Chunk) -> bytes:
    content = data[chunk.start + 8 : chunk.end - 4]
    if zlib.crc32(chunk.kind + content) != int.from_bytes(data[chunk.end - 4 : chunk.end], "big"):
        raise broken(f"the checksum of the chunk at byte {chunk.start} is wrong")
    return content


def _xmp(content: bytes) -> bytes:
    """The packet behind keyword, compression, language and translated keyword."""
    flags, rest = content[len(_KEYWORD) + 1 : len(_KEYWORD) + 3], content[len(_KEYWORD) + 3 :]
    fields = rest.split(b"\0", 2)
    if len(fields) != 3 or flags not in (b"\0\0", b"\0\1", b"\1\0"):
        raise broken("the XMP chunk cannot be read")
    return _unpacked(fields[2]) if flags[0] else fields[2]


def _unpacked(packed: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(packed, _UNPACKED_LIMIT)
    except zlib.error as error:
        raise broken("the XMP chunk cannot be unpacked") from error
    if not unpacking.eof:
        raise broken("the XMP chunk cannot be unpacked as a whole")
    return unpacked


def _xmp_change(chunks: list[_Chunk], xmp: bytes | None) -> Splice:
    there = [chunk for chunk in chunks if _is_xmp(chunk)]
    if len(there) > 1 or any(chunk.keyword == _KEYWORD for chunk in chunks if chunk not in there):
        raise ambiguous("It has several XMP texts")
    if any(chunk.keyword in _RAW_XMP for chunk in chunks):
        raise ambiguous("It has XMP in the old form of a raw profile beside the present one")
    return _change(chunks, there, b"iTXt", None if xmp is None else _XMP_HEAD + xmp)


def _exif_change(data: bytes, chunks: list[_Chunk], exif: bytes | None) -> Splice:
    there = [chunk for chunk in chunks if chunk.kind == b"eXIf"]
    if len(there) > 1:
        raise ambiguous("It has several EXIF chunks")
    if any(chunk.keyword in _RAW_EXIF for chunk in chunks):
        raise ambiguous("It has EXIF in the old form of a raw profile beside the present one")
    prefixed = there and _content(data, there[0]).startswith(_EXIF_PREFIX)
    prefix = _EXIF_PREFIX if prefixed else b""
    return _change(chunks, there, b"eXIf", None if exif is None else prefix + exif)


def _change(chunks: list[_Chunk], there: list[_Chunk], kind: bytes, content: bytes | None) -> Splice:
    before = next(chunk.start for chunk in chunks if chunk.kind == b"IDAT")
    start, end = (there[0].start, there[0].end) if there else (before, before)
    if content is None:
        return Splice(start, end, b"")
    if len(content) > _LARGEST:
        raise too_large("The photo's metadata would be larger than a PNG chunk holds, which is 2 GB")
    checksum = zlib.crc32(kind + content)
    return Splice(start, end, struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum))
