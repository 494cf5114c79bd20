"""AVIF and HEIC. The decoders parse their boxes; of these, only sizes and codings are known here."""

import importlib
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from PIL.AvifImagePlugin import AvifImageFile
from PIL.ImageFile import ImageFile

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.formats import LIBHEIF
from tagger.photos.formats.reader import Blocks, DecoderMemory, FormatReader, check_pixels, opened
from tagger.photos.jpeg import EXIF

# Boxes with sizes and depths are small and come before the coded data.
_BOXES_BYTES = 2**18
_CODED_ITEM = re.compile(rb"infe(?:\x02.{7}|\x03.{9})(.{4})", re.DOTALL)
_NOT_CODED = frozenset((b"grid", b"iden", b"iovl", b"tmap", b"mime", b"uri "))
_NO_LIMIT = 2**62


@dataclass(frozen=True)
class _Codec:
    """The coding of images in boxes: its decoder, the kind of its items, and the decoder's bytes per sample.

    The decoder holds the whole image: planes of 16 bits, of AVIF also without film grain, and a copy with 8.
    """

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
        return opened(self.image_class(), data, max_pixels)

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
        items = [name for name in _CODED_ITEM.findall(data, 0, _BOXES_BYTES) if name not in _NOT_CODED]
        return bool(items) and self.item not in items

    def memory(self, image: ImageFile, _data: bytes, _full_size: tuple[int, int]) -> DecoderMemory:
        return DecoderMemory(image.width * image.height * len(image.getbands()) * self.sample_bytes)

    def load(self) -> None:
        with suppress(PhotoFailed):  # not installed
            self.image_class()

    def reader(self) -> FormatReader:
        return FormatReader(
            self.open,
            blocks=self.blocks,
            has_unread_coding=self.is_unread,
            memory=self.memory,
            load_decoder=self.load,
        )


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
