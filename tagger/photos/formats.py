"""Detects a photo's format by its first bytes, and names images that are not as a camera took them.

The file's name is no evidence. This is the only place that knows the signatures of formats, apart from those
of cameras' RAW files (see raw). Whether a format can be decoded is decided in decoding.
"""

from enum import StrEnum


class PhotoFormat(StrEnum):
    """The formats that can be read. JPEG includes MPO: a JPEG with further images behind the first."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    TIFF = "TIFF"
    GIF = "GIF"
    BMP = "BMP"
    AVIF = "AVIF"
    HEIF = "HEIC"
    RAW = "RAW"


BOXES_BYTES = 2**18
"""Boxes of AVIF and HEIC with sizes and depths are small and come before the coded data."""
HEAD_BYTES = 256
"""How much of a file `detect_format` looks at."""


def detect_format(head: bytes) -> PhotoFormat | None:
    """Return the format of a file that begins with `head`, or None if it has none of these formats.

    Pass the whole file or at least its first HEAD_BYTES. Of some RAW files, only the whole differs from a
    TIFF.
    """
    known = next((match for signature, match in _SIGNATURES if head.startswith(signature)), None)
    if known not in (None, PhotoFormat.TIFF):  # of these, only a TIFF may be a RAW file
        return known
    # Only here: `tagger query` needs no more than the names of formats.
    from tagger.photos.raw.layout import is_raw

    if is_raw(head):
        return PhotoFormat.RAW
    if is_iso_media(head):
        return _iso_media_format(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return PhotoFormat.WEBP
    return known


def is_iso_media(head: bytes) -> bool:
    """Whether the file consists of ISO base media boxes: AVIF and HEIC, but also MP4 and other video."""
    return head[4:8] == b"ftyp"


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
BIG_ENDIAN_BIGTIFF = b"MM\0+"
_SIGNATURES = (
    (b"\xff\xd8\xff", PhotoFormat.JPEG),
    (PNG_SIGNATURE, PhotoFormat.PNG),
    (b"GIF87a", PhotoFormat.GIF),
    (b"GIF89a", PhotoFormat.GIF),
    (b"II*\0", PhotoFormat.TIFF),
    (b"MM\0*", PhotoFormat.TIFF),
    (b"II+\0", PhotoFormat.TIFF),
    (BIG_ENDIAN_BIGTIFF, PhotoFormat.TIFF),
    (b"BM", PhotoFormat.BMP),
)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF_BRANDS = _HEVC_BRANDS | {b"mif1", b"msf1"}


def _iso_media_format(head: bytes) -> PhotoFormat | None:
    """The major brand decides; if it names no codec, any brand of the list does."""
    major = head[8:12]
    end = min(int.from_bytes(head[:4], "big"), HEAD_BYTES)
    brands = {major, *(head[at : at + 4] for at in range(16, end, 4))}
    if major in _AVIF_BRANDS or (brands & _AVIF_BRANDS and major not in _HEVC_BRANDS):
        return PhotoFormat.AVIF
    return PhotoFormat.HEIF if brands & _HEIF_BRANDS else None


class PhotoOrigin(StrEnum):
    """Why an image is not as a camera took it: its time and position say little about what it shows."""

    SCREENSHOT = "screenshot"
    EDITED = "edited"
