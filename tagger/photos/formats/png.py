"""PNG: chunks, of which some are the image, and some hold EXIF, XMP and what ImageMagick keeps as texts."""

import struct
import zlib
from collections.abc import Iterator

from PIL.PngImagePlugin import PngImageFile

from tagger.photos.formats.reader import Blocks, BrokenBlocks, FormatReader, opened
from tagger.photos.jpeg import EXIF, SEGMENT_LIMIT, XMP, Part
from tagger.photos.photoshop import iptc_in
from tagger.photos.tiff import first_with_tags

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {b"tRNS", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP"}
_STILL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"} | _COLOURS
_BARE = _STILL - {b"iCCP", b"cICP"}
"""Without colour profiles: a broken profile makes decoders fail."""
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
_XMP_TEXT = b"XML:com.adobe.xmp"
_PROFILES = [b"Raw profile type " + name for name in (b"exif", b"APP1", b"xmp", b"iptc", b"8bim")]
"""The names of the texts in which ImageMagick keeps blocks, as digits."""
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_UNPACKED_LIMIT = 16 * 2**20


def png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (kind, whole chunk) up to the end chunk; the last chunk may be truncated."""
    view = memoryview(data)
    at = len(_SIGNATURE)
    for _ in range(SEGMENT_LIMIT + 1):
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, view[at : at + 12 + length]
        if kind == b"IEND":
            return
        at += 12 + length


def _parts(data: bytes) -> tuple[Part, ...] | None:
    parts: list[Part] = []
    has_pixels = False
    for count, (kind, chunk) in enumerate(png_chunks(data)):
        if count >= SEGMENT_LIMIT:
            return None
        has_pixels = has_pixels or kind == b"IDAT"
        # A capital first letter marks chunks that no decoder may ignore.
        if kind in _STILL | _ANIMATION or kind[:1].isupper():
            parts.append(chunk)
    return tuple(parts) if has_pixels else None


def _bare_file(data: bytes) -> bytes:
    return _SIGNATURE + b"".join(chunk for name, chunk in png_chunks(data) if name in _BARE)


def _exif(data: bytes) -> bytes | None:
    return first_with_tags(bytes(chunk[8:-4]) for kind, chunk in png_chunks(data) if kind == b"eXIf")


def _blocks(data: bytes) -> Blocks:
    """The XMP text and the EXIF chunk, else ImageMagick's profiles, the first of each name."""
    texts: dict[bytes, tuple[bytes, bytes]] = {}
    for kind, chunk in png_chunks(data):
        if kind in _TEXT_CHUNKS:
            name, _, content = bytes(chunk[8:-4]).partition(b"\0")
            texts.setdefault(name, (kind, content))
    blocks: dict[str, bytes] = {}
    for name in filter(texts.__contains__, _PROFILES):
        blocks |= _profile(name, *texts[name])
    if _XMP_TEXT in texts:
        blocks["xmp"] = _text(*texts[_XMP_TEXT])
    if (exif := _exif(data)) is not None:
        blocks["exif"] = exif.removeprefix(EXIF)
    return Blocks(**blocks)


def _profile(name: bytes, kind: bytes, content: bytes) -> dict[str, bytes]:
    """The block in a profile, which is its type, its size, and its bytes as digits; none if it is broken."""
    try:
        _, _, digits = _text(kind, content).split(maxsplit=2)
        block = bytes.fromhex(digits.decode())
    except ValueError:
        return {}
    if name.endswith(b"xmp") or block.startswith(XMP):
        return {"xmp": block.removeprefix(XMP)}
    if name.endswith((b"iptc", b"8bim")):
        return {"iptc": (iptc_in(block) or b"") if block.startswith(b"8BIM") else block}
    return {"exif": block.removeprefix(EXIF)}


def _text(kind: bytes, content: bytes) -> bytes:
    """The text of a chunk after its name: iTXt has flags, language and translated name before it.

    Raises:
        BrokenBlocks: the chunk is broken.
    """
    is_packed = kind == b"zTXt"
    if kind == b"iTXt":
        flags, *fields = content[:2], *content[2:].split(b"\0", 2)
        if len(fields) != 3 or flags not in (b"\0\0", b"\0\1", b"\1\0"):
            raise BrokenBlocks("the XMP chunk cannot be read")
        is_packed, content = flags[:1] == b"\1", fields[2]
    elif is_packed:
        content = content[1:]
    if not is_packed:
        return content
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(content, _UNPACKED_LIMIT)
    except zlib.error as error:
        raise BrokenBlocks("the XMP chunk cannot be decompressed") from error
    if not decompressor.eof:
        raise BrokenBlocks("the XMP chunk is truncated or too large")
    return text


READER = FormatReader(
    lambda data, max_pixels: opened(PngImageFile, data, max_pixels, png_chunks(data)),
    image_parts=_parts,
    may_have_image=lambda data: _parts(data) is not None,
    exif=_exif,
    blocks=_blocks,
    bare_file=_bare_file,
)
