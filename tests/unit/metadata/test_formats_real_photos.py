"""Real photos of many makers: Pillow and the digest see no other change after a write."""

import io
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

from PIL import Image
from support.format_photos import frames

from tagger.metadata.errors import WriteRefused
from tagger.metadata.formats import can_embed, read_blocks, replace_blocks
from tagger.metadata.splices import apply_splices

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
PACKET = (
    f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='{RDF}'/></x:xmpmeta>".encode() + b" " * 2000
)
LARGEST_BYTES = 8_000_000


@cache
def real_photos(test_data: Path) -> dict[Path, bytes]:
    """Photos with metadata, and camera files, of supported formats."""
    paths = sorted(path for folder in ("exif", "originals") for path in (test_data / folder).rglob("*"))
    photos = {path: path.read_bytes() for path in paths if path.is_file()}
    return {path: data for path, data in photos.items() if can_embed(data) and len(data) <= LARGEST_BYTES}


def decodes(data: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            Image.open(io.BytesIO(data)).load()
        except Exception:  # noqa: BLE001 - Pillow raises anything
            return False
    return True


def with_xmp(data: bytes) -> bytes | None:
    try:
        return apply_splices(data, replace_blocks(data, replace(read_blocks(data), xmp=PACKET)))
    except WriteRefused:
        return None


def test_nine_of_ten_decodable_real_jpegs_are_written(test_data: Path) -> None:
    jpegs = [data for data in real_photos(test_data).values() if data[:2] == b"\xff\xd8" and decodes(data)]
    assert sum(with_xmp(data) is not None for data in jpegs) >= 0.9 * len(jpegs)


def test_small_real_photos_keep_their_pixels(test_data: Path) -> None:
    looked_at = 0
    for data in real_photos(test_data).values():
        new = with_xmp(data) if len(data) < 100_000 else None
        if new is None or not decodes(data):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert frames(new) == frames(data)
        looked_at += 1
    assert looked_at > 50
