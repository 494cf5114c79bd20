"""Dates and positions of XMP and IPTC in photos whose EXIF has none."""

import io
import struct
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from rig.drawing import draw_photo

from tagger.metadata.camera import camera_facts
from tagger.metadata.stated_facts import stated_in_xmp
from tagger.metadata.xmp.packet import NAMESPACES, degrees_of
from tagger.photos.facts import CameraFacts

PICTURE = draw_photo(6, (64, 48))
AT = datetime(2015, 8, 22, 10, 8, 19)  # noqa: DTZ001
EIFFEL = {"exif:GPSLatitude": "48,51.504N", "exif:GPSLongitude": "2,17.67E"}
EIFFEL_EXIF = {1: "N", 2: (48.0, 51.0, 30.24), 3: "W", 4: (2.0, 17.0, 40.2)}


def packet(fields: dict[str, str], inside: str = "") -> bytes:
    namespaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items() if prefix != "xml")
    attributes = " ".join(f'{name}="{value}"' for name, value in fields.items())
    return (
        f'<x:xmpmeta {namespaces}><rdf:RDF><rdf:Description rdf:about="" {attributes}>{inside}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def photo(kind: str = "JPEG", xmp: bytes | None = None, exif: Image.Exif | None = None) -> bytes:
    file = io.BytesIO()
    options = {} if exif is None else {"exif": exif}
    if kind == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", (xmp or b"").decode())
        PICTURE.save(file, kind, pnginfo=chunks, **options)
    else:
        PICTURE.save(file, kind, **options, **({"xmp": xmp} if xmp else {}))
    return file.getvalue()


def with_iptc(data: bytes, datasets: dict[int, str]) -> bytes:
    """The JPEG with IPTC datasets of record 2 in an APP13 segment."""
    values = b"".join(
        struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text.encode() for number, text in datasets.items()
    )
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(values)) + values + b"\0" * (len(values) % 2)
    content = b"Photoshop 3.0\0" + resource
    return data[:2] + b"\xff\xed" + struct.pack(">H", len(content) + 2) + content + data[2:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_xmp_in_a_photo_gives_what_its_exif_lacks(kind: str) -> None:
    facts = camera_facts(photo(kind, packet(EIFFEL | {"photoshop:DateCreated": "2015-08-22T10:08:19+02:00"})))
    assert (facts.taken_at, facts.utc_offset_s) == (AT, 7200)
    assert (facts.latitude, facts.longitude) == pytest.approx((48.8584, 2.2945))


@pytest.mark.parametrize(
    "name", ["exif:DateTimeOriginal", "photoshop:DateCreated", "exif:DateTimeDigitized", "xmp:CreateDate"]
)
def test_each_date_of_xmp_counts_and_that_of_capture_first(name: str) -> None:
    fields = {"xmp:CreateDate": "2020-01-01T01:01:01", name: "2015-08-22T10:08:19"}
    assert stated_in_xmp(packet(fields)).taken_at == AT


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("start", ["", "\n\n", "\r\n\ufeff"])
@pytest.mark.parametrize(
    "declaration", ["", '<?xml version="1.0" encoding="UTF-16"?>', '<?xpacket begin="\ufeff" id="W5M0Mp"?>']
)
def test_sidecars_are_read_in_any_encoding_with_blanks_and_marks_at_the_start(
    encoding: str, start: str, declaration: str
) -> None:
    if encoding.startswith("utf-8"):
        declaration = declaration.replace("UTF-16", "UTF-8")
    text = start + declaration + packet(EIFFEL | {"xmp:CreateDate": "2015-08-22T10:08:19"}).decode()
    facts = stated_in_xmp(text.encode(encoding), is_sidecar=True)
    assert (facts.taken_at, facts.is_broken) == (AT, False)
    assert facts.latitude is not None


def test_xmp_of_a_photo_may_be_in_utf_16() -> None:
    xmp = packet(EIFFEL | {"photoshop:DateCreated": "2015-08-22T10:08:19+02:00"})
    facts = camera_facts(photo("JPEG", xmp.decode().encode("utf-16-be")))
    assert (facts.taken_at, facts.utc_offset_s) == (AT, 7200)


def test_xmp_in_utf_16_that_breaks_off_is_broken() -> None:
    data = packet(EIFFEL).decode().encode("utf-16")
    assert stated_in_xmp(data[: len(data) - 41], is_sidecar=True).is_broken


def test_exif_comes_first() -> None:
    block = Image.Exif()
    block[306] = "2019:07:14 21:58:03"
    block.get_ifd(0x8825).update(EIFFEL_EXIF)
    xmp = packet(EIFFEL | {"xmp:CreateDate": "2015-08-22T10:08:19"})
    facts = camera_facts(photo(xmp=xmp, exif=block))
    assert facts.taken_at == datetime(2019, 7, 14, 21, 58, 3)  # noqa: DTZ001
    assert facts.longitude == pytest.approx(-2.2945)


def test_a_position_of_exif_that_does_not_count_is_not_read_from_xmp_instead() -> None:
    """Programs copy it there."""
    block = Image.Exif()
    block.get_ifd(0x8769)[36867] = "2015:08:22 10:08:19"
    block.get_ifd(0x8825).update(EIFFEL_EXIF | {29: "2021:03:04"})
    assert camera_facts(photo(xmp=packet(EIFFEL), exif=block)).latitude is None


OUR_RECORD = (
    '<landmarkTagger:Added><rdf:Bag><rdf:li rdf:parseType="Resource"><landmarkTagger:Field>exif:GPSLatitude</landmarkTagger:Field>'
    "<landmarkTagger:Value>{}</landmarkTagger:Value></rdf:li></rdf:Bag></landmarkTagger:Added>"
)


def test_a_position_that_this_program_wrote_is_not_read() -> None:
    by_method = packet(EIFFEL | {"exif:GPSProcessingMethod": "landmark-tagger neighbour"})
    by_record = packet(EIFFEL, OUR_RECORD.format("48,51.5040N"))
    assert [stated_in_xmp(each).latitude for each in (by_method, by_record)] == [None, None]
    corrected = packet(EIFFEL, OUR_RECORD.format("48,50.1000N"))
    assert stated_in_xmp(corrected).latitude is not None  # another program replaced ours


@pytest.mark.parametrize(
    ("text", "direction", "degrees"),
    [
        ("48,51.504N", "", 48.8584),
        ("48,51,30.24N", "", 48.8584),
        ("48,51.504", "N", 48.8584),
        ("48,51,30.24", "South", -48.8584),
        ("2,17.67w", "", -2.2945),
        ("48.8584", "", 48.8584),
        ("-48.8584", "", -48.8584),
        ("48.8584 S", "", -48.8584),
        ("48,51.504", "", None),  # of which hemisphere?
        ("-48,51.504N", "", None),
        ("48,8584N", "", None),
        ("48,61.5N", "", None),
        ("48.5,51.5N", "", None),
        ("north", "N", None),
    ],
)
def test_coordinates(text: str, direction: str, degrees: float | None) -> None:
    assert degrees_of(text, direction) == (None if degrees is None else pytest.approx(degrees))


@pytest.mark.parametrize(
    ("latitude", "longitude"), [("91,0.0N", "2,0.0E"), ("0,0.0N", "0,0.0E"), ("48,51.504N", "")]
)
def test_impossible_positions_are_none(latitude: str, longitude: str) -> None:
    fields = {"exif:GPSLatitude": latitude, "exif:GPSLongitude": longitude}
    facts = stated_in_xmp(packet(fields))
    assert (facts.latitude, facts.longitude) == (None, None)


def test_the_error_of_a_position() -> None:
    stated = stated_in_xmp(packet(EIFFEL | {"exif:GPSHPositioningError": "25/2"}))
    assert (stated.latitude, stated.longitude) == (pytest.approx(48.8584), pytest.approx(2.2945))
    assert stated.gps_error_m == 12.5


@pytest.mark.parametrize(
    ("datasets", "taken_at", "offset_s"),
    [
        ({55: "20150822", 60: "100819+0200"}, AT, 7200),
        ({55: "20150822", 60: "100819"}, AT, None),
        ({55: "20150822"}, datetime(2015, 8, 22), None),  # noqa: DTZ001
        ({55: "20150822", 60: "noon"}, datetime(2015, 8, 22), None),  # noqa: DTZ001
        ({55: "00000000"}, None, None),
    ],
)
def test_iptc_gives_the_date_that_exif_and_xmp_lack(
    datasets: dict[int, str], taken_at: datetime | None, offset_s: int | None
) -> None:
    facts = camera_facts(with_iptc(photo(), datasets))
    assert (facts.taken_at, facts.utc_offset_s) == (taken_at, offset_s)
    xmp = photo(xmp=packet({"xmp:CreateDate": "2020-01-01T01:01:01"}))
    assert camera_facts(with_iptc(xmp, datasets)).taken_at == datetime(2020, 1, 1, 1, 1, 1)  # noqa: DTZ001


@pytest.mark.parametrize("date", ["2015-08", "22/08/2015 10:08:19"])
def test_a_date_that_cannot_be_read_is_noted(date: str) -> None:
    assert camera_facts(photo(xmp=packet({"xmp:CreateDate": date}))) == CameraFacts(is_date_unread=True)
    block = Image.Exif()
    block[306] = date
    assert camera_facts(photo(exif=block)).is_date_unread
    found = camera_facts(photo(exif=block, xmp=packet({"xmp:CreateDate": "2015-08-22T10:08:19"})))
    assert (found.taken_at, found.is_date_unread) == (AT, False)


@given(st.binary(max_size=200))
def test_any_bytes_state_facts_or_none(rest: bytes) -> None:
    stated_in_xmp(b"GPSLatitude" + rest)
    stated_in_xmp(packet({"xmp:CreateDate": "x"})[: 600 + len(rest)] + rest)
