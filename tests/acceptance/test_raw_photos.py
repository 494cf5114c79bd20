"""RAW photos on the command line: tagged by their preview and found by their facts."""

import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from rig.containers import encode_image
from rig.raw_files import LARGE, MIDDLE, RAW_KINDS, THUMBNAIL, RawContent, raw_file
from support.artifacts import colour_of
from support.commands import Terminal

TOWER, GATE = colour_of(0), colour_of(1)


@pytest.fixture
def photos(terminal: Terminal) -> Path:
    """A RAW file of each kind whose largest preview shows another landmark than the small ones."""
    folder = terminal.folder / "photos"
    folder.mkdir()
    for kind in RAW_KINDS:
        write_raw(folder / f"IMG_{kind}.{kind.upper()}")
    return folder


def write_raw(path: Path, large_px: tuple[int, int] = LARGE) -> None:
    raw = RawContent(
        large=plain(TOWER, large_px),
        middle=plain(GATE, MIDDLE if large_px == LARGE else THUMBNAIL),
        thumbnail=plain(GATE, THUMBNAIL),
        sensor=path.name.encode() * 1000,
    )
    path.write_bytes(raw_file(path.suffix[1:].lower(), raw))


def plain(colour: tuple[int, int, int], size: tuple[int, int]) -> bytes:
    return encode_image(Image.new("RGB", size, colour), "JPEG")


def test_a_folder_of_raw_photos_is_tagged_by_the_largest_previews(terminal: Terminal, photos: Path) -> None:
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    tagged = terminal.json("tag", "photos")
    assert (tagged["tagged"], tagged["failed"]) == (len(RAW_KINDS), 0)
    found = terminal.json(
        "query", "--landmark", "eiffel-tower", "--taken-after", "2024-05-31", "--near", "48.85,2.29"
    )
    assert {Path(photo["path"]).name for photo in found} == before.keys()
    assert {photo["taken_at"] for photo in found} == {"2024-06-01T12:30:00"}
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
def test_metadata_written_by_another_program_keep_the_tags(terminal: Terminal, photos: Path) -> None:
    terminal.run("tag", "photos")
    written = [
        photos / f"IMG_{kind}.{kind.upper()}" for kind in ("dng", "cr2", "cr3", "nef", "arw", "orf", "rw2")
    ]
    subprocess.run(["exiftool", "-m", "-q", "-overwrite_original", "-XMP:Rating=5", *written], check=True)
    again = terminal.json("tag", "photos")
    assert (again["tagged"], again["skipped"]) == (0, len(RAW_KINDS))
