"""Broken photos are refused, or written without other changes and restored exactly."""

import random
from contextlib import suppress
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st
from rig.containers import jpeg_segment
from rig.mutations import broken
from rig.odd_photos import small_photos
from support.examples import examples
from support.format_photos import EXIF_NAME, IMAGE, LARGE, SMALL, encode_photo, exif_block

from tagger.metadata.errors import WriteRefused
from tagger.metadata.formats import difference_outside_blocks, is_jpeg, read_blocks, replace_blocks
from tagger.metadata.formats.jpeg import apply_splices, extended_xmp, inverse_of, undo_splices
from tagger.photos.containers import digest_photo

FACE = IMAGE.resize((16, 12))
JPEG = encode_photo("JPEG", FACE, quality=20, exif=EXIF_NAME + exif_block())
IPTC = jpeg_segment(
    0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x04iptc" + b"8BIM\x04\x25\0\0\0\0\0\x10" + bytes(16)
)
PHOTOS = {kind: data for kind, data in small_photos().items() if is_jpeg(data)} | {
    "iptc": JPEG[:20] + IPTC + JPEG[20:],
    "small mpo": encode_photo("MPO", FACE, quality=20, save_all=True, append_images=[FACE.rotate(180)]),
}
blocks = st.one_of(
    st.none(), st.sampled_from([SMALL, LARGE, exif_block()]), st.binary(min_size=1, max_size=70_000)
)
HEADS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR",
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"II*\0\x08\0\0\0\x02\0",
    b"MM\0+\0\x08\0\0",
    JPEG[:-2],
]


def write_or_refuse(data: bytes, **new_blocks: bytes | None) -> bool:
    """Write the blocks and check that nothing else changed. Returns False if the file is refused."""
    try:
        before = read_blocks(data)
        blocks_to_write = replace(before, **new_blocks)
        splices = replace_blocks(data, blocks_to_write)
    except WriteRefused:
        return False
    new = apply_splices(data, splices)
    assert difference_outside_blocks(data, new) is None
    assert undo_splices(new, inverse_of(data, splices)) == data
    assert read_blocks(new) == blocks_to_write
    if blocks_to_write.exif == before.exif:
        assert digest_photo(new) == digest_photo(data)
    return True


@examples(100)
@given(kind=st.sampled_from(sorted(PHOTOS)), seed=st.integers(0, 2**32), xmp=blocks, exif=blocks, iptc=blocks)
def test_broken_photos_accept_all_blocks_or_are_refused(
    kind: str, seed: int, xmp: bytes | None, exif: bytes | None, iptc: bytes | None
) -> None:
    data = broken(PHOTOS[kind], list(PHOTOS.values()), random.Random(seed))
    write_or_refuse(data, xmp=xmp, exif=exif, iptc=iptc)


@examples(125)
@given(head=st.sampled_from([b"", *HEADS]), tail=st.binary(max_size=300))
@example(head=b"II*\0\x08\0\0\0", tail=b"\xff\xff")
def test_arbitrary_bytes_are_refused_or_written(head: bytes, tail: bytes) -> None:
    write_or_refuse(head + tail, xmp=SMALL)
    difference_outside_blocks(head + tail, tail)
    difference_outside_blocks(JPEG, head + tail)
    with suppress(WriteRefused):
        extended_xmp(head + tail)


def test_valid_photos_are_written() -> None:
    for data in PHOTOS.values():
        assert write_or_refuse(data, xmp=LARGE)
        write_or_refuse(data, xmp=None)
