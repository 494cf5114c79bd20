"""Times, positions and exposures that a photo, its sidecar, its takeout or its name states."""
# ruff: noqa: RUF001 - digits and words of other scripts

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from babel import Locale, localedata
from hypothesis import given, strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin
from rig.containers import iptc_dataset, photoshop, resource
from rig.drawing import draw_photo
from rig.xmp_packets import packet_of

from tagger.metadata.camera import Exposure, camera_facts, read_exposure
from tagger.metadata.stated_facts import (
    AFTERNOON,
    MORNING,
    StatedFacts,
    day_in_name,
    half_day_word,
    is_blank,
    parse_time,
    stated_in_takeout,
    stated_in_xmp,
)
from tagger.metadata.xmp.packet import degrees_of
from tagger.photos import CameraFacts, PhotoFacts

PICTURE = draw_photo(6, (64, 48))
AT = datetime(2015, 8, 22, 10, 8, 19)  # noqa: DTZ001
EIFFEL = {"exif:GPSLatitude": "48,51.504N", "exif:GPSLongitude": "2,17.67E"}
EIFFEL_EXIF = {1: "N", 2: (48.0, 51.0, 30.24), 3: "W", 4: (2.0, 17.0, 40.2)}


def packet(fields: dict[str, str], inside: str = "") -> bytes:
    attributes = " ".join(f'{name}="{value}"' for name, value in fields.items())
    return packet_of(inside, attributes)


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
    values = b"".join(iptc_dataset(2, number, text) for number, text in datasets.items())
    return data[:2] + photoshop(resource(0x0404, values)) + data[2:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_xmp_in_a_photo_gives_what_its_exif_lacks(kind):
    facts = camera_facts(photo(kind, packet(EIFFEL | {"photoshop:DateCreated": "2015-08-22T10:08:19+02:00"})))
    assert (facts.taken_at, facts.utc_offset_s) == (AT, 7200)
    assert (facts.latitude, facts.longitude) == pytest.approx((48.8584, 2.2945))


@pytest.mark.parametrize(
    "name", ["exif:DateTimeOriginal", "photoshop:DateCreated", "exif:DateTimeDigitized", "xmp:CreateDate"]
)
def test_each_date_of_xmp_counts_and_that_of_capture_first(name):
    fields = {"xmp:CreateDate": "2020-01-01T01:01:01", name: "2015-08-22T10:08:19"}
    assert stated_in_xmp(packet(fields)).taken_at == AT


def test_the_offset_of_a_time_may_be_beside_it():
    name = "exifEX:OffsetTimeOriginal"
    offset = f'<{name} xmlns:exifEX="http://cipa.jp/exif/1.0/">+02:00</{name}>'
    xmp = packet({"exif:DateTimeOriginal": "2015-08-22T10:08:19"}, offset)
    assert stated_in_xmp(xmp).utc_offset_s == 7200


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("start", ["", "\n\n", "\r\n\ufeff"])
@pytest.mark.parametrize(
    "declaration", ["", '<?xml version="1.0" encoding="UTF-16"?>', '<?xpacket begin="\ufeff" id="W5M0Mp"?>']
)
def test_side_files_are_read_in_any_encoding_with_blanks_and_marks_at_the_start(encoding, start, declaration):
    if encoding.startswith("utf-8"):
        declaration = declaration.replace("UTF-16", "UTF-8")
    text = start + declaration + packet(EIFFEL | {"xmp:CreateDate": "2015-08-22T10:08:19"}).decode()
    facts = stated_in_xmp(text.encode(encoding), is_sidecar=True)
    assert (facts.taken_at, facts.is_broken) == (AT, False)
    assert facts.latitude is not None
    text = start + json.dumps({"title": "Été.jpg", "photoTakenTime": TAKEN}, ensure_ascii=False)
    assert stated_in_takeout(text.encode(encoding)) == OF_CAPTURE


def test_xmp_of_a_photo_may_be_in_utf_16_and_is_broken_if_it_breaks_off():
    xmp = packet(EIFFEL | {"photoshop:DateCreated": "2015-08-22T10:08:19+02:00"})
    facts = camera_facts(photo("JPEG", xmp.decode().encode("utf-16-be")))
    assert (facts.taken_at, facts.utc_offset_s) == (AT, 7200)
    data = packet(EIFFEL).decode().encode("utf-16")
    assert stated_in_xmp(data[: len(data) - 41], is_sidecar=True).is_broken


def test_exif_comes_first_and_our_own_position_is_not_read():
    block = Image.Exif()
    block[306] = "2019:07:14 21:58:03"
    block.get_ifd(0x8825).update(EIFFEL_EXIF)
    xmp = packet(EIFFEL | {"xmp:CreateDate": "2015-08-22T10:08:19"})
    facts = camera_facts(photo(xmp=xmp, exif=block))
    assert facts.taken_at == datetime(2019, 7, 14, 21, 58, 3)  # noqa: DTZ001
    assert facts.longitude == pytest.approx(-2.2945)
    # Programs copy the position of EXIF into XMP.
    block.get_ifd(0x8769)[36867] = "2015:08:22 10:08:19"
    block.get_ifd(0x8825)[29] = "2021:03:04"
    assert camera_facts(photo(xmp=packet(EIFFEL), exif=block)).latitude is None
    by_method = packet(EIFFEL | {"exif:GPSProcessingMethod": "landmark-tagger neighbour"})
    by_record = packet(EIFFEL, OUR_RECORD.format("48,51.5040N"))
    assert [stated_in_xmp(each).latitude for each in (by_method, by_record)] == [None, None]
    corrected = packet(EIFFEL, OUR_RECORD.format("48,50.1000N"))
    assert stated_in_xmp(corrected).latitude is not None  # another program replaced ours


OUR_RECORD = (
    '<landmarkTagger:Added><rdf:Bag><rdf:li rdf:parseType="Resource"><landmarkTagger:Field>exif:GPSLatitude</landmarkTagger:Field>'
    "<landmarkTagger:Value>{}</landmarkTagger:Value></rdf:li></rdf:Bag></landmarkTagger:Added>"
)


@pytest.mark.parametrize(
    ("text", "direction", "degrees"),
    [
        ("48,51.504N", "", 48.8584),
        ("48,51,30.24N", "", 48.8584),
        ("48,51.504", "N", 48.8584),
        ("48,51,30.24", "South", -48.8584),
        ("2,17.67w", "", -2.2945),
        ("48.8584", "", 48.8584),
        ("2,17.6700000000000017E", "", 2.2945),
        ("-48.8584", "", -48.8584),
        ("48.8584 S", "", -48.8584),
        ("48,51.504", "", None),  # of which hemisphere?
        ("-48,51.504N", "", None),
        ("48,51.504N", "S", None),
        ("-48,51.504S", "South", -48.8584),
        ("48,8584N", "", None),
        ("48,61.5N", "", None),
        ("48.5,51.5N", "", None),
        ("north", "N", None),
    ],
)
def test_coordinates(text, direction, degrees):
    assert degrees_of(text, direction) == (None if degrees is None else pytest.approx(degrees))


@pytest.mark.parametrize(
    ("latitude", "longitude"), [("91,0.0N", "2,0.0E"), ("0,0.0N", "0,0.0E"), ("48,51.504N", "")]
)
def test_impossible_positions_are_none(latitude, longitude):
    fields = {"exif:GPSLatitude": latitude, "exif:GPSLongitude": longitude}
    facts = stated_in_xmp(packet(fields))
    assert (facts.latitude, facts.longitude) == (None, None)


@pytest.mark.parametrize("longitude", ["GpsLongitude", "GpsLongtitude"])
def test_drones_state_their_position_in_names_of_their_own(longitude):
    dji = f"<d:GpsLatitude>+48.8584</d:GpsLatitude><d:{longitude}>-2.2945</d:{longitude}>"
    xmp = (
        packet({}, dji)
        .replace(b"<x:xmpmeta ", b'<x:xmpmeta xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" ')
        .replace(b"d:G", b"drone-dji:G")
    )
    facts = stated_in_xmp(xmp)
    assert (facts.latitude, facts.longitude) == (48.8584, -2.2945)


def test_errors_of_positions_and_exposures_are_in_words():
    stated = stated_in_xmp(packet(EIFFEL | {"exif:GPSHPositioningError": "25/2"}))
    assert (stated.latitude, stated.longitude) == (pytest.approx(48.8584), pytest.approx(2.2945))
    assert stated.gps_error_m == 12.5
    rational = TiffImagePlugin.IFDRational
    data = exposed(time=rational(1, 250), aperture=rational(28, 10), iso=400, focal=50.0, lens="EF 50mm")
    found = read_exposure(data)
    assert (found.text, found.lens) == ("1/250 s · f/2.8 · ISO 400 · 50 mm", "EF 50mm")
    assert read_exposure(exposed(time=2.0)).text == "2 s"


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
def test_iptc_gives_the_date_that_exif_and_xmp_lack(datasets, taken_at, offset_s):
    facts = camera_facts(with_iptc(photo(), datasets))
    assert (facts.taken_at, facts.utc_offset_s) == (taken_at, offset_s)
    xmp = photo(xmp=packet({"xmp:CreateDate": "2020-01-01T01:01:01"}))
    assert camera_facts(with_iptc(xmp, datasets)).taken_at == datetime(2020, 1, 1, 1, 1, 1)  # noqa: DTZ001


@pytest.mark.parametrize("date", ["2015-08", "22/08/2015 10:08:19"])
def test_a_date_that_cannot_be_read_is_noted(date):
    assert camera_facts(photo(xmp=packet({"xmp:CreateDate": date}))) == CameraFacts(is_date_unread=True)
    block = Image.Exif()
    block[306] = date
    assert camera_facts(photo(exif=block)).is_date_unread
    found = camera_facts(photo(exif=block, xmp=packet({"xmp:CreateDate": "2015-08-22T10:08:19"})))
    assert (found.taken_at, found.is_date_unread) == (AT, False)


@given(st.binary(max_size=200))
def test_any_bytes_state_facts_or_none(rest):
    stated_in_xmp(b"GPSLatitude" + rest)
    stated_in_xmp(packet({"xmp:CreateDate": "x"})[: 100 + len(rest)] + rest)


def exposed(**values: object) -> bytes:
    exif = Image.Exif()
    numbers = {"time": 0x829A, "aperture": 0x829D, "iso": 0x8827, "focal": 0x920A, "lens": 0xA434}
    exif.get_ifd(0x8769).update({numbers[name]: value for name, value in values.items()})
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", exposed(), exposed(iso=0, lens="\0")])
def test_without_facts_there_is_no_exposure(data):
    assert read_exposure(data) == Exposure()


@given(st.integers(20, 120), st.binary(max_size=40))
def test_damaged_exif_is_read_without_an_error(start, damage):
    data = exposed(time=0.01, iso=100, lens="x")
    read_exposure(data[:start] + damage + data[start + len(damage) :])


@pytest.mark.parametrize(
    ("text", "taken_at", "offset_s"),
    [
        ("2015:08:22 10:08:19", "2015-08-22T10:08:19", None),
        ("2015-08-22T10:08:19.123Z", "2015-08-22T10:08:19", 0),
        ("2015-08-22T10:08+02:00", "2015-08-22T10:08:00", 7200),
        ("2015/08/22 10:08:19", "2015-08-22T10:08:19", None),
        ("2015:08:22:10:08:19", "2015-08-22T10:08:19", None),
        ("20150822 100819+0200", "2015-08-22T10:08:19", 7200),
        ("2015:08:22 24:08:19", "2015-08-22T00:08:19", None),
        ("2015:08:22 10:08:60", "2015-08-22T10:09:00", None),
        ("2015:08:22  9:08:19", "2015-08-22T09:08:19", None),
        ("2015: 8:22 10: 8: 9", "2015-08-22T10:08:09", None),
        ("2015:08:22 10:08:19+02:00", "2015-08-22T10:08:19", 7200),
        ("2015:08:22 10:08:19.52 -0330", "2015-08-22T10:08:19", -12600),
        ("2015:08:22 10:08:19\N{MINUS SIGN}03:30", "2015-08-22T10:08:19", -12600),
        ("2015:08:22 10:08:19 UTC+02:00", "2015-08-22T10:08:19", 7200),
        ("2015:08:22 10:08:19+99:00", "2015-08-22T10:08:19", None),
        ("2015:08:22 10:08:19 PM", "2015-08-22T22:08:19", None),
        ("2015:08:22 12:08:19 a.m.", "2015-08-22T00:08:19", None),
        ("2015:08:22 下午 10:08:19", "2015-08-22T22:08:19", None),
        ("2015:08:22 10:08:19 p. m.", "2015-08-22T22:08:19", None),
        ("2015:08:22 10:08:19\u202fPM", "2015-08-22T22:08:19", None),
        ("2015:08:22 10:08:19 μ.μ. +02:00", "2015-08-22T22:08:19", 7200),
        ("2015:08:22 10:08 de la tarde", "2015-08-22T22:08:00", None),
        ("2015:08:22 10:08:19 SA", "2015-08-22T10:08:19", None),
        ("2015:08:22 오후 10:08:19", "2015-08-22T22:08:19", None),
        ("2558:08:22 10:08:19", "2015-08-22T10:08:19", None),
        ("1394:05:31 10:08:19", "2015-08-22T10:08:19", None),
        ("1399:12:30 10:08:19", "2021-03-20T10:08:19", None),
        ("2015:08:22 10:08:19 CEST", "2015-08-22T10:08:19", None),
        ("2015:08:22 22:08:19 Uhr", "2015-08-22T22:08:19", None),
        ("٢٠١٥:٠٨:٢٢ ١٠:٠٨:١٩", "2015-08-22T10:08:19", None),
        ("２０１５:０８:２２ 10:08:19", "2015-08-22T10:08:19", None),
        ("2015:08:22 午前 10:08:19", "2015-08-22T10:08:19", None),
    ],
)
def test_times_with_one_meaning(text, taken_at, offset_s):
    assert parse_time(text) == PhotoFacts(taken_at=datetime.fromisoformat(taken_at), utc_offset_s=offset_s)


@pytest.mark.parametrize(
    "text",
    [
        *("22/08/2015 10:08:19", "08/22/15 10:08:19", "2015:13:01 10:08:19", "2015:02:30 10:08:19"),
        *("2015:08:22 25:08:19", "2015:08:22 10:60:19", "2015:08:22 10:08:61", "2015:08:22 10:08:190"),
        *("2015:08:22 22:08:19 AM", "2015:08:22 00:08:19 PM", "2015:08:22", "2015-08", "2015", "1440230899"),
        *("yesterday", "9999:12:31 23:59:60", "2015:08:22 10:08:19 Uhr", "2015:08:22 03:08 xyz"),
        *("1440:12:09 10:08:19", "1394:12:30 10:08:19"),
    ],
)
def test_other_times_are_not_taken(text):
    assert parse_time(text) is None


def test_days_are_read_where_they_are_lawful_and_scans_are_older():
    days = [parse_time(text, allows_day=True) for text in ("2015-08-22", "20150822", "2015-08", "2015")]
    assert days == [*[PhotoFacts(taken_at=datetime(2015, 8, 22))] * 2, None, None]  # noqa: DTZ001
    assert day_in_name("1955-07-04 Anna.jpg") == datetime(1955, 7, 4)  # noqa: DTZ001
    assert day_in_name(f"IMG_{datetime.now(UTC) + timedelta(days=3):%Y%m%d}.jpg") is None
    assert day_in_name("IMG_20991231.jpg") is None


@given(st.text(alphabet="0123456789:-/. TZ+ampPM", max_size=40) | st.text(max_size=40))
def test_any_text_is_a_time_or_none(text):
    time = parse_time(text, allows_day=True)
    assert time is None or not is_blank(text)


AUGUST = datetime(2015, 8, 22)  # noqa: DTZ001


@pytest.mark.parametrize(
    "name",
    [
        *("IMG-20150822-WA0001.jpg", "IMG20150822100819.jpg", "20150822_100819.jpg"),
        *("20150822.jpg", "PXL_20150822_213803123.MP.jpg", "PXL_20150822_213803123.PORTRAIT-01.COVER.jpg"),
        *("Screenshot_20150822-100819.png", "Screenshot_2015-08-22-10-08-19-123_com.app.jpg"),
        *("Screenshot 2015-08-22 at 10.08.19.png", "2015-08-22 10.08.19.jpg", "2015-08-22 10.08.19-1.jpg"),
        *("photo_2015-08-22_10-08-19.jpg", "signal-2015-08-22-100819.jpeg", "WP_20150822_10_08_19_Pro.jpg"),
        *("2015_08_22 in Paris.jpg", "20150822T100819.jpg", "2019-01-01/20150822100819123.jpg"),
        *("2015.8.22 Anna.jpg", "Paris 2015-8-22-3.jpg", "Anna 22.8.2015.jpg"),
        *("22.08.2015 10.08.19.jpg", "FB_IMG_1440230899000.jpg", "IMG_20150822_0030_1440200000000.jpg"),
        *("photo_12@22-08-2015_10-11-12.jpg", "2015年8月22日.jpg", "2015년 8월 22일 18시.png"),
        *("2015082210111200-0123ABC.jpg", "٢٠١٥-٠٨-٢٢.jpg", "1440200000000 2015-08-22.jpg"),
        *("IMG_20150822_100819~2.jpg", "IMG_20150822_100819(1).jpg", "été20150822.jpg"),
    ],
)
def test_names_with_a_day(name):
    assert day_in_name(f"holidays/{name}") == AUGUST


@pytest.mark.parametrize(
    "name",
    [
        *("IMG_0001.jpg", "IMG_20151322_100819.jpg", "IMG_20150230.jpg", "12345678.jpg", "19001231.jpg"),
        *("received_10153412345678901.jpg", "14402308990001.jpg", "2015-08.jpg", "2015-8.jpg"),
        *("IMG_2015_8_2.jpg", "144023089900.jpg", "9440230899000.jpg", "3fa1440230899000.jpg"),
        *("31.02.2015.jpg", "22.08.15.jpg", "2015-8-22 and 2015-8-23.jpg", "1999999999999.jpg"),
        *("22-08-2015.jpg", "3fa20150822.jpg", "20150822abc.jpg", "201508221.jpg", "20150822_20150823.jpg"),
        *("1440230899000.jpg", "1440230899000(1).jpg", "a.sync-conflict-20230101-120000-ABCDEFG.jpg"),
        *("a (Bob's conflicted copy 2021-05-06).jpg", "a (In Konflikt stehende Kopie 2021-05-06).jpg"),
        *("1920-10-80.jpg", "20150822256199.jpg", "1799-01-01.jpg", "", "."),
    ],
)
def test_names_without_one(name):
    assert day_in_name(name) is None


@given(st.text(alphabet="0123456789-_. TIMGé/", max_size=40))
def test_any_name_has_one_day_or_none(name):
    day = day_in_name(name)
    assert day is None or day.hour == day.minute == 0


@pytest.mark.parametrize(
    ("latitude", "reference", "expected"),
    [
        ("48 deg 51' 30.24\" N", "", 48.8584),
        ("48 deg 51' 30.24\"", "South", -48.8584),
        ("48 deg 51' 30.24\"", "", None),
        ("48 deg 61' 0.00\" N", "", None),
    ],
)
def test_coordinates_of_exiftool(latitude, reference, expected):
    names = {"EXIF:GPSLatitude": latitude, "EXIF:GPSLatitudeRef": reference, "EXIF:GPSLongitude": 2.2945}
    facts = stated_in_takeout(json.dumps([names]).encode())
    assert facts.latitude == (None if expected is None else pytest.approx(expected))


TAKEOUT_POSITION = {"latitude": 48.8584, "longitude": 2.2945, "altitude": 30.0}
ZERO = {"latitude": 0.0, "longitude": 0.0, "altitude": 0.0}
TAKEN = {"timestamp": "1563140283", "formatted": "14 Jul 2019, 21:38:03 UTC"}
TAKEOUT_TIME = datetime(2019, 7, 14, 21, 38, 3)  # noqa: DTZ001
OF_CAPTURE = StatedFacts(taken_at=TAKEOUT_TIME, may_correct=frozenset({"taken_at"}))
AT_EIFFEL = replace(OF_CAPTURE, latitude=48.8584, longitude=2.2945)


def stated(**fields: object) -> StatedFacts:
    return stated_in_takeout(json.dumps({"title": "IMG_0001.jpg", "photoTakenTime": TAKEN} | fields).encode())


def test_a_takeout_has_the_position_of_a_person_and_the_time_of_capture():
    corrected = replace(AT_EIFFEL, may_correct=frozenset({"taken_at", "latitude"}))
    assert stated(geoData=TAKEOUT_POSITION, geoDataExif={"latitude": 1.0, "longitude": 1.0}) == corrected
    assert stated(geoData=TAKEOUT_POSITION, geoDataExif=TAKEOUT_POSITION) == AT_EIFFEL
    assert stated(geoData=ZERO, geoDataExif=TAKEOUT_POSITION) == AT_EIFFEL
    assert stated(geoData={"latitude": 99.0, "longitude": 2.0}, geoDataExif=TAKEOUT_POSITION) == AT_EIFFEL
    assert stated(geoData=ZERO, geoDataExif=ZERO) == stated() == OF_CAPTURE
    uploaded = {"timestamp": "1700000000"}
    assert stated(creationTime=uploaded).taken_at == TAKEOUT_TIME
    ente = {"title": "IMG_1.jpg", "creationTime": {"timestamp": 1563140283}, "geoData": TAKEOUT_POSITION}
    facts = stated_in_takeout(json.dumps(ente | {"modificationTime": uploaded}).encode())
    assert facts == replace(AT_EIFFEL, may_correct=frozenset({"taken_at", "latitude"}))


@pytest.mark.parametrize(
    "position",
    [
        *({"latitude": 90.1, "longitude": 0.0}, {"latitude": 1.0, "longitude": -181}, {"latitude": 1.0}),
        *({"latitude": "48.8", "longitude": "2.2"}, {"latitude": True, "longitude": True}, [1, 2], None),
        {"latitude": 10**400, "longitude": 1},
    ],
)
def test_impossible_positions_of_a_takeout_are_none(position):
    assert stated(geoData=position) == OF_CAPTURE


@pytest.mark.parametrize(
    ("timestamp", "facts"),
    [
        ("0", StatedFacts()),
        ("-1", StatedFacts()),
        ("", StatedFacts()),
        (1563140283, OF_CAPTURE),
        ("-473385600", replace(OF_CAPTURE, taken_at=datetime(1955, 1, 1))),  # noqa: DTZ001 - a scan that was dated
        ("-62135596800", StatedFacts(is_date_unread=True)),  # the year 1
        ("1563140283000", StatedFacts(is_date_unread=True)),  # milliseconds
        ("soon", StatedFacts(is_date_unread=True)),
        ("1_563_140_283", StatedFacts(is_date_unread=True)),
        ("9" * 400, StatedFacts(is_date_unread=True)),
    ],
)
def test_times(timestamp, facts):
    assert stated(photoTakenTime={"timestamp": timestamp}) == facts


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"photoTakenTime": NaN}', b"9" * 10_000]
)
def test_what_is_not_json_is_broken(data):
    assert stated_in_takeout(data) == StatedFacts(is_broken=True)


