"""Where a RAW file says that its parts are, and which of the places are those of previews that can be shown: JPEGs, and bitmaps of RGB.

A layout is not checked: its offsets may lie outside the file.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tagger.photos.jpeg import JpegFrame, jpeg_frame

_DISPLAYABLE_CODINGS = {0xC0, 0xC1, 0xC2}
"""Baseline, extended and progressive. Sensor data are often lossless JPEGs."""
_SPAN_LIMIT = 64
_HEAD_BYTES = 2**20
"""The frame comes after EXIF and a colour profile, of at most 64 KB each in all files of cameras."""


@dataclass(frozen=True)
class Span:
    """A range of bytes of the file."""

    start: int
    size_bytes: int


@dataclass(frozen=True)
class StoredBitmap:
    """An image of 8-bit RGB without compression, in strips."""

    strips: tuple[Span, ...]
    width: int
    height: int


@dataclass(frozen=True)
class RawLayout:
    """`jpegs` may be JPEG previews or anything else. `images` are stored images with their strips or tiles: that of the sensor,
    previews and thumbnails. `exif` is a TIFF block, which may lack the facts of the capture; `xmp` is a packet. `has_hevc`: an image
    is coded as HEVC.
    """

    jpegs: tuple[Span, ...] = ()
    bitmaps: tuple[StoredBitmap, ...] = ()
    images: tuple[tuple[Span, ...], ...] = ()
    exif: bytes | None = None
    has_capture_facts: bool = True
    xmp: bytes | None = None
    has_hevc: bool = False


@dataclass(frozen=True)
class Preview:
    """An embedded JPEG, not copied, with its place in the file and the size in pixels that its frame states."""

    span: Span
    data: memoryview
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True)
class Bitmap:
    """An embedded image of 8-bit RGB without compression; its strips, not copied, and its size in pixels."""

    strips: tuple[memoryview, ...]
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


def find_previews(data: bytes, spans: Iterable[Span]) -> tuple[Preview, ...]:
    """Return the previews, largest first."""
    whole = dict.fromkeys(span for span in spans if lies_in(data, span))
    previews = (_preview(data, span) for span in list(whole)[:_SPAN_LIMIT])
    return tuple(sorted(filter(None, previews), key=lambda preview: (-preview.pixels, -len(preview.data))))


def find_bitmaps(data: bytes, stored: Iterable[StoredBitmap]) -> tuple[Bitmap, ...]:
    """Return the bitmaps whose strips have exactly the bytes of their pixels, largest first."""
    bitmaps = [_bitmap(data, bitmap) for bitmap in stored]
    return tuple(sorted(filter(None, bitmaps), key=lambda bitmap: -bitmap.pixels))


def lies_in(data: bytes, span: Span) -> bool:
    """Whether the file has all bytes of a span, and there are any."""
    return span.start > 0 and span.size_bytes > 0 and span.start + span.size_bytes <= len(data)


def _bitmap(data: bytes, stored: StoredBitmap) -> Bitmap | None:
    size_bytes = sum(span.size_bytes for span in stored.strips)
    # Strips that overlap could make a small file as expensive as a large one.
    if size_bytes != stored.width * stored.height * 3 or not 0 < size_bytes <= len(data):
        return None
    if not all(lies_in(data, span) for span in stored.strips):
        return None
    view = memoryview(data)
    strips = tuple(view[span.start : span.start + span.size_bytes] for span in stored.strips)
    return Bitmap(strips, stored.width, stored.height)


def _preview(data: bytes, span: Span) -> Preview | None:
    view = memoryview(data)[span.start : span.start + span.size_bytes]
    if bytes(view[:3]) != b"\xff\xd8\xff":
        return None
    frame = jpeg_frame(view[:_HEAD_BYTES])
    return Preview(span, view, frame.width, frame.height) if frame and _is_displayable(frame) else None


def _is_displayable(frame: JpegFrame) -> bool:
    is_image = frame.bits == 8 and frame.components in (1, 3) and frame.width > 0 and frame.height > 0
    return is_image and frame.coding in _DISPLAYABLE_CODINGS
