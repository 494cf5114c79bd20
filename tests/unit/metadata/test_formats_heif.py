"""The metadata of HEIC and AVIF photos is used when a sidecar is written."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from tagger.metadata.formats import read_heif_blocks
from tagger.metadata.photo_writer import photo_fields, xmp_fields
from tagger.metadata.plans import plan_sidecar
from tagger.metadata.tag_fields import NamedLandmark, make_tag_fields

TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower", latitude=48.8584, longitude=2.2945, extent="point")
ASKED = make_tag_fields([TOWER], gps=True, description=True)
HERE = {1: "N", 2: (41.0, 53.0, 24.0), 3: "E", 4: (12.0, 29.0, 32.0)}
PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" rdf:about=""><dc:subject><rdf:Bag>'
    b"<rdf:li>Anna</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def photo(path: Path, *, gps: Mapping[int, object] | None = None, xmp: bytes = b"") -> bytes:
    exif = Image.Exif()
    if gps:
        exif.get_ifd(0x8825).update(gps)
        exif[0x010E] = "My own words"
    Image.new("RGB", (64, 48), (10, 120, 200)).save(path, exif=exif, xmp=xmp or None)
    return path.read_bytes()


def test_sidecar_keeps_position_and_description_of_an_avif(tmp_path: Path) -> None:
    data = photo(tmp_path / "a.avif", gps=HERE)
    fields = sidecar_fields(tmp_path / "a.avif", data)
    assert "XMP:exif:GPSLatitude" not in fields
    assert "XMP:dc:description" not in fields
    assert photo_fields(data)["EXIF:GPSLatitude"] == "41.8900000"


def test_sidecar_of_an_avif_without_position_gets_ours(tmp_path: Path) -> None:
    data = photo(tmp_path / "a.avif")
    assert {"XMP:exif:GPSLatitude", "XMP:dc:description"} <= sidecar_fields(tmp_path / "a.avif", data).keys()


def test_sidecar_repeats_keywords_of_an_avif(tmp_path: Path) -> None:
    data = photo(tmp_path / "a.avif", xmp=PACKET)
    assert sidecar_fields(tmp_path / "a.avif", data)["XMP:digiKam:TagsList"] == [
        "Anna",
        "Places/Eiffel Tower",
    ]


@pytest.mark.parametrize("data", [b"", b"\0\0\0\x18ftypavif", b"\0\0\0\x18ftypheic" + bytes(99), b"GIF89a"])
def test_unreadable_files_have_no_blocks(data: bytes) -> None:
    assert read_heif_blocks(data) == read_heif_blocks(b"")


def sidecar_fields(path: Path, data: bytes) -> dict[str, str | list[str]]:
    plan = plan_sidecar(path.with_name(path.name + ".xmp"), ASKED, lambda _: None, photo_data=data)
    return dict(xmp_fields(plan.data))
