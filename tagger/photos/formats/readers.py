"""What reads each format but TIFF: JPEG, PNG, GIF, BMP, WebP, AVIF and HEIC, RAW, in this order.

Of the chunks of PNG and WebP, some are the image, and some hold EXIF, XMP and what ImageMagick keeps as
texts. The decoders of AVIF and HEIC parse their boxes; of these, only sizes and codings are known here. RAW
files are shown by their largest preview, or developed (see decoding).
"""

import binascii
import importlib
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Any, cast

from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.containers import (
    EXIF,
    JPEG_LS,
    SEGMENT_LIMIT,
    XMP,
    Part,
    components_of_first_scan,
    first_with_tags,
    from_first_scan,
    has_tags,
    iptc_in,
    jpeg_exif,
    jpeg_parts,
    open_tiff,
    scans_and_coding,
)
from tagger.photos.formats import (
    LIBHEIF,
    Blocks,
    BrokenBlocks,
    DecoderMemory,
    FormatReader,
    check_pixels,
    opened,
)
from tagger.photos.raw import boxes_in, read_raw

# JPEG: opened without metadata, and with a bounded number of scans.

# Lossless and hierarchical.
_UNREAD_CODINGS = frozenset((0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, JPEG_LS))
# Progressive photos have about ten.
_SCAN_LIMIT = 100
_BLOCK_SIDE = 8
_COEFFICIENT_BYTES = 2
# Memory per pixel of width, component and vertical sampling: rows before and after upsampling.
_JPEG_ROW_BYTES = 32


def _open_jpeg(data: bytes, max_pixels: int) -> ImageFile:
    # Decoders skip metadata before the first scan slowly.
    image = opened(JpegImageFile, from_first_scan(data), max_pixels)
    # Each scan takes as much time as decoding the whole image.
    scans = scans_and_coding(data)[0] if "progressive" in image.info else 0
    if scans > _SCAN_LIMIT:
        raise PhotoFailed(
            FailureKind.UNSUPPORTED,
            f"The image is coded in {scans} scans, more than {_SCAN_LIMIT}, which no camera writes. "
            "Save it again in another program.",
        )
    return image


def _bare_jpeg(data: bytes) -> bytes | None:
    # The image's segments, with an end marker, which a truncated file lacks.
    parts = jpeg_parts(data)
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9" if parts else None


def _jpeg_memory(
    image: ImageFile, data: bytes, full_size: tuple[int, int]
) -> DecoderMemory:
    # Rows of blocks; the coefficients of the whole, at full size, if they are in more than one scan.
    width, height = full_size
    layer = cast("JpegImageFile", image).layer
    across = max((horizontal for _, horizontal, _, _ in layer), default=1) or 1
    down = max((vertical for _, _, vertical, _ in layer), default=1) or 1
    rows = width * len(layer) * down * _JPEG_ROW_BYTES
    if "progressive" not in image.info and components_of_first_scan(data) == len(layer):
        return DecoderMemory(0, rows)
    # A component has whole blocks for all of the units that the image consists of.
    units = ceil(width / across / _BLOCK_SIDE) * ceil(height / down / _BLOCK_SIDE)
    blocks = units * sum(horizontal * vertical for _, horizontal, vertical, _ in layer)
    return DecoderMemory(0, rows + blocks * _BLOCK_SIDE**2 * _COEFFICIENT_BYTES)


JPEG_READER = FormatReader(
    _open_jpeg,
    image_parts=jpeg_parts,
    may_have_image=lambda data: bool(jpeg_parts(data)),
    exif=jpeg_exif,
    bare_file=_bare_jpeg,
    has_unread_coding=lambda data: scans_and_coding(data)[1] in _UNREAD_CODINGS,
    memory=_jpeg_memory,
)


