"""Camera facts: valid time and position, or None."""

import io
import json
from dataclasses import asdict, replace
from datetime import datetime

import pytest
from hypothesis import given, strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from rig.drawing import draw_photo
from support.decoding import encode_heic
from support.examples import examples

from tagger.metadata import NamedLandmark, exif, make_tag_fields
from tagger.metadata.camera import camera_facts
from tagger.photos import CameraFacts, PhotoOrigin
from tagger.photos.formats import digest_container, exif_of, read_container
from tagger.pipeline.sandbox import _opened
from tagger.texts import json_default

PICTURE = draw_photo(5, (64, 48))
EIFFEL = {1: "N", 2: (48.0, 51.0, 30.24), 3: "E", 4: (2.0, 17.0, 40.2)}
EIFFEL_TOWER = NamedLandmark(
    "eiffel-tower", "Eiffel Tower", latitude=48.8584, longitude=2.2945, extent="point"
)
TAKEN = {36867: "2019:07:14 21:58:03"}


def photo(
    kind: str = "JPEG",
    *,
    main: dict[int, object] | None = None,
    exif: dict[int, object] = TAKEN,
    gps: dict[int, object] = EIFFEL,
) -> bytes:
    block = Image.Exif()
    for tag, value in ({271: "a camera"} if main is None else main).items():
        block[tag] = value
    block.get_ifd(0x8769).update(exif)
    block.get_ifd(0x8825).update(gps)
    file = io.BytesIO()
    PICTURE.save(file, kind, exif=block)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_time_and_position_are_read_from_every_format(kind):
    facts = camera_facts(photo(kind))
    assert facts.taken_at == datetime(2019, 7, 14, 21, 58, 3)  # noqa: DTZ001
    assert facts.latitude == pytest.approx(48.8584)
    assert facts.longitude == pytest.approx(2.2945)


def test_positions_of_tiff_and_heic_and_of_the_south_and_west_are_read():
    block, facts = Image.open(io.BytesIO(photo())).info["exif"], camera_facts(photo())
    assert camera_facts(block.removeprefix(b"Exif\0\0")) == facts
    # The boxes of HEIC state the orientation.
    assert camera_facts(encode_heic(PICTURE, exif=block)) == replace(facts, orientation=1)
    facts = camera_facts(photo(gps={1: "S", 2: (22.0, 57.0, 6.0), 3: "W", 4: (43.0, 12.0, 37.0)}))
    assert facts.latitude == pytest.approx(-22.951667)
    assert facts.longitude == pytest.approx(-43.210278)


@pytest.mark.parametrize(
    "gps",
    [
        {},
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
        {2: (48.0, 51.0, 30.0), 4: (2.0, 17.0, 40.0)},
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (2.0, 0.0, 0.0)},
        {1: "x", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)},
        {1: "N", 2: (IFDRational(48, 0), 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)},
    ],
)
def test_invalid_position_is_absent(gps):
    facts = camera_facts(photo(gps=gps))
    assert (facts.latitude, facts.longitude) == (None, None)
    assert facts.taken_at is not None


def test_a_position_added_later_counts_though_the_camera_had_no_fix():
    assert camera_facts(photo(gps=EIFFEL | {9: "V"})).latitude is not None


@pytest.mark.parametrize(
    "method",
    [
        b"ASCII\0\0\0landmark-tagger neighbour",
        b"UNICODE\0" + "landmark-tagger track".encode("utf-16-le"),
        b"landmark-tagger landmark",
    ],
)
def test_our_estimates_are_ignored_in_any_character_code(method):
    facts = camera_facts(photo(gps=EIFFEL | {27: method, 29: "2019:07:14"}))
    assert (facts.latitude, facts.longitude, facts.gps_error_m) == (None, None, None)


def test_dates_and_offsets_are_those_of_capture():
    zeros = "0000:00:00 00:00:00"
    scanned = camera_facts(photo(exif={36867: zeros, 36868: "2001-02-03T04:05:06"}))
    assert scanned.taken_at == datetime(2001, 2, 3, 4, 5, 6)  # noqa: DTZ001
    changed = photo(main={306: "2011:12:13 14:15:16"}, exif={}, gps={})
    assert camera_facts(changed).taken_at == datetime(2011, 12, 13, 14, 15, 16)  # noqa: DTZ001
    edited_elsewhere = {306: "2020:01:02 03:04:05"}
    facts = camera_facts(photo(main=edited_elsewhere, exif=TAKEN | {0x9010: "+09:00"}))
    assert facts.utc_offset_s is None
    both = photo(main=edited_elsewhere, exif=TAKEN | {0x9010: "+09:00", 0x9011: "+02:00"})
    assert camera_facts(both).utc_offset_s == 7200
    # Some phones write the same time into all fields, and the offset beside one.
    same = photo(main={306: "2019:07:14 21:58:03"}, exif=TAKEN | {0x9010: "+02:00"})
    assert camera_facts(same).utc_offset_s == 7200
    digitised = photo(exif={36868: "2019:07:14 21:58:03", 0x9011: "+09:00", 0x9012: "+02:00"})
    assert camera_facts(digitised).utc_offset_s == 7200
    other_time = EIFFEL | {7: (12.0, 58.0, 3.0), 29: "2019:07:14"}
    assert camera_facts(photo(exif=TAKEN | {0x9011: "+02:00"}, gps=other_time)).utc_offset_s == 7200


