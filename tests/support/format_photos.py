"""Small photos with metadata blocks, and the checks of each write."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageSequence
from rig.containers import encode_image
from rig.drawing import draw_photo

from tagger.metadata import RefusalKind, TagFields, WriteRefused
from tagger.metadata.formats import difference_outside_blocks, read_blocks, replace_blocks
from tagger.metadata.formats.jpeg import apply_splices, inverse_of, undo_splices
from tagger.metadata.photo_files import temporary_name
from tagger.metadata.plans import (
    FilePlan,
    FindUndoRecord,
    UndoRecord,
    owner_values,
    plan_embed,
    plan_sidecar,
    read_sidecar,
)
from tagger.photos.formats import Blocks, digest_photo

IMAGE = draw_photo(2, (96, 64))
SMALL, LARGE = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>a</x:xmpmeta>",
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>" + b" " * 4001,
)
MAX_BYTES = 10**6
EXIF_NAME, XMP_NAME = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


def encode_photo(kind: str, image: Image.Image = IMAGE, **options: object) -> bytes:
    return encode_image(image, kind, **options)


def exif_block(text: str = "a camera") -> bytes:
    block = Image.Exif()
    block[271] = text
    block[274] = 6
    return bytes(block.tobytes()).removeprefix(EXIF_NAME)


def frames(data: bytes) -> list[bytes]:
    with Image.open(io.BytesIO(data)) as image:
        return [frame.convert("RGBA").tobytes() for frame in ImageSequence.Iterator(image)]


def write_and_check(data: bytes, **new_blocks: bytes | None) -> bytes:
    """Write the blocks, check that nothing else changed, and return the file."""
    before = read_blocks(data)
    blocks = replace(before, **new_blocks)
    splices = replace_blocks(data, blocks)
    new = apply_splices(data, splices)
    assert read_blocks(new) == blocks
    assert difference_outside_blocks(data, new) is None
    assert difference_outside_blocks(new, data) is None
    assert undo_splices(new, inverse_of(data, splices)) == data
    if blocks.exif == before.exif:
        assert digest_photo(new) == digest_photo(data)
    return new


def refusal(data: bytes, new_blocks: Blocks) -> RefusalKind:
    with pytest.raises(WriteRefused) as excinfo:
        replace_blocks(data, new_blocks)
    return excinfo.value.kind


def write_and_check_pixels(data: bytes, **new_blocks: bytes | None) -> bytes:
    """Like `write_and_check`; also checks that every frame decodes to the same pixels."""
    new = write_and_check(data, **new_blocks)
    assert frames(new) == frames(data)
    return new


def check_all_sizes(data: bytes) -> None:
    """Add XMP, keep it, replace it by a larger and a smaller packet, remove it; nothing else changes."""
    assert replace_blocks(data, read_blocks(data)) == ()
    with_small = write_and_check_pixels(data, xmp=SMALL)
    with_large = write_and_check_pixels(with_small, xmp=LARGE)
    again_small = write_and_check_pixels(with_large, xmp=SMALL)
    without = write_and_check_pixels(again_small, xmp=None)
    assert read_blocks(without) == replace(read_blocks(data), xmp=None)
    assert replace_blocks(with_small, Blocks(SMALL, read_blocks(data).exif, read_blocks(data).iptc)) == ()


def no_undo_record(_written: str) -> UndoRecord | None:
    return None


def embed(path: Path, tag_fields: TagFields, find_undo_record: FindUndoRecord = no_undo_record) -> FilePlan:
    return plan_embed(path, tag_fields, find_undo_record, image_digest=None, max_bytes=MAX_BYTES)


def sidecar_plan(
    path: Path, tag_fields: TagFields, find_undo_record: FindUndoRecord, *, photo_data: bytes = b""
) -> FilePlan:
    """Plan the sidecar at `path` of a photo with this content; without content, a removal."""
    blocks, new_fields = Blocks(), TagFields()
    if photo_data:
        blocks, new_fields = owner_values(photo_data, tag_fields, find_undo_record)
    return plan_sidecar(read_sidecar(path, find_undo_record), new_fields, blocks)


def temporary_path(path: Path) -> Path:
    return path.with_name(temporary_name(path.name))