# PNG.

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STILL = {
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND"),
    *(b"tRNS", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP"),
}
# Without colour profiles: a broken profile makes decoders fail.
_BARE = _STILL - {b"iCCP", b"cICP"}
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
# ImageMagick keeps blocks as digits in texts with these names, in upper or lower case.
_PROFILES = {
    b"raw profile type " + name for name in (b"exif", b"app1", b"xmp", b"iptc", b"8bim")
}
_PROFILES_READ = 8
# Before the digits come an empty line, which may be missing, a name, and the size.
_PROFILE_HEADER = re.compile(rb"(?:\r?\n)?[^\n]{,100}\n\s{,100}\d{1,20}\s")
_UNPACKED_LIMIT = 16 * 2**20


def png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (kind, whole chunk) up to the end chunk; the last chunk may be truncated."""
    view = memoryview(data)
    at = len(_PNG_SIGNATURE)
    for _ in range(SEGMENT_LIMIT + 1):
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, view[at : at + 12 + length]
        if kind == b"IEND":
            return
        at += 12 + length


def _png_parts(data: bytes) -> tuple[Part, ...] | None:
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


def _png_exif(data: bytes) -> bytes | None:
    return first_with_tags(
        bytes(chunk[8:-4]) for kind, chunk in png_chunks(data) if kind == b"eXIf"
    )


def _png_blocks(data: bytes) -> Blocks:
    # The XMP text and the EXIF chunk, else the first of ImageMagick's profiles.
    xmp_text: tuple[bytes, bytes] | None = None
    blocks: dict[str, bytes] = {}
    profiles = 0
    for kind, chunk in png_chunks(data):
        if kind not in (b"tEXt", b"zTXt", b"iTXt"):
            continue
        name, _, content = bytes(chunk[8:-4]).partition(b"\0")
        if name == b"XML:com.adobe.xmp":
            xmp_text = xmp_text or (kind, content)
        elif name.lower() in _PROFILES and profiles < _PROFILES_READ:
            profiles += 1
            block_name, block = _profile(name.lower(), _profile_content(kind, content))
            if block_name == "exif" and not has_tags(blocks.get("exif", b"")):
                blocks["exif"] = block
            elif block:
                blocks.setdefault(block_name, block)
    if xmp_text is not None:
        blocks["xmp"] = _chunk_text(*xmp_text)
    if (exif := _png_exif(data)) is not None:
        blocks["exif"] = exif.removeprefix(EXIF)
    return Blocks(**blocks)


def _profile_content(kind: bytes, content: bytes) -> bytes:
    # The bytes of a profile: lines with its name, its size, and hexadecimal digits; empty if it is broken.
    # As exiftool does, the size is not compared with the digits.
    try:
        text = _chunk_text(kind, content)
        header = _PROFILE_HEADER.match(text)
        if header is None:
            return b""
        # Lines may have any length, so one may end within a byte.
        return binascii.unhexlify(text[header.end() :].translate(None, b" \t\r\n\0"))
    except ValueError:
        return b""


def _profile(name: bytes, content: bytes) -> tuple[str, bytes]:
    # The kind of block in a profile, and the block; EXIF and XMP are known by how they begin.
    exif = content.removeprefix(EXIF).removeprefix(EXIF)  # some programs write it twice
    if open_tiff(exif) is not None:
        return "exif", exif
    if content.startswith(XMP) or name.endswith(b"xmp"):
        return "xmp", content.removeprefix(XMP)
    is_bare_iptc = content.startswith(b"\x1c")
    return "iptc", content if is_bare_iptc else iptc_in(content) or b""


def _chunk_text(kind: bytes, content: bytes) -> bytes:
    # The text of a chunk after its name: iTXt has flags, language and translated name before it.
    # Raises BrokenBlocks: the chunk is broken.
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


PNG_READER = FormatReader(
    lambda data, max_pixels: opened(
        PngImageFile,
        data,
        max_pixels,
        png_chunks(data),
    ),
    image_parts=_png_parts,
    may_have_image=lambda data: _png_parts(data) is not None,
    exif=_png_exif,
    blocks=_png_blocks,
    bare_file=lambda data: b"".join(
        (_PNG_SIGNATURE, *(chunk for kind, chunk in png_chunks(data) if kind in _BARE))
    ),
)


# GIF: a header, a table of colours, and blocks up to the first image.

_EXTENSION, _IMAGE = 0x21, 0x2C
_DISPOSES = 2


def _gif_blocks(data: bytes) -> Iterator[int]:
    # Yield the positions of the blocks before the first image: extensions, their sub-blocks, and junk.
    colours = 3 * 2 ** ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0
    at, in_extension = 13 + colours, False
    while at < len(data) and (in_extension or data[at] != _IMAGE):
        yield at
        if in_extension:
            in_extension = data[at] != 0
            at += 1 + data[at]
        else:
            in_extension = data[at] == _EXTENSION
            at += 2 if in_extension else 1


def _gif_memory(
    image: ImageFile, _data: bytes, _full_size: tuple[int, int]
) -> DecoderMemory:
    # What the next frame would be drawn on.
    disposes = cast("GifImageFile", image).disposal_method >= _DISPOSES
    return DecoderMemory(image.width * image.height * disposes)


GIF_READER = FormatReader(
    lambda data, max_pixels: opened(
        GifImageFile,
        data,
        max_pixels,
        _gif_blocks(data),
    ),
    memory=_gif_memory,
)


# Pillow decodes run lengths in Python: to a growing array, which is copied.
# BMP, which may be coded in run lengths.

_RUN_LENGTHS, _RUN_LENGTH_BYTES = (1, 2), 2.25


def _bmp_memory(
    image: ImageFile, _data: bytes, _full_size: tuple[int, int]
) -> DecoderMemory:
    is_coded = image.info.get("compression") in _RUN_LENGTHS
    return DecoderMemory(
        0, int(image.width * image.height * _RUN_LENGTH_BYTES) * is_coded
    )


BMP_READER = FormatReader(
    lambda data, max_pixels: opened(BmpImageFile, data, max_pixels), memory=_bmp_memory
)


# WebP: RIFF chunks.

_WEBP_IMAGE = {b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"}
# Memory per pixel: two frames and a copy, always with transparency.
_WEBP_FRAME_BYTES = 12


def _open_webp(data: bytes, max_pixels: int) -> ImageFile:
    # Pillow creates the decoder with its canvas while reading the header.
    if data[12:16] == b"VP8X" and len(data) >= 30:
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        check_pixels(width, height, max_pixels)
    return opened(WebPImageFile, data, max_pixels)


def _webp_parts(data: bytes) -> tuple[Part, ...] | None:
    parts: list[Part] = []
    canvas: Part = b""
    for count, (kind, chunk) in enumerate(_webp_chunks(data)):
        if count >= SEGMENT_LIMIT:
            return None
        if kind in _WEBP_IMAGE:
            parts.append(chunk)
        elif kind == b"VP8X":
            canvas = chunk[12:18]
        # The canvas size counts only for animations: writing EXIF into a plain WebP adds a VP8X header.
        if kind == b"ANIM":
            parts.append(canvas)
    return tuple(parts)


def _webp_exif(data: bytes) -> bytes | None:
    blocks = (bytes(chunk[8:]) for kind, chunk in _webp_chunks(data) if kind == b"EXIF")
    return first_with_tags(block.removeprefix(EXIF) for block in blocks)


def _webp_blocks(data: bytes) -> Blocks:
    packets = (
        bytes(chunk[8:]) for kind, chunk in _webp_chunks(data) if kind == b"XMP "
    )
    return Blocks(xmp=next(packets, None), exif=_webp_exif(data))


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    # Yield (kind, chunk without padding); the last chunk may be truncated.
    view = memoryview(data)
    at = 12
    for _ in range(SEGMENT_LIMIT + 1):
        if at + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, view[at : at + 8 + length]
        at += 8 + length + length % 2


WEBP_READER = FormatReader(
    _open_webp,
    image_parts=_webp_parts,
    may_have_image=lambda data: bool(_webp_parts(data)),
    exif=_webp_exif,
    blocks=_webp_blocks,
    memory=lambda image, *_: DecoderMemory(
        image.width * image.height * _WEBP_FRAME_BYTES
    ),
)


# AVIF and HEIC.

# Boxes with sizes and depths are small and come before the coded data.
_BOXES_BYTES = 2**18
_CODED_ITEM = re.compile(rb"infe(?:\x02.{7}|\x03.{9})(.{4})", re.DOTALL)
_NOT_CODED = frozenset((b"grid", b"iden", b"iovl", b"tmap", b"mime", b"uri "))
_NO_LIMIT = 2**62


@dataclass(frozen=True)
class _Codec:
    # The coding of images in boxes: its decoder, the kind of its items, and the decoder's bytes per sample.
    # The decoder holds the whole image: planes of 16 bits, of AVIF also without film grain, and a copy with
    # 8.
    image_class: Callable[[], Any]
    item: bytes
    sample_bytes: int

    def open(self, data: bytes, max_pixels: int) -> ImageFile:
        # The decoders have limits of their own and do not report them as such.
        at = data.find(b"ispe", 0, _BOXES_BYTES)
        while at >= 0 and at + 16 <= len(data):
            width, height = struct.unpack_from(">II", data, at + 8)
            if width and height:
                check_pixels(width, height, max_pixels)
            at = data.find(b"ispe", at + 4, _BOXES_BYTES)
        try:
            return opened(self.image_class(), data, max_pixels)
        except PhotoFailed:
            raise
        except Exception:
            # The decoder of HEIC refuses files for damage to a motion photo's video, too.
            still = _without_video(data)
            if still == data:
                raise
            return opened(self.image_class(), still, max_pixels)

    def blocks(self, data: bytes) -> Blocks:
        try:
            info = self.open(data, _NO_LIMIT).info
        except Exception:  # noqa: BLE001 - decoders raise errors of any type for broken files
            return Blocks()
        exif, xmp = info.get("exif"), info.get("xmp")
        return Blocks(
            xmp=xmp if isinstance(xmp, bytes) and xmp else None,
            exif=exif.removeprefix(EXIF) if isinstance(exif, bytes) and exif else None,
        )

    def is_unread(self, data: bytes) -> bool:
        items = [
            name
            for name in _CODED_ITEM.findall(data, 0, _BOXES_BYTES)
            if name not in _NOT_CODED
        ]
        return bool(items) and self.item not in items

    def load(self) -> None:
        with suppress(PhotoFailed):  # not installed
            self.image_class()

    def reader(self) -> FormatReader:
        return FormatReader(
            self.open,
            blocks=self.blocks,
            has_unread_coding=self.is_unread,
            memory=lambda image, *_: DecoderMemory(
                image.width * image.height * len(image.getbands()) * self.sample_bytes
            ),
            load_decoder=self.load,
        )


def _without_video(data: bytes) -> bytes:
    # The file with the boxes of its still images alone, at their places, as other boxes refer to these.
    still, at = bytearray(data), 0
    lacking = {b"ftyp", b"meta"}
    for box in boxes_in(data, 0, len(data)):
        is_of_still = box.kind == b"mdat" or box.kind in lacking
        if box.stated_end > box.end and not is_of_still:
            break
        if not is_of_still:
            still[at + 4 : at + 8] = b"free"
        lacking.discard(box.kind)
        at = box.stated_end
    return bytes(still[:at])


def _heic_image() -> Any:
    try:
        return importlib.import_module(LIBHEIF.module).HeifImageFile
    except ImportError:
        raise PhotoFailed(
            FailureKind.UNSUPPORTED,
            "HEIC needs the extra heic. Install it, then retry the failed photos.",
        ) from None


AVIF_READER = _Codec(lambda: AvifImageFile, b"av01", 5).reader()
HEIC_READER = _Codec(_heic_image, b"hvc1", 4).reader()


# RAW files of cameras.


def _open_raw(_data: bytes, _max_pixels: int) -> ImageFile:
    raise ValueError("a RAW file is not opened itself, but its preview")


def _raw_parts(data: bytes) -> tuple[Part, ...] | None:
    # The data of the sensor, whatever the previews are.
    image = read_raw(data).image
    return (
        tuple(
            part
            for strip in image
            for part in (len(strip).to_bytes(8, "little"), strip)
        )
        or None
    )


RAW_READER = FormatReader(
    _open_raw,
    image_parts=_raw_parts,
    exif=lambda data: read_raw(data).exif,
)
