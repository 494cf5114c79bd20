"""HEIC and AVIF photos: what they say beside their picture counts when a sidecar is written."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from tagger.metadata.additions import NamedLandmark, additions_for
from tagger.metadata.boxes import read_boxes
from tagger.metadata.described import photo_fields, xmp_fields
from tagger.metadata.planning import plan_sidecar

TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower", latitude=48.8584, longitude=2.2945, extent="point")
ASKED = additions_for([TOWER], gps=True, description=True)
HERE = {1: "N", 2: (41.0, 53.0, 24.0), 3: "E", 4: (12.0, 29.0, 32.0)}
PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" rdf:about=""><dc:subject><rdf:Bag>'
    b"<rdf:li>Anna</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def photo(path: Path, *, gps: Mapping[int, object] | None = None, xmp: bytes = b"") -> bytes:
    noted = Image.Exif()
    if gps:
        noted.get_ifd(0x8825).update(gps)
        noted[0x010E] = "My own words"
    Image.new("RGB", (64, 48), (10, 120, 200)).save(path, exif=noted, xmp=xmp or None)
    return path.read_bytes()


def test_position_and_words_in_an_avif_are_not_overridden_by_its_sidecar(tmp_path: Path) -> None:
    data = photo(tmp_path / "a.avif", gps=HERE)
    said = written(tmp_path / "a.avif", data)
    assert "XMP:exif:GPSLatitude" not in said
    assert "XMP:dc:description" not in said
    assert photo_fields(data)["EXIF:GPSLatitude"] == "41.8900000"


def test_an_avif_without_a_position_gets_one_in_its_sidecar(tmp_path: Path) -> None:
    data = photo(tmp_path / "a.avif")
    assert {"XMP:exif:GPSLatitude", "XMP:dc:description"} <= written(tmp_path / "a.avif", data).keys()


def test_keywords_in_an_avif_are_repeated_in_its_sidecar(tmp_path: Path) -> None:
    data = photo(tmp_path / "a.avif", xmp=PACKET)
    assert written(tmp_path / "a.avif", data)["XMP:digiKam:TagsList"] == ["Anna", "Places/Eiffel Tower"]


@pytest.mark.parametrize("data", [b"", b"\0\0\0\x18ftypavif", b"\0\0\0\x18ftypheic" + bytes(99), b"GIF89a"])
def test_what_cannot_be_read_says_nothing(data: bytes) -> None:
    assert read_boxes(data) == read_boxes(b"")


def written(path: Path, data: bytes) -> dict[str, str | list[str]]:
    plan = plan_sidecar(path.with_name(path.name + ".xmp"), ASKED, lambda _: None, of_photo=data)
    return dict(xmp_fields(plan.data))
