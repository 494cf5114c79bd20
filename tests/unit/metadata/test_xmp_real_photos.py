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
    found = shutil.which("exiftool")
    if found is None:
        pytest.skip("exiftool is not installed; it is asked for a second opinion")
    return found


@pytest.fixture(scope="module")
def packets(exiftool: str, test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The XMP of every photo that has any: JPEG, PNG, WebP, TIFF, HEIC and RAW."""
    folder = tmp_path_factory.mktemp("packets")
    found = [test_data / "exif", test_data / "originals"]
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
        *found,
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


@pytest.mark.parametrize("theirs", [None, "Another's title"])
def test_our_fields_are_removed_after_exiftool_rewrote_the_packet(
    exiftool: str, tmp_path: Path, theirs: str | None
) -> None:
    first, second = tmp_path / "first.xmp", tmp_path / "second.xmp"
    first.write_bytes(xmp.add(None, TOWER, sidecar=True))
    change = "-XMP-xmp:Rating=" if theirs is None else f"-XMP-dc:Title={theirs}"
    subject = "-XMP-dc:Subject-=nothing"
    subprocess.run(
        [exiftool, "-q", "-m", change, subject, "-o", second, first], check=True, capture_output=True
    )
    left = xmp.remove(second.read_bytes())
    assert xmp.properties(left) == ({} if theirs is None else {"dc:title": {"x-default": theirs}})
    assert (left is None) == (theirs is None)


def read_by(exiftool: str, paths: Any) -> dict[str, dict[str, Any]]:
    command = [exiftool, "-G1", "-struct", "-json", "-n", "-a", *paths]
    found = json.loads(subprocess.run(command, check=False, capture_output=True).stdout)
    return {
        Path(entry["SourceFile"]).name: {
            name: value for name, value in entry.items() if not name.startswith(OF_THE_FILE)
        }
        for entry in found
    }


def without_ours(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The fields that exiftool reads without our values, each of which must exist."""
    left = dict(now)
    for name, ours in LISTS.items():
        left[name] = listed(now[name])
        for value in ours:
            left[name].remove(value)
        keep(left, name, before)
    left["XMP-iptcExt:LocationShown"] = [
        place for place in now["XMP-iptcExt:LocationShown"] if place != LOCATION
    ]
    assert len(left["XMP-iptcExt:LocationShown"]) == len(now["XMP-iptcExt:LocationShown"]) - 1
    keep(left, "XMP-iptcExt:LocationShown", before)
    if not POSITION.keys() & before.keys():
        assert POSITION.items() <= now.items()
        left = {name: value for name, value in left.items() if name not in POSITION}
    if not before.get("XMP-dc:Description"):
        assert now["XMP-dc:Description"] == TOWER.description
        left.pop("XMP-dc:Description")
    return left | {
        name: value for name, value in before.items() if name == "XMP-dc:Description" and not value
    }


def keep(left: dict[str, Any], name: str, before: dict[str, Any]) -> None:
    if name not in before:
        # A new list of paths starts with the existing keywords.
        owners = {word for field in LISTS for word in map(str, listed(before.get(field, [])))}
        assert {str(word).replace("\\", "/") for word in left.pop(name)} <= owners
    elif not isinstance(before[name], list):
        # exiftool does not report single values and empty lists as lists.
        (left[name],) = left[name] or [""]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
