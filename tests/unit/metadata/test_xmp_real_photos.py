"""The packets of real photos of many makers and programs, checked with exiftool."""

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tagger.metadata import xmp
from tagger.metadata.errors import WriteRefused
from tagger.metadata.tag_fields import NamedLandmark, Position, TagFields

EIFFEL = NamedLandmark(
    *("eiffel-tower", "Eiffel Tower", "France", "Île-de-France", "Paris", 48.8584, 2.2945, "point"),
    score=0.98765,
    model="landmarks-61",
)
TOWER = TagFields(
    (EIFFEL,),
    ("Eiffel Tower", 'Tour "Eiffel" <&>'),
    (("Places", "France", "Paris", "Eiffel Tower"),),
    Position(48.8584, 2.2945, 250),
    "The tower, seen from afar",
)
LISTS = {
    "XMP-dc:Subject": list(TOWER.keywords),
    "XMP-lr:HierarchicalSubject": ["Places|France|Paris|Eiffel Tower"],
    "XMP-digiKam:TagsList": ["Places/France/Paris/Eiffel Tower"],
}
LOCATION = {
    "City": "Paris",
    "CountryName": "France",
    "GPSLatitude": 48.8584,
    "GPSLongitude": 2.2945,
    "LocationId": ["urn:landmark-tagger:landmark:eiffel-tower"],
    "LocationName": "Eiffel Tower",
    "ProvinceState": "Île-de-France",
}
POSITION = {
    "XMP-exif:GPSLatitude": 48.8584,
    "XMP-exif:GPSLongitude": 2.2945,
    "XMP-exif:GPSProcessingMethod": "landmark-tagger",
    "XMP-exif:GPSHPositioningError": 250,
    "XMP-exif:GPSMapDatum": "WGS-84",
}
OF_THE_FILE = (
    "SourceFile",
    "ExifTool:ExifToolVersion",
    "System:",
    "File:",
    "Composite:",
    "XMP-landmarkTagger:",
)


@pytest.fixture(scope="module")
def exiftool() -> str:
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool is not installed")
    return program


@pytest.fixture(scope="module")
def packets(exiftool: str, test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The XMP of every photo that has any: JPEG, PNG, WebP, TIFF, HEIC and RAW."""
    folder = tmp_path_factory.mktemp("packets")
    folders = [test_data / "exif", test_data / "originals"]
    command = [
        exiftool,
        "-q",
        "-q",
        "-r",
        "-if",
        "$XMP",
        "-b",
        "-XMP",
        "-w!",
        f"{folder}/%f_%e%-c.xmp",
        *folders,
    ]
    subprocess.run(command, check=False, capture_output=True)
    extracted = sorted(folder.iterdir())
    assert extracted
    return extracted


def test_real_packets_take_and_return_our_fields(packets: list[Path]) -> None:
    refused: Counter[str] = Counter()
    for path in packets:
        packet = path.read_bytes()
        try:
            after = xmp.add(packet, TOWER, sidecar=False)
        except WriteRefused as refusal:
            refused[refusal.text] += 1
            continue
        back = xmp.remove(after)
        assert xmp.insertion_difference(packet, after) is None, path
        assert xmp.properties(back) == xmp.properties(packet), path
    print(f"{len(packets)} packets, refused: {refused}")  # noqa: T201
    # These packets are broken in the photo itself.
    assert all("is broken" in text or "is not encoded in UTF-8" in text for text in refused)
    assert refused.total() <= len(packets) // 10


def test_exiftool_reads_our_values_and_finds_no_other_change(
    exiftool: str, packets: list[Path], tmp_path: Path
) -> None:
    written: dict[str, Path] = {}
    for path in packets:
        try:
            after = xmp.add(path.read_bytes(), TOWER, sidecar=True)
        except WriteRefused:
            continue
        written[path.name] = path
        (tmp_path / path.name).write_bytes(after)
    before = read_by(exiftool, written.values())
    for name, now in read_by(exiftool, map(tmp_path.joinpath, written)).items():
        assert without_ours(now, before[name]) == before[name], name


def test_exiftool_reads_our_own_packet(exiftool: str, tmp_path: Path) -> None:
    sidecar = tmp_path / "photo.jpg.xmp"
    sidecar.write_bytes(xmp.add(None, TOWER, sidecar=True))
    (output,) = read_by(exiftool, [sidecar]).values()
    assert output.pop("XMP-x:XMPToolkit") == "landmark-tagger"
    assert output.pop("XMP-dc:Description") == TOWER.description
    assert output.pop("XMP-iptcExt:LocationShown") == [LOCATION]
    assert output == POSITION | LISTS | {
        name: value for name, value in output.items() if name in LISTS and not isinstance(value, list)
    }


@pytest.mark.parametrize("title", [None, "Another's title"])
def test_our_fields_are_removed_after_exiftool_rewrote_the_packet(
    exiftool: str, tmp_path: Path, title: str | None
) -> None:
    first, second = tmp_path / "first.xmp", tmp_path / "second.xmp"
    first.write_bytes(xmp.add(None, TOWER, sidecar=True))
    change = "-XMP-xmp:Rating=" if title is None else f"-XMP-dc:Title={title}"
    subject = "-XMP-dc:Subject-=nothing"
    subprocess.run(
        [exiftool, "-q", "-m", change, subject, "-o", second, first], check=True, capture_output=True
    )
    remaining = xmp.remove(second.read_bytes())
    assert xmp.properties(remaining) == ({} if title is None else {"dc:title": {"x-default": title}})
    assert (remaining is None) == (title is None)


def read_by(exiftool: str, paths: Any) -> dict[str, dict[str, Any]]:
    command = [exiftool, "-G1", "-struct", "-json", "-n", "-a", *paths]
    entries = json.loads(subprocess.run(command, check=False, capture_output=True).stdout)
    return {
        Path(entry["SourceFile"]).name: {
            name: value for name, value in entry.items() if not name.startswith(OF_THE_FILE)
        }
        for entry in entries
    }


def without_ours(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The fields that exiftool reads without our values, each of which must exist."""
    remaining = dict(now)
    for name, ours in LISTS.items():
        remaining[name] = listed(now[name])
        for value in ours:
            remaining[name].remove(value)
        remove_new_list(remaining, name, before)
    remaining["XMP-iptcExt:LocationShown"] = [
        place for place in now["XMP-iptcExt:LocationShown"] if place != LOCATION
    ]
    assert len(remaining["XMP-iptcExt:LocationShown"]) == len(now["XMP-iptcExt:LocationShown"]) - 1
    remove_new_list(remaining, "XMP-iptcExt:LocationShown", before)
    if not POSITION.keys() & before.keys():
        assert POSITION.items() <= now.items()
        remaining = {name: value for name, value in remaining.items() if name not in POSITION}
    if not before.get("XMP-dc:Description"):
        assert now["XMP-dc:Description"] == TOWER.description
        remaining.pop("XMP-dc:Description")
    return remaining | {
        name: value for name, value in before.items() if name == "XMP-dc:Description" and not value
    }


def remove_new_list(remaining: dict[str, Any], name: str, before: dict[str, Any]) -> None:
    if name not in before:
        # A new list of paths starts with the existing keywords.
        owners = {keyword for field in LISTS for keyword in map(str, listed(before.get(field, [])))}
        assert {str(keyword).replace("\\", "/") for keyword in remaining.pop(name)} <= owners
    elif not isinstance(before[name], list):
        # exiftool does not report single values and empty lists as lists.
        (remaining[name],) = remaining[name] or [""]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