@examples(38)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_garbage_never_raises(kind, changes):
    data = bytearray(WHOLE[kind])
    start = max(data.find(b"MM\0*"), data.find(b"II*\0"))
    for where, value in changes:
        data[(start + where) % len(data)] = value
    facts = camera_facts(bytes(data))
    assert facts_of_child(bytes(data)) == facts  # the sandbox refuses what no photo has


def facts_of_child(data: bytes) -> CameraFacts:
    """The facts after their way from a decoding child."""
    container = read_container(data)
    reply = {"digest": digest_container(container, data)} | asdict(camera_facts(data, container))
    return _opened(json.loads(json.dumps(reply, default=json_default)))[1]


ALL_FACTS: dict[str, dict[int, object]] = {
    "main": {
        270: "a tower",
        271: "Canon",
        272: "Canon EOS 5D",
        305: "Adobe Photoshop CS6",
        306: TAKEN[36867],
    },
    "exif": TAKEN | {0x9011: "+02:00", 0x9286: b"ASCII\0\0\0Screenshot", 0xA431: "0570004681"},
    "gps": EIFFEL | {7: (19.0, 58.0, 1.0), 29: "2019:07:14", 31: 12.5},
}
WHOLE = {kind: photo(kind, **ALL_FACTS) for kind in ("JPEG", "PNG", "WEBP")}


def test_all_facts_of_a_photo():
    assert camera_facts(WHOLE["JPEG"]) == CameraFacts(
        taken_at=datetime(2019, 7, 14, 21, 58, 3),  # noqa: DTZ001
        latitude=pytest.approx(48.8584),
        longitude=pytest.approx(2.2945),
        gps_error_m=12.5,
        utc_offset_s=7200,
        origin=PhotoOrigin.SCREENSHOT,
        make="Canon",
        model="Canon EOS 5D",
        serial="0570004681",
    )


# --- the offset to UTC


@pytest.mark.parametrize(
    ("text", "offset_s"),
    [
        ("+02:00", 7200),
        ("-03:30", -12600),
        ("+0545", 20700),
        ("Z", 0),
        ("+15:00", None),
        ("-12:15", None),
        ("+02:07", None),
        ("   :  ", None),
    ],
)
def test_stated_offset_to_utc(text, offset_s):
    assert camera_facts(photo(exif=TAKEN | {0x9011: text})).utc_offset_s == offset_s


@pytest.mark.parametrize(
    ("date", "time", "offset_s"),
    [
        ("2019:07:14", (19.0, 58.0, 1.5), 7200),
        ("2019:07:14", (19.0, 54.0, 0.0), 7200),  # the clock is four minutes fast
        ("2019:07:14", (19.0, 48.0, 0.0), None),
        ("2019:07:14", (16.0, 28.0, 3.0), 19800),  # India
        ("2019:07:14", (14.0, 28.0, 3.0), None),  # half past is an offset in few zones only
        ("2019:07:14", (6.0, 58.0, 3.0), None),
        ("1999:11:28", (19.0, 58.0, 1.0), 7200),  # 1024 weeks too early
        ("2019:07:14", (19.0, 58.0, IFDRational(1, 0)), None),
        ("0000:00:00", (19.0, 58.0, 1.0), None),
        ("9999:12:31", (23.0, 59.0, 60.0), None),
    ],
)
def test_offset_to_utc_from_gps_time(date, time, offset_s):
    assert camera_facts(photo(gps=EIFFEL | {7: time, 29: date})).utc_offset_s == offset_s


def test_what_programs_wrote_later_says_nothing_about_the_position():
    copied = {7: (21.0, 58.0, 3.0), 29: "2019:07:14"}
    tokyo = {1: "N", 2: (35.0, 39.0, 31.0), 3: "E", 4: (139.0, 44.0, 43.0)}
    assert camera_facts(photo(gps=tokyo | copied)).utc_offset_s is None
    assert camera_facts(photo(gps=copied)).utc_offset_s is None
    london = {1: "N", 2: (51.0, 30.0, 2.0), 3: "W", 4: (0.0, 7.0, 28.0)}
    assert camera_facts(photo(gps=london | copied)).utc_offset_s == 0
    facts = camera_facts(photo(main={306: "2021:03:04 05:06:07"}, exif={}, gps=EIFFEL | {29: "2019:07:14"}))
    assert facts.latitude == pytest.approx(48.8584)
    undated = photo(gps={})
    tag_fields = make_tag_fields([EIFFEL_TOWER], gps=True, description=True)
    block, _ = exif.add(exif_of(undated), tag_fields)
    assert block is not None
    assert "EXIF:GPSLatitude" in exif.read(block)  # stored, but not evidence
    assert camera_facts(block) == camera_facts(undated)
    assert camera_facts(block).taken_at == datetime(2019, 7, 14, 21, 58, 3)  # noqa: DTZ001
    assert camera_facts(photo(gps=EIFFEL | {27: b"ASCII\0\0\0GPS"})).latitude is not None