@pytest.mark.parametrize(
    "document",
    [
        {"title": "Trip to Paris", "date": TAKEN},
        {"geoData": TAKEOUT_POSITION},
        ["photoTakenTime"],
        "photoTakenTime",
        7,
    ],
)
def test_json_that_is_not_of_a_photo_states_nothing(document):
    assert stated_in_takeout(json.dumps(document).encode()) == StatedFacts()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)


@given(
    st.fixed_dictionaries(
        {"photoTakenTime": JSON | st.fixed_dictionaries({"timestamp": JSON})},
        optional={
            "geoData": JSON | st.fixed_dictionaries({"latitude": JSON, "longitude": JSON}),
            "geoDataExif": JSON,
        },
    )
)
def test_any_document_states_facts_that_a_photo_can_have(document):
    facts = stated_in_takeout(json.dumps(document).encode())
    if facts.latitude is not None and facts.longitude is not None:
        assert abs(facts.latitude) <= 90
        assert abs(facts.longitude) <= 180
    assert (facts.latitude is None) == (facts.longitude is None)


@pytest.mark.slow
def test_words_for_half_days_are_those_of_cldr():
    words: dict[str, set[str]] = {"am": set(), "pm": set()}
    for name in localedata.locale_identifiers():
        for periods in Locale.parse(name).day_periods.values():
            for names in periods.values():
                for half, of_language in words.items():
                    of_language.add(half_day_word(names.get(half, "")))
    ambiguous = words["am"] & words["pm"]
    for half, known in (("am", MORNING), ("pm", AFTERNOON)):
        plain = {word for word in words[half] - ambiguous if len(word) > 1}
        assert plain <= known
        assert known - plain <= words[half] | {"a", "p"}
