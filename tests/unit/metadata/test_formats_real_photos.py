"""Real photos of many makers: exiftool, Pillow and the digest see no other change after a write."""

import io
import json
import shutil
import subprocess
import warnings
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from PIL import Image
from support.format_photos import LARGE, frames, write_and_check

from tagger.metadata.errors import WriteRefused
from tagger.metadata.formats import can_embed, read_blocks, replace_blocks
from tagger.metadata.splices import apply_splices

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
PACKET = (
    f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='{RDF}'/></x:xmpmeta>".encode() + b" " * 2000
)
LARGEST_BYTES = 8_000_000
# Offsets, flags for XMP, and fields that exiftool computes from other fields.
FOLLOWS = (
    "MPImage",
    "RIFF:WebP_Flags",
    "File:FileType",
    "Composite:",
    "ExifTool:Warning",
    "XMP",
    "System:",
    "SourceFile",
)


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


def test_every_real_photo_is_refused_or_written_without_other_changes(test_data: Path) -> None:
    kinds = Counter[str]()
    for data in real_photos(test_data).values():
        try:
            for xmp in (PACKET, LARGE, None):
                write_and_check(data, xmp=xmp)
        except WriteRefused as refused:
            kinds[refused.kind] += 1
    assert set(kinds) <= {"structure", "offsets"}


def test_nine_of_ten_decodable_real_jpegs_are_written(test_data: Path) -> None:
    jpegs = [data for data in real_photos(test_data).values() if data[:2] == b"\xff\xd8" and decodes(data)]
    assert sum(with_xmp(data) is not None for data in jpegs) >= 0.9 * len(jpegs)


def test_camera_files_are_written_and_keep_their_pixels(test_data: Path) -> None:
    originals = [data for path, data in real_photos(test_data).items() if "originals" in path.parts]
    assert originals
    for data in originals:
        new = write_and_check(data, xmp=PACKET)
        small, new_small = (Image.open(io.BytesIO(one)) for one in (data, new))
        for image in (small, new_small):
            image.draft("RGB", (600, 400))
        assert small.tobytes() == new_small.tobytes()


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


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)], ids=["a ninth", "all"])
def test_exiftool_sees_no_other_change_in_previews_and_maker_notes(
    test_data: Path, tmp_path: Path, every: int
) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip(
            "exiftool, a second opinion on metadata, is not installed (Debian: libimage-exiftool-perl)"
        )
    for name, data in _numbered(real_photos(test_data))[::every]:
        new = with_xmp(data)
        if new is not None:
            for folder, content in (("before", data), ("after", new)):
                (tmp_path / folder).mkdir(exist_ok=True)
                (tmp_path / folder / name).write_bytes(content)
    before, after = _fields(tmp_path / "before"), _fields(tmp_path / "after")
    assert before.keys() == after.keys()
    assert len(before) > 150 / every
    for name, fields in before.items():
        assert (name, after[name]) == (name, fields)


def _numbered(photos: dict[Path, bytes]) -> list[tuple[str, bytes]]:
    return [(f"{number}{path.suffix}", data) for number, (path, data) in enumerate(photos.items())]


def _fields(folder: Path) -> dict[str, dict[str, object]]:
    """Each file's fields with binary content, without those that depend on the blocks."""
    command = ["exiftool", "-G1", "-a", "-u", "-b", "-struct", "-json", "-n", str(folder)]
    output = subprocess.run(command, capture_output=True, check=False).stdout.decode(errors="replace")
    return {
        Path(fields["SourceFile"]).name: {
            field: value for field, value in fields.items() if not field.startswith(FOLLOWS)
        }
        for fields in json.loads(output, strict=False)
    }
