"""Chooses the file whose pixels are shown: of a RAW photo the largest preview, else the photo itself.

Previews are stored as the sensor sees, and the RAW file's own orientation applies to them.
"""

import struct

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.containers import orientation_in
from tagger.photos.decoding.formats import check_pixels, require_format
from tagger.photos.decoding.raw_development import is_developer_installed
from tagger.photos.formats import PhotoFormat
from tagger.photos.raw import Bitmap, Preview, RawFile, read_raw

LEAST_SIDE = 320
"""A smaller longer side is that of a thumbnail: with 160 x 120 pixels, often between black bars, it is no photo to classify."""


class NoPreview(PhotoFailed):
    """A RAW photo has no preview to show. It can be developed, where LibRaw is loaded (see raw_development)."""


def shown_file(data: bytes, *, max_pixels: int) -> tuple[bytes, PhotoFormat]:
    """Return the file to decode, and its format.

    Raises:
        NoPreview: a RAW photo has none.
        PhotoFailed: as `require_format`; or a RAW photo is truncated, or has only larger previews than the limit.
    """
    photo_format = require_format(data)
    if photo_format is not PhotoFormat.RAW:
        return data, photo_format
    raw = read_raw(data)
    previews = [preview for preview in _by_size(raw) if max(preview.width, preview.height) >= LEAST_SIDE]
    if not previews:
        raise _no_preview(raw)
    chosen = next((preview for preview in previews if preview.pixels <= max_pixels), previews[0])
    check_pixels(chosen.width, chosen.height, max_pixels)
    if isinstance(chosen, Bitmap):
        return _tiff_of(chosen, orientation_in(data) or 1), PhotoFormat.TIFF
    return bytes(chosen.data), PhotoFormat.JPEG


def _by_size(raw: RawFile) -> list[Preview | Bitmap]:
    """All previews, largest first; of two as large, the JPEG."""
    return sorted((*raw.previews, *raw.bitmaps), key=lambda preview: -preview.pixels)


def _tiff_of(bitmap: Bitmap, orientation: int) -> bytes:
    """A TIFF file with the pixels of a bitmap, which is to be shown in this orientation."""
    pixels = b"".join(bitmap.strips)
    bits_at = 8 + 2 + 12 * _TIFF_TAGS + 4
    pixels_at = bits_at + 6
    directory = (
        *((256, 4, 1, bitmap.width), (257, 4, 1, bitmap.height), (258, 3, 3, bits_at)),
        *((259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, pixels_at), (274, 3, 1, orientation)),
        *((277, 3, 1, 3), (278, 4, 1, bitmap.height), (279, 4, 1, len(pixels))),
    )
    entries = b"".join(struct.pack("<HHII", *entry) for entry in directory)
    return (
        struct.pack("<2sHIH", b"II", 42, 8, _TIFF_TAGS) + entries + struct.pack("<I3H", 0, 8, 8, 8) + pixels
    )


_TIFF_TAGS = 10


def _no_preview(raw: RawFile) -> PhotoFailed:
    if raw.is_truncated and not raw.image:
        return PhotoFailed(
            FailureKind.TRUNCATED,
            "The file ends before its preview does. Copy it again from where it came from.",
        )
    remedy = (
        "Export it as JPEG."
        if is_developer_installed()
        else "To develop it, run: pip install 'landmark-tagger[raw]', then retry the failed photos. Or export it as JPEG."
    )
    return NoPreview(
        FailureKind.UNSUPPORTED,
        f"RAW photos are shown by the preview in them, and this one has {_largest(raw)}. {remedy}",
    )


def _largest(raw: RawFile) -> str:
    if raw.has_hevc_preview:
        return "one that is coded as HEVC (HDR PQ), which is not read"
    for preview in _by_size(raw):
        return f"only a thumbnail of {preview.width} x {preview.height} pixels"
    return "none"
