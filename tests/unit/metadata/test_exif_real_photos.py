"""EXIF of real photos with our values, checked with exiftool."""

import json
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.exif_blocks import ALL, add_check_remove_check

from tagger.metadata.exif import ExifRewriteError, add, remove
from tagger.photos.containers import exif_of


def real_blocks(test_data: Path) -> Iterator[tuple[Path, bytes]]:
    """The blocks of all photos except TIFF files, whose block is the file."""
    for path in sorted([*(test_data / "exif").rglob("*"), *(test_data / "originals").rglob("*")]):
        if path.is_file() and path.suffix.lower() not in (".tif", ".tiff"):
            data = path.read_bytes()
            if block := exif_of(data):
                yield path, block


def test_real_blocks_keep_all_tags_or_stay_unchanged(test_data: Path) -> None:
    counts = Counter(add_check_remove_check(block, ALL) for _, block in real_blocks(test_data))
    assert counts[True] >= 40
    assert counts[False] >= 60


def test_exiftool_sees_only_our_values_change(test_data: Path, tmp_path: Path) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    added = {}
    for folder in ("before", "after", "removed"):
        (tmp_path / folder).mkdir()
    for path, block in real_blocks(test_data):
        data = path.read_bytes()
        if not data.startswith(b"\xff\xd8"):
            continue
        try:
            change = add(block, ALL)
        except ExifRewriteError:
            continue
        assert change.block is not None
        added[path.name] = dict(change.added)
        (tmp_path / "before" / path.name).write_bytes(data)
        (tmp_path / "after" / path.name).write_bytes(with_block(data, block, change.block))
        remaining = remove(change.block, change.added)
        (tmp_path / "removed" / path.name).write_bytes(with_block(data, block, remaining or b""))
    before, after, removed = (exiftool(tmp_path / folder) for folder in ("before", "after", "removed"))
    assert len(before) >= 40
    for name, fields in before.items():
        added_fields = {*added[name]}
        assert {
            key for key in fields | after[name] if fields.get(key) != after[name].get(key)
        } == exiftool_names(added_fields), name
        assert without_blank(removed[name]) == without_blank(fields), name


def with_block(data: bytes, old: bytes, new: bytes) -> bytes:
    """The JPEG with another block in its EXIF segment."""
    body = b"Exif\0\0" + old
    start = data.index(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body)
    segment = b"\xff\xe1" + struct.pack(">H", len(new) + 8) + b"Exif\0\0" + new
    return data[:start] + (segment if new else b"") + data[start + len(body) + 4 :]


def exiftool(folder: Path) -> dict[str, dict[str, object]]:
    command = ["exiftool", "-G1", "-a", "-struct", "-json", "-n", "-b", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, timeout=60)
    # Byte order, and fields of the file system and of the block's offset, change with every rewrite.
    ignored = ("System:", "File:ExifByteOrder", "IFD1:ThumbnailOffset", "Composite:")
    return {
        Path(str(photo["SourceFile"])).name: {
            key: value for key, value in photo.items() if not key.startswith(ignored) and key != "SourceFile"
        }
        for photo in json.loads(done.stdout)
    }


def exiftool_names(fields: set[str]) -> set[str]:
    names = {
        "EXIF:XPKeywords": {"IFD0:XPKeywords"},
        "EXIF:ImageDescription": {"IFD0:ImageDescription"},
        "EXIF:GPS": {
            *(f"GPS:GPS{name}" for name in ("LatitudeRef", "Latitude", "LongitudeRef", "Longitude")),
            "GPS:GPSMapDatum",
        },
        "EXIF:GPSProcessingMethod": {"GPS:GPSProcessingMethod"},
        "EXIF:GPSHPositioningError": {"GPS:GPSHPositioningError"},
        "EXIF:GPSVersionID": {"GPS:GPSVersionID"},
    }
    return {name for field in fields for name in names[field]}


def without_blank(fields: dict[str, object]) -> dict[str, object]:
    description = "IFD0:ImageDescription"
    return {key: value for key, value in fields.items() if key != description or str(value).strip()}
