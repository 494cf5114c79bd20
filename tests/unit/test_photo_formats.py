"""Detecting formats by signatures."""

import pytest

from tagger.photos.formats import PhotoFormat, detect_format


def iso_media(major: bytes, *compatible: bytes) -> bytes:
    """The first box of an ISO base media file."""
    body = b"ftyp" + major + b"\0\0\0\0" + b"".join(compatible)
    return (4 + len(body)).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0", PhotoFormat.JPEG),
        (b"\x89PNG\r\n\x1a\n", PhotoFormat.PNG),
        (b"RIFF\0\0\0\0WEBPVP8 ", PhotoFormat.WEBP),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"II*\0", PhotoFormat.TIFF),
        (b"MM\0+", PhotoFormat.TIFF),
        (b"GIF89a", PhotoFormat.GIF),
        (b"BM", PhotoFormat.BMP),
        (iso_media(b"avif", b"mif1"), PhotoFormat.AVIF),
        (iso_media(b"mif1", b"heic", b"avif"), PhotoFormat.AVIF),
        (iso_media(b"heic", b"avif"), PhotoFormat.HEIF),
        (iso_media(b"mif1"), PhotoFormat.HEIF),
        (b"%PDF-1.7", None),
        (b"", None),
    ],
)
def test_the_first_bytes_decide(head: bytes, expected: PhotoFormat | None) -> None:
    assert detect_format(head) is expected
