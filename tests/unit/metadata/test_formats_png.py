"""PNG files: new blocks are chunks before the image, existing ones stay in place."""

import zlib

import pytest
from rig.containers import png_chunk
from support.format_photos import (
    IMAGE,
    LARGE,
    SMALL,
    check_all_sizes,
    encode_photo,
    exif_block,
    refusal,
    write_and_check_pixels,
)

from tagger.metadata.errors import RefusalKind
from tagger.metadata.formats import read_blocks
from tagger.metadata.splices import Blocks

PLAIN = encode_photo("PNG")
HEADER_END = 33
NAME = b"XML:com.adobe.xmp\0"
XMP_CHUNK = png_chunk(b"iTXt", NAME + b"\0\0\0\0" + SMALL)


def with_chunks_before(*chunks: bytes) -> bytes:
    return PLAIN[:HEADER_END] + b"".join(chunks) + PLAIN[HEADER_END:]


def with_chunks_after(*chunks: bytes) -> bytes:
    return PLAIN[:-12] + b"".join(chunks) + PLAIN[-12:]


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        encode_photo("PNG", IMAGE.quantize(16), transparency=3),
        encode_photo("PNG", exif=exif_block(), dpi=(72, 72), icc_profile=b"profile" * 99),
        encode_photo("PNG", save_all=True, append_images=[IMAGE.rotate(90, expand=False)], duration=100),
        PLAIN + b"behind the end",
        with_chunks_after(png_chunk(b"tEXt", b"Comment\0words"), png_chunk(b"eXIf", exif_block())),
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
    data = with_chunks_before(png_chunk(b"eXIf", b"Exif\0\0" + exif_block()))
    assert read_blocks(data).exif == exif_block()
    assert png_chunk(b"eXIf", b"Exif\0\0" + exif_block("b")) in write_and_check_pixels(
        data, exif=exif_block("b")
    )


@pytest.mark.parametrize(
    "data",
    [
        with_chunks_before(XMP_CHUNK, XMP_CHUNK),
        with_chunks_before(XMP_CHUNK, png_chunk(b"tEXt", NAME + SMALL)),
        with_chunks_before(png_chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(SMALL))),
        with_chunks_before(png_chunk(b"iTXt", NAME + b"\1\0\0\0not packed")),
        with_chunks_before(png_chunk(b"iTXt", NAME + b"\1\0\0\0" + zlib.compress(bytes(17 * 2**20)))),
        with_chunks_before(XMP_CHUNK[:-1] + b"x"),
        PLAIN[:-5],
        with_chunks_before(b"\0\0\0\0\0\0\0\0\0\0\0\0"),
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
    assert refusal(PLAIN, Blocks(iptc=b"\x1c\x02")) == RefusalKind.FORMAT
    assert refusal(with_chunks_before(png_chunk(b"caBX", b"jumb")), Blocks(xmp=SMALL)) == RefusalKind.SIGNED
