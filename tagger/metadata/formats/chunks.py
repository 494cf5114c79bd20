"""The XMP and EXIF of PNG, WebP and TIFF files, which are read, and into which version 1 wrote XMP."""

import zlib

from tagger.metadata.splices import Blocks, broken_structure
from tagger.photos.containers import exif_of, png_chunks, webp_chunks
from tagger.photos.tiff import open_tiff

_KEYWORD = b"XML:com.adobe.xmp\0"
_EXIF_PREFIX = b"Exif\0\0"
_UNPACKED_LIMIT = 16 * 2**20
_TIFF_XMP = 700


def read_png(data: bytes) -> Blocks:
    """Read the XMP text and the EXIF chunk of a PNG."""
    texts = (chunk[8:-4] for kind, chunk in png_chunks(data) if kind == b"iTXt")
    content = next((bytes(text) for text in texts if text[: len(_KEYWORD)] == _KEYWORD), None)
    return Blocks(xmp=None if content is None else _packet(content), exif=_exif(data))


def read_webp(data: bytes) -> Blocks:
    """Read the XMP and EXIF chunks of a WebP."""
    packets = (bytes(chunk[8:]) for kind, chunk in webp_chunks(data) if kind == b"XMP ")
    return Blocks(xmp=next(packets, None), exif=_exif(data))


def read_tiff(data: bytes) -> Blocks:
    """Read the XMP tag of a TIFF. The file itself is its EXIF block."""
    block = open_tiff(data)
    main = block.directory(block.first) if block else None
    tag = main.tags.get(_TIFF_XMP) if main else None
    return Blocks(xmp=bytes(tag.raw) if tag else None)


def _exif(data: bytes) -> bytes | None:
    exif = exif_of(data)
    return None if exif is None else exif.removeprefix(_EXIF_PREFIX)


def _packet(content: bytes) -> bytes:
    """The packet after keyword, compression, language and translated keyword."""
    flags, fields = content[len(_KEYWORD) :][:2], content[len(_KEYWORD) + 2 :].split(b"\0", 2)
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
