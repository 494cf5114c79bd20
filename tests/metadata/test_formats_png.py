"""PNG files: blocks in chunks ahead of the picture, or where they were."""

import io
import zlib

import pytest
from format_photos import (
    LARGE,
    PICTURE,
    SMALL,
    chunk,
    exif_block,
    goes_through_all_sizes,
    looks_written,
    saved,
)
from PIL import Image

from tagger.metadata.blocks import Blocks
from tagger.metadata.formats import read_blocks, replace_blocks
from tagger.metadata.refusals import RefusalKind, WriteRefused

PLAIN = saved("PNG")
HEADER_END = 33
NAME = b"XML:com.adobe.xmp\0"
XMP_CHUNK = chunk(b"iTXt", NAME + b"\0\0\0\0" + SMALL)


def ahead(*chunks: bytes) -> bytes:
    return PLAIN[:HEADER_END] + b"".join(chunks) + PLAIN[HEADER_END:]


def behind(*chunks: bytes) -> bytes:
    return PLAIN[:-12] + b"".join(chunks) + PLAIN[-12:]


def refusal(data: bytes, wanted: Blocks) -> RefusalKind:
    with pytest.raises(WriteRefused) as caught:
        replace_blocks(data, wanted)
    return caught.value.kind


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        saved("PNG", PICTURE.quantize(16), transparency=3),
        saved("PNG", exif=exif_block(), dpi=(72, 72), icc_profile=b"profile" * 99),
        saved("PNG", save_all=True, append_images=[PICTURE.rotate(90, expand=False)], duration=100),
        PLAIN + b"behind the end",
        behind(chunk(b"tEXt", b"Comment\0words"), chunk(b"eXIf", exif_block())),
    ],
)
def test_xmp_goes_in_and_out_and_nothing_else_changes(data: bytes) -> None:
    goes_through_all_sizes(data)


def test_pillow_reads_what_was_written() -> None:
    with Image.open(io.BytesIO(looks_written(PLAIN, xmp=SMALL, exif=exif_block("another")))) as image:
        image.load()
        assert image.info["xmp"] == SMALL
        assert image.getexif()[271] == "another"


def test_packed_xmp_is_read_and_written_unpacked_in_its_place() -> None:
    data = behind(
        chunk(b"iTXt", NAME + b"\1\0en\0\0" + zlib.compress(SMALL)), chunk(b"tEXt", b"Comment\0words")
    )
    assert read_blocks(data).xmp == SMALL
    new = looks_written(data, xmp=LARGE)
    assert new.index(b"IDAT") < new.index(NAME) < new.index(b"Comment")


def test_exif_that_begins_as_in_a_jpeg_goes_on_doing_so() -> None:
    data = ahead(chunk(b"eXIf", b"Exif\0\0" + exif_block()))
    assert read_blocks(data).exif == exif_block()
    assert chunk(b"eXIf", b"Exif\0\0" + exif_block("b")) in looks_written(data, exif=exif_block("b"))


@pytest.mark.parametrize(
    "data",
    [
        ahead(XMP_CHUNK, XMP_CHUNK),
        ahead(XMP_CHUNK, chunk(b"tEXt", NAME + SMALL)),
        ahead(chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(SMALL))),
        ahead(chunk(b"iTXt", b"Raw profile type APP1\0\0\0\0\0" + SMALL)),
        ahead(chunk(b"iTXt", NAME + b"\1\0\0\0not packed")),
        ahead(chunk(b"iTXt", NAME + b"\1\0\0\0" + zlib.compress(bytes(17 * 2**20)))),
        ahead(chunk(b"iTXt", NAME + b"\0\0no end")),
        ahead(XMP_CHUNK[:-1] + b"x"),
        PLAIN[:-5],
        PLAIN[:HEADER_END] + PLAIN[-12:],
        ahead(b"\0\0\0\0\0\0\0\0\0\0\0\0"),
    ],
)
def test_what_has_no_one_place_or_does_not_hold_together_is_refused(data: bytes) -> None:
    assert refusal(data, Blocks(xmp=LARGE)) == RefusalKind.STRUCTURE


def test_old_raw_profiles_keep_only_their_own_block_from_being_written() -> None:
    looks_written(ahead(chunk(b"tEXt", b"Raw profile type iptc\0x")), xmp=LARGE, exif=exif_block())
    with_exif = ahead(chunk(b"tEXt", b"Raw profile type exif\0x"))
    looks_written(with_exif, xmp=LARGE)
    assert refusal(with_exif, Blocks(exif=exif_block())) == RefusalKind.STRUCTURE
    assert refusal(ahead(chunk(b"eXIf", b"a") * 2), Blocks(exif=b"b")) == RefusalKind.STRUCTURE


def test_iptc_and_content_credentials_are_refused() -> None:
    assert refusal(PLAIN, Blocks(iptc=b"\x1c\x02")) == RefusalKind.FORMAT
    assert refusal(ahead(chunk(b"caBX", b"jumb")), Blocks(xmp=SMALL)) == RefusalKind.OFFSETS
