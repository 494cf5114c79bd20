"""exiftool and Exiv2 read our packets, and what they rewrite can be removed. digiKam, darktable, Shotwell and gThumb use Exiv2."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tagger.metadata import xmp
from tagger.metadata.tag_fields import NamedLandmark, PositionEstimate, TagFields

EIFFEL = NamedLandmark(
    "eiffel-tower", "Eiffel Tower", "France", "Île-de-France", "Paris", 48.8584, 2.2945, "point"
)
TOWER = TagFields(
    (EIFFEL,),
    ("Eiffel Tower", 'Tour "Eiffel" <&>'),
    (("Places", "France", "Paris", "Eiffel Tower"),),
    PositionEstimate(48.8584, 2.2945, 250),
    "The tower, seen from afar",
)
FIELDS = {
    "XMP-x:XMPToolkit": "landmark-tagger",
    "XMP-dc:Subject": list(TOWER.keywords),
    "XMP-lr:HierarchicalSubject": ["Places|France|Paris|Eiffel Tower"],
    "XMP-digiKam:TagsList": ["Places/France/Paris/Eiffel Tower"],
    "XMP-dc:Description": TOWER.description,
    "XMP-exif:GPSLatitude": 48.8584,
    "XMP-exif:GPSLongitude": 2.2945,
    "XMP-exif:GPSProcessingMethod": "landmark-tagger",
    "XMP-exif:GPSHPositioningError": 250,
    "XMP-exif:GPSMapDatum": "WGS-84",
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


@pytest.fixture
def sidecar(tmp_path: Path) -> Path:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    path = tmp_path / "photo.jpg.xmp"
    path.write_bytes(xmp.add(None, TOWER, sidecar=True))
    return path


def test_exiftool_reads_our_own_packet(sidecar: Path) -> None:
    command = ["exiftool", "-G1", "-struct", "-json", "-n", sidecar]
    (output,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert output["XMP-iptcExt:LocationShown"] == [LOCATION]
    assert {name: output.get(name) for name in FIELDS} == FIELDS


def test_a_packet_that_exiftool_rewrote_is_ours_to_delete(sidecar: Path) -> None:
    change = ("-XMP-xmp:Rating=", "-XMP-dc:Subject-=nothing")
    command = ["exiftool", "-q", "-m", "-overwrite_original", *change, sidecar]
    subprocess.run(command, check=True, capture_output=True)
    assert xmp.remove(sidecar.read_bytes()) is None


def test_exiv2_reads_our_own_packet_and_what_it_rewrites_is_removed(sidecar: Path) -> None:
    if shutil.which("exiv2") is None:
        pytest.skip("exiv2 is not installed")
    command = ["exiv2", "-q", "-M", "set Xmp.xmp.Rating 4", sidecar]
    subprocess.run(command, check=True)
    command = ["exiv2", "-q", "-PXkv", sidecar]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    fields = dict(line.split(maxsplit=1) for line in output.splitlines() if len(line.split()) > 1)
    assert fields["Xmp.digiKam.TagsList"] == "Places/France/Paris/Eiffel Tower"
    assert fields["Xmp.lr.hierarchicalSubject"] == "Places|France|Paris|Eiffel Tower"
    assert fields["Xmp.dc.subject"] == ", ".join(TOWER.keywords)
    assert (fields["Xmp.exif.GPSLatitude"], fields["Xmp.xmp.Rating"]) == ("48,51.5040000N", "4")
    assert xmp.properties(xmp.remove(sidecar.read_bytes())) == {"xmp:Rating": "4"}
