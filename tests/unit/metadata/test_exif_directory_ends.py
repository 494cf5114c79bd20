"""Rewritten EXIF blocks end their directories as the standard requires."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig.exif_blocks import ALL, block, blocks, camera_block

from tagger.metadata.exif import ExifRewriteError, add, insertion_difference
from tagger.metadata.exif.block import EXIF, FIRST, GPS, INTEROP, MAIN, parse_block
from tagger.metadata.formats.ifd import directories, read_header

ENTRY_BYTES = 12


def end_numbers(data: bytes) -> dict[str, int]:
    """The number after the last entry of each directory."""
    entry_offsets = parse_block(data).entry_offsets
    ends = {
        name: max((at + ENTRY_BYTES for (of, _), at in entry_offsets.items() if of == name), default=0)
        for name in (MAIN, FIRST, EXIF, GPS, INTEROP)
    }
    return {name: struct.unpack_from(">I", data, end)[0] for name, end in ends.items() if end}


def entry_counts(data: bytes) -> dict[int, int]:
    """The offset of each directory, and its number of entries."""
    header = read_header(data)
    assert header is not None
    return {directory.at: len(directory.entries) for directory in directories(data, header)}


@pytest.mark.parametrize("order", "<>")
def test_only_the_first_directory_has_a_next_one(order: str) -> None:
    rewritten = add(camera_block(order), ALL).block or b""
    ends = end_numbers(rewritten)
    assert ends.pop(MAIN) in entry_counts(rewritten)
    assert ends == {FIRST: 0, EXIF: 0, GPS: 0, INTEROP: 0}
    assert len(entry_counts(rewritten)) == 5


def test_new_block_ends_its_directories() -> None:
    block = add(None, ALL).block or b""
    assert end_numbers(block) == {MAIN: 0, GPS: 0}


@given(st.one_of(blocks(), st.just(block({}, exif={}))))
def test_rewritten_blocks_are_complete_and_end(before: bytes) -> None:
    try:
        change = add(before, ALL)
    except ExifRewriteError:
        return
    after = change.block or b""
    if not change.added:
        return
    assert insertion_difference(before, after, change.added) is None
    assert not parse_block(after).has_unreferenced_bytes
    assert {number for name, number in end_numbers(after).items() if name != MAIN} <= {0}
