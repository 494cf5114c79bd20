"""TIFF files: XMP in the first directory, new bytes at the end."""

import struct

import pytest
from support.format_photos import (
    IMAGE,
    LARGE,
    SMALL,
    encode_photo,
    refusal,
    write_and_check,
    write_and_check_pixels,
)

from tagger.metadata.errors import RefusalKind
from tagger.metadata.formats import can_embed, read_blocks
from tagger.metadata.splices import Blocks

PLAIN = encode_photo("TIFF", IMAGE)
TINY = IMAGE.resize((4, 3)).convert("L").tobytes()
KINDS = {3: "H", 4: "I", 16: "Q"}
MAIN = {
    256: (3, 4),
    257: (3, 3),
    258: (3, 8),
    259: (3, 1),
    262: (3, 1),
    273: (4, 0),
    277: (3, 1),
    278: (3, 3),
    279: (4, 12),
}


def tiff(order: str = "<", *, big: bool = False, following: int = 0, **changes: tuple[int, int]) -> bytes:
    """A grey image of 4 by 3 pixels, followed by its directory."""
    tags = MAIN | {int(tag[1:]): value for tag, value in changes.items()}
    slot, start = ("Q", 16) if big else ("I", 8)
    tags[273] = (4, start)
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    head += struct.pack(order + "HH", 8, 0) if big else b""
    entries = b""
    for tag, (kind, value) in tags.items():
        packed = struct.pack(order + KINDS[kind], value).ljust(8 if big else 4, b"\0")
        entries += struct.pack(order + "HH" + slot, tag, kind, 1) + packed
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    return (
        head
        + struct.pack(order + slot, start + 12)
        + TINY
        + count
        + entries
        + struct.pack(order + slot, following)
    )


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        PLAIN + b"x",
        encode_photo("TIFF", save_all=True, append_images=[IMAGE.rotate(180)]),
        encode_photo("TIFF", big_tiff=True),
        tiff("<"),
        tiff(">"),
        tiff("<", big=True),
    ],
)
def test_xmp_is_added_and_removed_without_moving_data(data: bytes) -> None:
    with_small = write_and_check_pixels(data, xmp=SMALL)
    with_large = write_and_check_pixels(with_small, xmp=LARGE)
    without = write_and_check_pixels(with_large, xmp=None)
    assert read_blocks(without) == Blocks()
    first_at = 8 if data[2:4] in (b"\x2b\0", b"\0\x2b") else 4
    for new in (with_small, with_large, without):
        assert new[:first_at] == data[:first_at]
        assert new[first_at + 8 : len(data)] == data[first_at + 8 :]


def test_big_endian_bigtiff_is_written() -> None:
    data = tiff(">", big=True)
    new = write_and_check(write_and_check(data, xmp=SMALL), xmp=LARGE)
    assert new[16 : len(data)] == data[16:]
    assert write_and_check(new, xmp=None)[16 : len(data)] == data[16:]


def test_unsorted_entries_stay_in_their_order() -> None:
    data = write_and_check(tiff(t315=(4, 1), t305=(4, 1), t34000=(4, 1), t33000=(4, 1)), xmp=SMALL)
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    tags = [struct.unpack_from("<H", data, first + 2 + 12 * number)[0] for number in range(count)]
    assert tags == [*MAIN, 315, 305, 700, 34000, 33000]


@pytest.mark.parametrize(
    "data",
    [
        b"II*\0\0\0\0\0",
        tiff()[:8] + TINY + b"\xff\xff",
        tiff(t700=(4, 1)).replace(struct.pack("<HHI", 700, 4, 1), struct.pack("<HHI", 700, 1, 9999)),
        tiff(t273=(4, 8), t279=(4, 9999)),
    ],
)
def test_broken_files_are_refused(data: bytes) -> None:
    assert can_embed(data)
    assert refusal(data, Blocks(xmp=SMALL)) == RefusalKind.STRUCTURE


@pytest.mark.parametrize("changes", [{"t262": (3, 32803)}, {"t259": (3, 34713)}, {"t50706": (4, 1)}])
def test_raw_files_of_cameras_are_refused(changes: dict[str, tuple[int, int]]) -> None:
    assert refusal(tiff(**changes), Blocks(xmp=SMALL)) == RefusalKind.FORMAT


def test_exif_iptc_content_credentials_and_notes_at_the_end_are_refused() -> None:
    assert refusal(PLAIN, Blocks(exif=b"II")) == RefusalKind.FORMAT
    assert refusal(PLAIN, Blocks(iptc=b"\x1c\x02")) == RefusalKind.FORMAT
    assert refusal(tiff(t52545=(4, 1)), Blocks(xmp=SMALL)) == RefusalKind.SIGNED
    notes = b"notes" + struct.pack(">I", 5) + b"cbipcbbl"
    assert refusal(PLAIN + notes, Blocks(xmp=SMALL)) == RefusalKind.OFFSETS


@pytest.mark.parametrize("data", [tiff(following=20), tiff(t330=(4, 20)), tiff(t34665=(4, 20))])
def test_circular_directories_are_refused(data: bytes) -> None:
    assert refusal(data, Blocks(xmp=SMALL)) == RefusalKind.STRUCTURE
