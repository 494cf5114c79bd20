"""PNG and WebP files: new blocks are chunks before the image of a PNG, where existing ones stay in place, and after that of a WebP, whose header announces them."""

import struct
import zlib

import pytest
from rig.containers import png_chunk, riff_chunk
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

PNG = encode_photo("PNG")
HEADER_END = 33
NAME = b"XML:com.adobe.xmp\0"
XMP_CHUNK = png_chunk(b"iTXt", NAME + b"\0\0\0\0" + SMALL)
WEBP = encode_photo("WEBP")
LOSSLESS = encode_photo("WEBP", lossless=True)
CLEAR = encode_photo("WEBP", IMAGE.convert("RGBA").rotate(30, fillcolor=(0, 0, 0, 0)), lossless=True)
DRESSED = encode_photo("WEBP", exif=b"Exif\0\0" + exif_block(), icc_profile=b"profile" * 33)
MOVING = encode_photo("WEBP", save_all=True, append_images=[IMAGE.rotate(180)], duration=100)


def with_chunks_before(*chunks: bytes) -> bytes:
    return PNG[:HEADER_END] + b"".join(chunks) + PNG[HEADER_END:]


def with_chunks_after(*chunks: bytes) -> bytes:
    return PNG[:-12] + b"".join(chunks) + PNG[-12:]


def riff(*chunks: bytes) -> bytes:
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def header(data: bytes) -> tuple[int, int, int]:
    """Flags, width and height of the extended header."""
    assert data[12:16] == b"VP8X"
    return data[20], int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1


@pytest.mark.parametrize(
    "data",
    [
        PNG,
        encode_photo("PNG", IMAGE.quantize(16), transparency=3),
        encode_photo("PNG", exif=exif_block(), dpi=(72, 72), icc_profile=b"profile" * 99),
        encode_photo("PNG", save_all=True, append_images=[IMAGE.rotate(90, expand=False)], duration=100),
        PNG + b"behind the end",
        with_chunks_after(png_chunk(b"tEXt", b"Comment\0words"), png_chunk(b"eXIf", exif_block())),
        *(WEBP, LOSSLESS, CLEAR, DRESSED, MOVING, WEBP + b"behind", MOVING + b"x"),
    ],
)
def test_xmp_is_added_and_removed_without_other_changes(data: bytes) -> None:
    check_all_sizes(data)


def test_compressed_xmp_is_replaced_by_uncompressed() -> None:
    data = with_chunks_after(
        png_chunk(b"iTXt", NAME + b"\1\0en\0\0" + zlib.compress(SMALL)), png_chunk(b"tEXt", b"Comment\0words")
    )
    assert read_blocks(data).xmp == SMALL
    new = write_and_check_pixels(data, xmp=LARGE)
    assert new.index(b"IDAT") < new.index(NAME) < new.index(b"Comment")


def test_exif_with_a_jpeg_prefix_keeps_it() -> None:
    old, new = (b"Exif\0\0" + exif_block(text) for text in ("a camera", "bb"))
    for data, chunk in (
        (with_chunks_before(png_chunk(b"eXIf", old)), png_chunk(b"eXIf", new)),
        (riff(DRESSED[12:30], WEBP[12:], riff_chunk(b"EXIF", old)), riff_chunk(b"EXIF", new)),
    ):
        assert read_blocks(data).exif == exif_block()
        assert chunk in write_and_check_pixels(data, exif=exif_block("bb"))


@pytest.mark.parametrize(("data", "flags"), [(WEBP, 0x04), (LOSSLESS, 0x04), (CLEAR, 0x14), (MOVING, 0x06)])
def test_header_states_size_transparency_and_blocks(data: bytes, flags: int) -> None:
    assert header(write_and_check_pixels(data, xmp=SMALL)) == (flags, *IMAGE.size)
    assert header(write_and_check_pixels(data, xmp=SMALL, exif=exif_block())) == (flags | 0x08, *IMAGE.size)


def test_flag_is_cleared_with_its_block() -> None:
    assert header(DRESSED)[0] == 0x28
    assert header(write_and_check_pixels(DRESSED, xmp=SMALL, exif=None))[0] == 0x24


def test_last_chunk_gets_its_missing_padding() -> None:
    data = riff(MOVING[12:], b"ODDS\x03\0\0\0abc")
    assert riff_chunk(b"ODDS", b"abc") + b"XMP " in write_and_check(data, xmp=SMALL)
    last = riff(DRESSED[12:30], WEBP[12:], b"EXIF\x03\0\0\0abc")
    assert write_and_check(last, xmp=SMALL, exif=b"x").endswith(
        riff_chunk(b"EXIF", b"x") + riff_chunk(b"XMP ", SMALL)
    )
    assert write_and_check(last, xmp=SMALL).endswith(riff_chunk(b"EXIF", b"abc") + riff_chunk(b"XMP ", SMALL))
    assert write_and_check(last, exif=None).endswith(WEBP[12:])


@pytest.mark.parametrize(
    "data",
    [
        with_chunks_before(XMP_CHUNK, XMP_CHUNK),
        with_chunks_before(XMP_CHUNK, png_chunk(b"tEXt", NAME + SMALL)),
        with_chunks_before(png_chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(SMALL))),
        with_chunks_before(png_chunk(b"iTXt", NAME + b"\1\0\0\0not packed")),
        with_chunks_before(png_chunk(b"iTXt", NAME + b"\1\0\0\0" + zlib.compress(bytes(17 * 2**20)))),
        with_chunks_before(XMP_CHUNK[:-1] + b"x"),
        PNG[:-5],
        with_chunks_before(b"\0\0\0\0\0\0\0\0\0\0\0\0"),
        WEBP[:-4],
        riff(),
        riff(WEBP[12:], b"EXIF\xff\0\0\0"),
        riff(riff_chunk(b"VP8X", b"short"), WEBP[12:]),
        riff(riff_chunk(b"VP8 ", b"no picture")),
        riff(riff_chunk(b"EXIF", b"first"), WEBP[12:]),
        riff(DRESSED[12:30], WEBP[12:], riff_chunk(b"XMP ", SMALL) * 2),
    ],
)
def test_ambiguous_and_broken_files_are_refused(data: bytes) -> None:
    assert refusal(data, Blocks(xmp=LARGE)) == RefusalKind.STRUCTURE


def test_raw_profiles_prevent_only_writing_their_own_block() -> None:
    write_and_check_pixels(
        with_chunks_before(png_chunk(b"tEXt", b"Raw profile type iptc\0x")), xmp=LARGE, exif=exif_block()
    )
    with_exif = with_chunks_before(png_chunk(b"tEXt", b"Raw profile type exif\0x"))
    write_and_check_pixels(with_exif, xmp=LARGE)
    assert refusal(with_exif, Blocks(exif=exif_block())) == RefusalKind.STRUCTURE
    assert (
        refusal(with_chunks_before(png_chunk(b"eXIf", b"a") * 2), Blocks(exif=b"b")) == RefusalKind.STRUCTURE
    )


def test_iptc_and_content_credentials_are_refused() -> None:
    for data in (PNG, WEBP):
        assert refusal(data, Blocks(iptc=b"\x1c\x02")) == RefusalKind.FORMAT
    signed = riff(DRESSED[12:30], WEBP[12:], riff_chunk(b"C2PA", b"jumb"))
    for data in (with_chunks_before(png_chunk(b"caBX", b"jumb")), signed):
        assert refusal(data, Blocks(xmp=SMALL)) == RefusalKind.SIGNED
