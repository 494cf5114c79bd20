"""Chooses the file whose pixels are shown: of a RAW photo the largest JPEG preview, else the photo itself.

Previews are stored as the sensor sees, and the RAW file's own orientation applies to them.
"""

from tagger.errors import FailureKind, PhotoFailed
from tagger.images.formats import check_pixels, require_format
from tagger.images.raw_development import is_developer_installed
from tagger.photos.formats import PhotoFormat
from tagger.photos.raw import RawFile, read_raw

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
    previews = [preview for preview in raw.previews if max(preview.width, preview.height) >= LEAST_SIDE]
    if not previews:
        raise _no_preview(raw)
    chosen = next((preview for preview in previews if preview.pixels <= max_pixels), previews[0])
    check_pixels(chosen.width, chosen.height, max_pixels)
    return bytes(chosen.data), PhotoFormat.JPEG


def _no_preview(raw: RawFile) -> PhotoFailed:
    if raw.is_truncated and not raw.image:
        return PhotoFailed(
            FailureKind.TRUNCATED,
            "The file ends before its preview does. Copy it again from where it came from.",
        )
    largest = (
        f"only a thumbnail of {raw.previews[0].width} x {raw.previews[0].height} pixels"
        if raw.previews
        else "none"
    )
    remedy = (
        "Export it as JPEG."
        if is_developer_installed()
        else "To develop it, run: pip install 'landmark-tagger[raw]', then retry the failed photos. Or export it as JPEG."
    )
    return NoPreview(
        FailureKind.UNSUPPORTED,
        f"RAW photos are shown by the JPEG preview in them, and this one has {largest}. {remedy}",
    )
