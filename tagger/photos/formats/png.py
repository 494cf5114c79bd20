"""PNG: chunks, of which some are the image, and some hold EXIF, XMP and what ImageMagick keeps as texts."""

import binascii
import re
import struct
import zlib
from collections.abc import Iterator

from PIL.PngImagePlugin import PngImageFile

from tagger.photos.formats.reader import Blocks, BrokenBlocks, FormatReader, opened
from tagger.photos.jpeg import EXIF, SEGMENT_LIMIT, XMP, Part
from tagger.photos.photoshop import iptc_in
from tagger.photos.tiff import first_with_tags, has_tags, open_tiff

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {b"tRNS", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP"}
_STILL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"} | _COLOURS
# Without colour profiles: a broken profile makes decoders fail.
_BARE = _STILL - {b"iCCP", b"cICP"}
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
_XMP_TEXT = b"XML:com.adobe.xmp"
# ImageMagick keeps blocks as digits in texts with these names, in upper or lower case.
_PROFILES = {b"raw profile type " + name for name in (b"exif", b"app1", b"xmp", b"iptc", b"8bim")}
_PROFILES_READ = 8
# Before the digits come an empty line, which may be missing, a name, and the size.
_PROFILE_HEADER = re.compile(rb"(?:\r?\n)?[^\n]{,100}\n\s{,100}\d{1,20}\s")
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
    """The XMP text and the EXIF chunk, else the first of ImageMagick's profiles."""
    xmp_text: tuple[bytes, bytes] | None = None
    blocks: dict[str, bytes] = {}
    profiles = 0
    for kind, chunk in png_chunks(data):
        if kind not in _TEXT_CHUNKS:
            continue
        name, _, content = bytes(chunk[8:-4]).partition(b"\0")
        if name == _XMP_TEXT:
            xmp_text = xmp_text or (kind, content)
        elif name.lower() in _PROFILES and profiles < _PROFILES_READ:
            profiles += 1
            block_name, block = _profile(name.lower(), _profile_content(kind, content))
            if block_name == "exif" and not has_tags(blocks.get("exif", b"")):
                blocks["exif"] = block
            elif block:
                blocks.setdefault(block_name, block)
    if xmp_text is not None:
        blocks["xmp"] = _text(*xmp_text)
    if (exif := _exif(data)) is not None:
        blocks["exif"] = exif.removeprefix(EXIF)
    return Blocks(**blocks)


def _profile_content(kind: bytes, content: bytes) -> bytes:
    """The bytes of a profile: lines with its name, its size, and hexadecimal digits; empty if it is broken.

    As exiftool does, the size is not compared with the digits.
    """
    try:
        text = _text(kind, content)
        header = _PROFILE_HEADER.match(text)
        if header is None:
            return b""
        # Lines may have any length, so one may end within a byte.
        return binascii.unhexlify(text[header.end() :].translate(None, b" \t\r\n\0"))
    except ValueError:
        return b""


def _profile(name: bytes, content: bytes) -> tuple[str, bytes]:
    """The kind of block in a profile, and the block; EXIF and XMP are known by how they begin."""
    exif = content.removeprefix(EXIF).removeprefix(EXIF)  # some programs write it twice
    if open_tiff(exif) is not None:
        return "exif", exif
    if content.startswith(XMP) or name.endswith(b"xmp"):
        return "xmp", content.removeprefix(XMP)
    is_bare_iptc = content.startswith(b"\x1c")
    return "iptc", content if is_bare_iptc else iptc_in(content) or b""


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
