"""WebP files: blocks in chunks after the image, announced by the header."""

import struct

import pytest
from rig.containers import riff_chunk
from support.format_photos import (
    IMAGE,
    LARGE,
    SMALL,
    check_all_sizes,
    encode_photo,
    exif_block,
    refusal,
    write_and_check,
    write_and_check_pixels,
)

from tagger.metadata.errors import RefusalKind
from tagger.metadata.formats import read_blocks
from tagger.metadata.splices import Blocks

PLAIN = encode_photo("WEBP")
LOSSLESS = encode_photo("WEBP", lossless=True)
CLEAR = encode_photo("WEBP", IMAGE.convert("RGBA").rotate(30, fillcolor=(0, 0, 0, 0)), lossless=True)
DRESSED = encode_photo("WEBP", exif=b"Exif\0\0" + exif_block(), icc_profile=b"profile" * 33)
MOVING = encode_photo("WEBP", save_all=True, append_images=[IMAGE.rotate(180)], duration=100)


def riff(*chunks: bytes, behind: bytes = b"") -> bytes:
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content + behind


def header(data: bytes) -> tuple[int, int, int]:
    """Flags, width and height of the extended header."""
    assert data[12:16] == b"VP8X"
    return data[20], int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1


@pytest.mark.parametrize("data", [PLAIN, LOSSLESS, CLEAR, DRESSED, MOVING, PLAIN + b"behind", MOVING + b"x"])
def test_xmp_is_added_and_removed_without_other_changes(data: bytes) -> None:
    check_all_sizes(data)


@pytest.mark.parametrize(("data", "flags"), [(PLAIN, 0x04), (LOSSLESS, 0x04), (CLEAR, 0x14), (MOVING, 0x06)])
def test_header_states_size_transparency_and_blocks(data: bytes, flags: int) -> None:
    assert header(write_and_check_pixels(data, xmp=SMALL)) == (flags, *IMAGE.size)
    assert header(write_and_check_pixels(data, xmp=SMALL, exif=exif_block())) == (flags | 0x08, *IMAGE.size)


def test_flag_is_cleared_with_its_block() -> None:
    assert header(DRESSED)[0] == 0x28
    assert header(write_and_check_pixels(DRESSED, xmp=SMALL, exif=None))[0] == 0x24


def test_exif_with_a_jpeg_prefix_keeps_it() -> None:
    data = riff(DRESSED[12:30], PLAIN[12:], riff_chunk(b"EXIF", b"Exif\0\0" + exif_block()))
    assert read_blocks(data).exif == exif_block()
    assert riff_chunk(b"EXIF", b"Exif\0\0" + exif_block("bb")) in write_and_check_pixels(
        data, exif=exif_block("bb")
    )


def test_last_chunk_gets_its_missing_padding() -> None:
    data = riff(MOVING[12:], b"ODDS\x03\0\0\0abc")
    assert riff_chunk(b"ODDS", b"abc") + b"XMP " in write_and_check(data, xmp=SMALL)
    last = riff(DRESSED[12:30], PLAIN[12:], b"EXIF\x03\0\0\0abc")
    assert write_and_check(last, xmp=SMALL, exif=b"x").endswith(
        riff_chunk(b"EXIF", b"x") + riff_chunk(b"XMP ", SMALL)
    )
    assert write_and_check(last, xmp=SMALL).endswith(riff_chunk(b"EXIF", b"abc") + riff_chunk(b"XMP ", SMALL))
    assert write_and_check(last, exif=None).endswith(PLAIN[12:])


@pytest.mark.parametrize(
    "data",
    [
        PLAIN[:-4],
        riff(),
        riff(PLAIN[12:], b"EXIF\xff\0\0\0"),
        riff(riff_chunk(b"VP8X", b"short"), PLAIN[12:]),
        riff(riff_chunk(b"VP8 ", b"no picture")),
        riff(riff_chunk(b"EXIF", b"first"), PLAIN[12:]),
        riff(DRESSED[12:30], PLAIN[12:], riff_chunk(b"XMP ", SMALL) * 2),
    ],
)
def test_ambiguous_and_broken_files_are_refused(data: bytes) -> None:
    assert refusal(data, Blocks(xmp=LARGE)) == RefusalKind.STRUCTURE


def test_iptc_and_content_credentials_are_refused() -> None:
    assert refusal(PLAIN, Blocks(iptc=b"\x1c\x02")) == RefusalKind.FORMAT
    signed = riff(DRESSED[12:30], PLAIN[12:], riff_chunk(b"C2PA", b"jumb"))
    assert refusal(signed, Blocks(xmp=SMALL)) == RefusalKind.SIGNED
