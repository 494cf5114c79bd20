"""Parses photos' files: the bytes of the image, its digest, its orientation, and the EXIF block.

The bytes of the image change if and only if the visible image changes; writing keywords, dates or ratings
does not change them. The reader of each format finds them, in linear time and bounded memory. Knows nothing
of pixels, and of EXIF only the orientation.
"""

from collections.abc import Callable
from dataclasses import dataclass

from blake3 import blake3

from tagger.photos.formats import detect_format
from tagger.photos.jpeg import Part
from tagger.photos.tiff import open_tiff, orientation_of

DIGEST_VERSION = 1


@dataclass(frozen=True)
class Container:
    """`parts` are the image data in order; `exif` is a TIFF block that `tiff.open_tiff` reads."""

    parts: tuple[Part, ...]
    orientation: int
    exif: bytes | None


def read_container(data: bytes) -> Container | None:
    """Parse a file; None if its format has no parser here or it has no image data."""
    photo_format = detect_format(data)
    parts = photo_format.reader.image_parts(data) if photo_format else None
    if photo_format is None or not parts:
        return None
    exif = photo_format.reader.exif(data) if photo_format.reader.exif else None
    return Container(parts, _orientation(exif), exif)


def has_image(head: bytes, size_bytes: int) -> bool:
    """Whether a file of a known format, which begins with `head`, may have an image.

    Of a file that `head` has as a whole, the container says so. In another one, the image may follow.
    """
    if size_bytes > len(head):
        return True
    photo_format = detect_format(head)
    return size_bytes >= _LEAST_BYTES and (
        photo_format is None or photo_format.reader.may_have_image(head)
    )


# Of a GIF, BMP or WebP with one pixel.
_LEAST_BYTES = 26


def exif_of(data: bytes) -> bytes | None:
    """The EXIF block, without reading the image. Of a TIFF and most RAW photos, it is the whole file."""
    find = _exif_finder(data)
    return find(data) if find else None


def orientation_in(data: bytes) -> int | None:
    """Return the EXIF orientation, 1 to 8; None for other formats."""
    find = _exif_finder(data)
    return _orientation(find(data)) if find else None


def _exif_finder(data: bytes) -> Callable[[bytes], bytes | None] | None:
    photo_format = detect_format(data)
    return photo_format.reader.exif if photo_format else None


def _orientation(exif: bytes | None) -> int:
    return orientation_of(open_tiff(exif or b""))


def digest_photo(data: bytes) -> str:
    """Return the digest of a photo's image data and orientation, without other metadata.

    If the container cannot be parsed, it is a digest of the whole file, which never equals one of image data.
    """
    return digest_container(read_container(data), data)


def digest_container(container: Container | None, data: bytes) -> str:
    if container is None:
        return f"{DIGEST_VERSION}-{blake3(b'file').update(data).hexdigest()}"
    hasher = blake3(b"picture" + bytes([container.orientation]))
    for part in container.parts:
        hasher.update(part)
    return f"{DIGEST_VERSION}-{hasher.hexdigest()}"
