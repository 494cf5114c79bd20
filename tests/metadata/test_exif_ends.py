"""EXIF blocks that are rewritten end their directories as the standard wants it."""

import struct

import pytest
from exif_blocks import ALL, block, blocks, camera_block
from hypothesis import given
from hypothesis import strategies as st

from tagger.metadata.exif import ExifUnsafe, add, only_ours_differs
from tagger.metadata.exif_fields import EXIF, FIRST, GPS, INTEROP, MAIN, fields_of
from tagger.metadata.formats.ifd import directories, read_header

ENTRY_BYTES = 12


def behind(data: bytes) -> dict[str, int]:
    """The number behind the last entry of each directory."""
    slots = fields_of(data).slots
    ends = {
        name: max((at + ENTRY_BYTES for (of, _), at in slots.items() if of == name), default=0)
        for name in (MAIN, FIRST, EXIF, GPS, INTEROP)
    }
    return {name: struct.unpack_from(">I", data, end)[0] for name, end in ends.items() if end}


def starts(data: bytes) -> dict[int, int]:
    """Where each directory begins, and how many entries it has."""
    header = read_header(data)
    assert header is not None
    return {directory.at: len(directory.fields) for directory in directories(data, header)}


@pytest.mark.parametrize("order", "<>")
def test_nothing_follows_any_directory_but_the_first(order: str) -> None:
    rewritten = add(camera_block(order), ALL).block or b""
    found = behind(rewritten)
    assert found.pop(MAIN) in starts(rewritten)
    assert found == {FIRST: 0, EXIF: 0, GPS: 0, INTEROP: 0}
    assert len(starts(rewritten)) == 5


def test_a_new_block_ends_its_directories() -> None:
    made = add(None, ALL).block or b""
    assert behind(made) == {MAIN: 0, GPS: 0}


@given(st.one_of(blocks(), st.just(block({}, exif={}))))
def test_whatever_is_rewritten_is_whole_and_ends(before: bytes) -> None:
    try:
        change = add(before, ALL)
    except ExifUnsafe:
        return
    after = change.block or b""
    if not change.added:
        return
    assert only_ours_differs(before, after, change.added) is None
    assert not fields_of(after).has_unnamed_bytes
    assert {number for name, number in behind(after).items() if name != MAIN} <= {0}