# --- the position


@pytest.mark.parametrize("date", ["2019:07:12", "2019:07:16", "2021:03:04"])
def test_a_position_that_was_measured_on_another_day_is_not_that_of_the_photo(date):
    facts = camera_facts(photo(gps=EIFFEL | {7: (19.0, 58.0, 1.0), 29: date, 31: 5.0}))
    assert (facts.latitude, facts.longitude, facts.gps_error_m, facts.utc_offset_s) == (None,) * 4
    assert facts.taken_at is not None


@pytest.mark.parametrize(
    ("taken_at", "date"),
    [
        ("2019:07:14 21:58:03", "2019:07:15"),
        ("2019:07:14 21:58:03", "1999:11:28"),  # the receiver is 1024 weeks behind
        ("2019:07:14 21:58:03", "1980:01:06"),  # the receiver had no time
        ("2019:07:14 21:58:03", "2019:99:99"),
        ("2000:01:01 00:07:12", "2019:07:14"),  # the clock was never set
        ("1970:02:03 00:07:12", "2019:07:14"),
    ],
)
def test_a_position_with_another_date_for_a_known_reason_is_that_of_the_photo(taken_at, date):
    facts = camera_facts(photo(exif={36867: taken_at}, gps=EIFFEL | {29: date}))
    assert facts.latitude == pytest.approx(48.8584)


@pytest.mark.parametrize(
    ("error", "error_m"), [(0, 0.0), (65, 65.0), (IFDRational(1, 0), None), (25_000_000, None)]
)
def test_error_of_the_position(error, error_m):
    assert camera_facts(photo(gps=EIFFEL | {31: error})).gps_error_m == error_m
    assert camera_facts(photo(gps={31: error})).gps_error_m is None


# --- the camera


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  0570004681\0\0", "0570004681"),
        ("a\tb  c\x1b[2J", "a b c [2J"),
        ("x" + "é" * 100, "x" + "é" * 63),
        (b"Caf\xe9", "Café"),
        *((text, None) for text in ("", "   ", "0000000000", "0", "N/A", "none", "Unknown", "--", "XXXXXXX")),
    ],
)
def test_texts_of_a_camera_are_short_printable_lines(text, expected):
    raw = text.encode() if isinstance(text, str) else text
    facts = camera_facts(photo(main={271: raw, 272: raw}, exif={}))
    assert (facts.make, facts.model) == (expected, expected)


def test_a_dng_has_its_serial_number_and_no_screenshot_is_known_by_what_people_write():
    assert camera_facts(photo(main={0xC62F: "123"})).serial == "123"
    assert camera_facts(photo(main={0xC62F: "123"}, exif={0xA431: "456"})).serial == "456"
    described = {270: "The screenshot that we took of the tower", 305: "Adobe Photoshop"}
    assert camera_facts(photo(main=described)).origin is None


# --- the origin


@pytest.mark.parametrize(
    ("main", "comment"),
    [
        ({}, b"ASCII\0\0\0Screenshot"),
        ({}, b"UNICODE\0" + "Screenshot".encode("utf-16-be")),
        ({270: "Screen Shot"}, b""),
        ({305: "gnome-screenshot"}, b""),
    ],
)
def test_screenshots_name_themselves(main, comment):
    assert camera_facts(photo(main=main, exif={0x9286: comment})).origin is PhotoOrigin.SCREENSHOT


@pytest.mark.parametrize(
    ("software", "exif", "origin"),
    [
        ("Adobe Photoshop CS6 (Windows)", {}, PhotoOrigin.EDITED),
        ("Adobe Photoshop Lightroom 6.0", TAKEN, None),  # an export with the time of capture
        ("Picasa", {36868: "2019:07:14 21:58:03"}, None),
        # A phone that writes no other time:
        ("clark_retus-user 5.1.1 LPH23.116-18 18 release-keys", {}, None),
        ("", {}, None),
    ],
)
def test_photos_that_have_the_date_of_their_edit_alone(software, exif, origin):
    main: dict[int, object] = {305: software, 306: "2021:03:04 05:06:07"}
    assert camera_facts(photo(main=main, exif=exif)).origin is origin


# --- real files


def test_odd_files_never_raise(test_data):
    paths = [path for path in sorted(test_data.glob("*/*/*")) if path.parts[-3] in ("exif", "hostile")]
    facts = [camera_facts(path.read_bytes()) for path in paths]
    assert sum(one.taken_at is not None for one in facts) > 80
    assert sum(one.latitude is not None for one in facts) > 15
