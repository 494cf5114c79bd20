"""The comparison of files notices every change outside of the blocks."""

import random
import struct

import pytest
from rig.containers import jpeg_segment, png_chunk, riff_chunk
from support.format_photos import EXIF_NAME, IMAGE, LARGE, SMALL, encode_photo, exif_block, write_and_check

from tagger.metadata.formats import read_blocks
from tagger.metadata.formats.comparison import difference_outside_blocks

FACE = IMAGE.resize((16, 12))
PHOTOSHOP = jpeg_segment(
    0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x04iptc" + b"8BIM\x03\xed\0\0\0\0\0\x02ab"
)
JPEG = (
    encode_photo("JPEG", FACE, quality=20, exif=EXIF_NAME + exif_block(), comment=b"a comment") + b"a trailer"
)
PHOTOS = {
    "jpeg": JPEG[:20] + PHOTOSHOP + JPEG[20:],
    "mpo": encode_photo("MPO", FACE, quality=20, save_all=True, append_images=[FACE.rotate(180)]),
    "png": encode_photo("PNG", FACE, exif=exif_block()) + b"a trailer",
    "webp": encode_photo("WEBP", FACE, exif=exif_block(), icc_profile=b"profile") + b"a trailer",
    "tiff": encode_photo("TIFF", FACE, compression="jpeg"),
    "bigtiff": encode_photo("TIFF", FACE, big_tiff=True),
}


def ignored_bytes(data: bytes) -> list[range]:
    """The bytes of the blocks, and of what refers to them, which the comparison ignores."""
    blocks = read_blocks(data)
    existing = [block for block in (blocks.xmp, blocks.exif, blocks.iptc) if block]
    spans = [range(data.index(block) - 40, data.index(block) + len(block) + 8) for block in existing]
    if data[:4] == b"RIFF":
        spans.append(range(20, 21))
    if data[:4] in (b"II*\0", b"II+\0"):
        entry = data.rindex(struct.pack("<HH", 700, 1))
        spans.append(range(entry, entry + 20))
    return spans


@pytest.mark.parametrize("kind", PHOTOS)
def test_changed_byte_outside_of_the_blocks_is_noticed(kind: str) -> None:
    data = PHOTOS[kind]
    new = write_and_check(data, xmp=SMALL)
    ignored = ignored_bytes(new)
    rng = random.Random(kind)
    unnoticed = []
    for at in range(len(new)):
        if not any(at in span for span in ignored):
            changed = new[:at] + bytes([new[at] ^ rng.randrange(1, 256)]) + new[at + 1 :]
            if difference_outside_blocks(data, changed) is None:
                unnoticed.append(at)
    assert unnoticed == []


@pytest.mark.parametrize("kind", PHOTOS)
def test_missing_and_extra_bytes_are_noticed(kind: str) -> None:
    data = PHOTOS[kind]
    new = write_and_check(data, xmp=LARGE)
    start = max((span.stop for span in ignored_bytes(new)), default=0)
    for at in range(start, len(new) - 1, 7):
        assert difference_outside_blocks(data, new[:at] + new[at + 1 :])
        assert difference_outside_blocks(data, new[:at] + b"x" + new[at:])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (PHOTOS["jpeg"], PHOTOS["png"]),
        (PHOTOS["jpeg"], b""),
        (b"", b""),
        (b"GIF89a", b"GIF89a"),
        (PHOTOS["tiff"], PHOTOS["bigtiff"]),
        (PHOTOS["png"], PHOTOS["png"][:-30]),
    ],
)
def test_files_that_cannot_be_compared_differ(before: bytes, after: bytes) -> None:
    assert difference_outside_blocks(before, after)


def test_second_block_of_a_kind_is_compared() -> None:
    png = PHOTOS["png"]
    assert difference_outside_blocks(png, png[:33] + png_chunk(b"eXIf", b"another") + png[33:])
    webp = PHOTOS["webp"].removesuffix(b"a trailer")
    assert difference_outside_blocks(webp, webp + riff_chunk(b"EXIF", b"another"))
    jpeg = PHOTOS["jpeg"]
    assert difference_outside_blocks(
        jpeg, jpeg[:20] + jpeg_segment(0xE1, b"Exif\0\0" + exif_block("b")) + jpeg[20:]
    )


def test_added_header_with_another_size_is_noticed() -> None:
    plain = encode_photo("WEBP", FACE)
    new = write_and_check(plain, xmp=SMALL)
    assert difference_outside_blocks(plain, new[:24] + b"\x10" + new[25:]) == "the WebP header"
