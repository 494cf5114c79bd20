"""Where a RAW file says its parts are. Nothing of it is checked: offsets may lie outside the file."""

from dataclasses import dataclass


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
