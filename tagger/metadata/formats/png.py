"""PNG files: XMP is an iTXt chunk with a reserved keyword, EXIF an eXIf chunk. No chunk depends on another's offset."""

import struct
import zlib
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
from tagger.photos.formats import PNG_SIGNATURE
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
    """Read the XMP text and the EXIF chunk."""
    chunks = _chunks(data)
    xmp = [chunk for chunk in chunks if _is_xmp(chunk)]
    exif = [chunk for chunk in chunks if chunk.kind == b"eXIf"]
    return Blocks(
        xmp=_xmp(_content(data, xmp[0])) if xmp else None,
        exif=_content(data, exif[0]).removeprefix(_EXIF_PREFIX) if exif else None,
    )


def replace_blocks(data: bytes, new: Blocks) -> tuple[Splice, ...]:
    """Return the splices that give the file these blocks."""
    chunks, current = _chunks(data), read_blocks(data)
    if new.iptc is not None:
        raise unsupported_block("PNG files cannot hold IPTC")
    changes = []
    if new.exif != current.exif:
        changes.append(_exif_change(data, chunks, new.exif))
    if new.xmp != current.xmp:
        changes.append(_xmp_change(chunks, new.xmp))
    if changes and any(chunk.kind == b"caBX" for chunk in chunks):
        raise signed_file()
    return tuple(in_order(changes))


def _chunks(data: bytes) -> list[_Chunk]:
    """All chunks up to the end chunk; raises WriteRefused if the file is broken."""
    chunks: list[_Chunk] = []
    at = len(PNG_SIGNATURE)
    while not chunks or chunks[-1].kind != b"IEND":
        if at + 12 > len(data) or len(chunks) >= SEGMENT_LIMIT:
            raise broken_structure("it has no end chunk")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if length > _LARGEST or end > len(data) or not kind.isalpha():
            raise broken_structure(f"the chunk at byte {at} is incomplete")
        head = data[at + 8 : min(end - 4, at + 8 + _KEYWORD_BYTES + 1)] if kind in _TEXTS else b""
        chunks.append(_Chunk(kind, at, end, keyword=head.partition(b"\0")[0]))
        at = end
    kinds = [chunk.kind for chunk in chunks]
    if kinds[0] != b"IHDR" or b"IDAT" not in kinds:
        raise broken_structure("it holds no image")
    return chunks


def _is_xmp(chunk: _Chunk) -> bool:
    return chunk.kind == b"iTXt" and chunk.keyword == _KEYWORD


def _content(data: bytes, chunk: _Chunk) -> bytes:
    content = data[chunk.start + 8 : chunk.end - 4]
    if zlib.crc32(chunk.kind + content) != int.from_bytes(data[chunk.end - 4 : chunk.end], "big"):
        raise broken_structure(f"the checksum of the chunk at byte {chunk.start} is wrong")
    return content


def _xmp(content: bytes) -> bytes:
    """The packet after keyword, compression, language and translated keyword."""
    flags, rest = content[len(_KEYWORD) + 1 : len(_KEYWORD) + 3], content[len(_KEYWORD) + 3 :]
    fields = rest.split(b"\0", 2)
    if len(fields) != 3 or flags not in (b"\0\0", b"\0\1", b"\1\0"):
        raise broken_structure("the XMP chunk cannot be read")
    return _decompressed(fields[2]) if flags[0] else fields[2]


def _decompressed(compressed: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        packet = decompressor.decompress(compressed, _UNPACKED_LIMIT)
    except zlib.error as error:
        raise broken_structure("the XMP chunk cannot be decompressed") from error
    if not decompressor.eof:
        raise broken_structure("the XMP chunk is truncated or too large")
    return packet


def _xmp_change(chunks: list[_Chunk], xmp: bytes | None) -> Splice:
    existing = [chunk for chunk in chunks if _is_xmp(chunk)]
    if len(existing) > 1 or any(chunk.keyword == _KEYWORD for chunk in chunks if chunk not in existing):
        raise ambiguous_blocks("It has several XMP texts")
    if any(chunk.keyword in _RAW_XMP for chunk in chunks):
        raise ambiguous_blocks("It has XMP in the form of a raw profile, too")
    return _change(chunks, existing, b"iTXt", None if xmp is None else _XMP_HEAD + xmp)


def _exif_change(data: bytes, chunks: list[_Chunk], exif: bytes | None) -> Splice:
    existing = [chunk for chunk in chunks if chunk.kind == b"eXIf"]
    if len(existing) > 1:
        raise ambiguous_blocks("It has several EXIF chunks")
    if any(chunk.keyword in _RAW_EXIF for chunk in chunks):
        raise ambiguous_blocks("It has EXIF in the form of a raw profile, too")
    has_prefix = existing and _content(data, existing[0]).startswith(_EXIF_PREFIX)
    prefix = _EXIF_PREFIX if has_prefix else b""
    return _change(chunks, existing, b"eXIf", None if exif is None else prefix + exif)


def _change(chunks: list[_Chunk], existing: list[_Chunk], kind: bytes, content: bytes | None) -> Splice:
    first_image_data = next(chunk.start for chunk in chunks if chunk.kind == b"IDAT")
    start, end = (existing[0].start, existing[0].end) if existing else (first_image_data, first_image_data)
    if content is None:
        return Splice(start, end, b"")
    if len(content) > _LARGEST:
        raise too_large("The photo's metadata would exceed the 2 GB of a PNG chunk")
    checksum = zlib.crc32(kind + content)
    return Splice(start, end, struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum))
