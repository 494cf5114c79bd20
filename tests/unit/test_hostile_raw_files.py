"""Broken and hostile RAW files: they are shown or fail alone, in bounded time and memory."""

import random
import struct
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rig.mutations import broken
from rig.raw_files import RAW_KINDS, RawContent, TiffFile, bare_mrw, box, raw_file
from support.examples import examples

from tagger.errors import PhotoFailed
from tagger.metadata.camera import camera_facts
from tagger.metadata.formats import read_blocks
from tagger.photos.containers import digest_photo
from tagger.photos.decoding import Resize, decode_photo
from tagger.photos.raw import read_raw

FILES = {kind: raw_file(kind) for kind in RAW_KINDS} | {
    "mrw": bare_mrw(Image.new("RGB", (64, 64), "navy")),
}
fuzzing = examples(38)
kinds = st.sampled_from(sorted(FILES))


def examine(data: bytes) -> None:
    """Read all that is read of a photo; the only error is the photo's own failure."""
    raw = read_raw(data)
    assert sum(map(len, raw.image)) <= len(data)
    assert all(preview.pixels > 0 for preview in raw.previews)
    assert digest_photo(data) == digest_photo(data)
    camera_facts(data)
    read_blocks(data)
    with suppress(PhotoFailed):
        decode_photo(data, Resize(64, 64), max_pixels=10**6)


@fuzzing
@given(kind=kinds, seed=st.integers(0, 2**32))
def test_damaged_files(kind: str, seed: int) -> None:
    examine(broken(FILES[kind], list(FILES.values()), random.Random(seed)))


@fuzzing
@given(kind=kinds, seed=st.integers(0, 2**32))
def test_files_with_random_numbers_in_their_directories(kind: str, seed: int) -> None:
    rng, data = random.Random(seed), bytearray(FILES[kind])
    odd = (0, 1, 8, 12, len(data) - 1, len(data), 2**16, 2**31, 2**32 - 1)
    for _ in range(rng.randrange(1, 20)):
        at = rng.randrange(4, len(data) - 4)
        struct.pack_into(rng.choice("<>") + "I", data, at, rng.choice(odd))
    examine(bytes(data))


@pytest.mark.parametrize("order", [b"II*\0", b"MM\0*"])
def test_directories_that_refer_to_each_other_are_read_once(order: bytes) -> None:
    tiff = TiffFile(order)
    at = 8
    loop = {
        262: tiff.short(32803),
        330: tiff.long(*[at] * 1000),
        0x8769: tiff.long(at),
        0x8825: tiff.long(at),
    }
    tiff.directory({tag: value for tag, value in loop.items() if tag != 330}, following=at)
    assert read_raw(tiff.ending_at(at)).previews == ()
    first = tiff.directory(loop, following=at)
    examine(tiff.ending_at(first))


def test_a_chain_of_thousands_of_directories_is_read_in_part() -> None:
    tiff = TiffFile()
    following = 0
    for _ in range(5000):
        following = tiff.directory({262: tiff.short(32803), 330: tiff.long(following or 8)}, following)
    examine(tiff.ending_at(following))


def test_boxes_without_end_are_read_in_part() -> None:
    head = box(b"ftyp", b"crx \0\0\0\1crx isom")
    deep = b""
    for _ in range(2000):
        deep = box(b"moov", deep)
    examine(head + deep)
    examine(head + box(b"moov", box(b"trak") * 100_000))
    examine(head + struct.pack(">I4sQ", 1, b"moov", 2**64 - 1) + bytes(100))


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_finding_previews_copies_nothing_of_the_file(kind: str) -> None:
    data = raw_file(kind, RawContent(sensor=bytes(range(256)) * 2**15))
    read_raw(data)
    tracemalloc.start()
    try:
        raw = read_raw(data)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(map(len, raw.image)) >= 2**23
    assert most_bytes < 2**20


def test_tags_that_refer_to_the_same_megabytes_take_no_more_of_them() -> None:
    size = 2**21
    tiff = TiffFile()
    shared = tiff.add(bytes(size))
    entries = b"".join(struct.pack("<HHII", tag, 7, size, shared) for tag in range(4000))
    first = tiff.add(struct.pack("<H", 4000) + entries + bytes(4))
    data = tiff.ending_at(first)
    metadata = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    boxes = b"".join(box(kind, data) for kind in (b"CMT1", b"CMT2", b"CMT4"))
    cr3 = box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", box(b"uuid", metadata, boxes))
    tracemalloc.start()
    try:
        read_raw(cr3)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 4 * len(cr3)
