"""The comparison of files notices every change outside of the blocks."""

import random

import pytest
from rig.containers import jpeg_segment
from support.format_photos import EXIF_NAME, IMAGE, LARGE, SMALL, encode_photo, exif_block, write_and_check

from tagger.metadata.formats import difference_outside_blocks, read_blocks

FACE = IMAGE.resize((16, 12))
PHOTOSHOP = jpeg_segment(
    0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x04iptc" + b"8BIM\x03\xed\0\0\0\0\0\x02ab"
)
JPEG = (
    encode_photo("JPEG", FACE, quality=20, exif=EXIF_NAME + exif_block(), comment=b"a comment")
    + b"\0\0\0\x18ftyp a video"
)
PHOTOS = {
    "jpeg": JPEG[:20] + PHOTOSHOP + JPEG[20:],
    "mpo": encode_photo("MPO", FACE, quality=20, save_all=True, append_images=[FACE.rotate(180)]),
}


def ignored_bytes(data: bytes) -> list[range]:
    """The bytes of the blocks, and of what refers to them, which the comparison ignores."""
    blocks = read_blocks(data)
    existing = [block for block in (blocks.xmp, blocks.exif, blocks.iptc) if block]
    return [range(data.index(block) - 40, data.index(block) + len(block) + 8) for block in existing]


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
        (PHOTOS["jpeg"], encode_photo("PNG", FACE)),
        (PHOTOS["jpeg"], b""),
        (b"", b""),
        (b"GIF89a", b"GIF89a"),
        (encode_photo("PNG", FACE), encode_photo("PNG", FACE)),
    ],
)
def test_files_that_cannot_be_compared_differ(before: bytes, after: bytes) -> None:
    assert difference_outside_blocks(before, after)


def test_second_block_of_a_kind_is_compared() -> None:
    jpeg = PHOTOS["jpeg"]
    assert difference_outside_blocks(
        jpeg, jpeg[:20] + jpeg_segment(0xE1, b"Exif\0\0" + exif_block("b")) + jpeg[20:]
    )
