"""EXIF blocks: odd ones are read as by exiftool, and all keep their other tags when values are added."""

import json
import shutil
import struct
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import piexif
import pytest
from hypothesis import given, strategies as st
from rig.containers import iptc_dataset, jpeg_segment, png_chunk as chunk, resource
from rig.exif_blocks import (
    ALL,
    KEYWORDS,
    TOWER,
    add_check_remove_check,
    ascii_text,
    block,
    blocks,
    camera_block,
    windows_text,
)
from rig.xmp_packets import packet_of
from support.examples import examples
from support.format_photos import encode_photo

from tagger.metadata import PositionEstimate, TagFields, WriteRefused
from tagger.metadata.camera import camera_facts
from tagger.metadata.exif import add, has_position, insertion_difference, read, remove
from tagger.metadata.formats import is_jpeg
from tagger.metadata.photo_files import photo_fields
from tagger.photos.containers import EXIF, XMP, jpeg_exif

XP_KEYWORDS, DESCRIPTION = 0x9C9E, 0x010E


def keywords_in(data: bytes | None) -> list[str]:
    return read(data).get("EXIF:XPKeywords", "").split(";")


def by_piexif(data: bytes | None) -> dict[str, dict[int, Any]]:
    """The directories of a block, as an independent program reads them."""
    directories: dict[str, dict[int, Any]] = piexif.load(b"Exif\0\0" + (data or b""))
    return directories


@pytest.mark.parametrize("order", ["<", ">"])
def test_camera_block_takes_and_returns_all_our_values(order):
    before = camera_block(order)
    after, added = add(before, ALL)
    assert insertion_difference(before, after, added) is None
    values = read(after)
    assert values == read(before) | {
        "EXIF:XPKeywords": "Eiffel Tower;Paris;Île-de-France",
        "EXIF:ImageDescription": "Eiffel Tower, Île-de-France",
        "EXIF:GPSLatitude": "48.8583700",
        "EXIF:GPSLongitude": "2.2944810",
    }
    assert values["EXIF:Orientation"] == "Rotate 90 CW"
    directories = by_piexif(after)
    assert bytes(directories["0th"][XP_KEYWORDS]).decode("utf-16-le") == ";".join(ALL.keywords) + "\0"
    assert directories["0th"][DESCRIPTION].decode() == ALL.description
    assert directories["GPS"][1] + directories["GPS"][3] == b"NE"
    assert added == (
        ("EXIF:XPKeywords", "Eiffel Tower"),
        ("EXIF:XPKeywords", "Paris"),
        ("EXIF:XPKeywords", "Île-de-France"),
        ("EXIF:ImageDescription", "Eiffel Tower, Île-de-France"),
        ("EXIF:GPS", "48.85837,2.294481"),
        ("EXIF:GPSProcessingMethod", "landmark-tagger"),
        ("EXIF:GPSHPositioningError", "500"),
    )
    assert after is not None
    assert insertion_difference(before, remove(after, added), ()) is None


def test_existing_keywords_stay_and_what_adds_nothing_changes_nothing():
    before = camera_block("<")
    assert add(before, TagFields())[0] is before
    assert add(None, TagFields())[0] is None
    once = add(before, ALL)[0]
    assert add(once, ALL)[0] is once
    assert remove(before, (("EXIF:XPKeywords", "Paris"), ("dc:subject", "Paris"))) is before
    before = block({XP_KEYWORDS: windows_text("Ferien;PARIS\0")})
    after, added = add(before, KEYWORDS)
    assert keywords_in(after) == ["Ferien", "PARIS", "Eiffel Tower"]
    assert added == (("EXIF:XPKeywords", "Eiffel Tower"),)
    assert after is not None
    assert keywords_in(remove(after, added)) == ["Ferien", "PARIS"]


@pytest.mark.parametrize("text", ["a;b;", "a", "a;b\0\0", " a ; b\0", ";;\0"])
def test_keywords_with_any_terminator_are_restored_exactly(text):
    before = block({XP_KEYWORDS: windows_text(text)}, order=">")
    after, added = add(before, KEYWORDS)
    assert after is not None
    assert insertion_difference(before, after, added) is None
    assert insertion_difference(before, remove(after, added), ()) is None


@pytest.mark.parametrize("keyword", ["a;b", "", "  ", "a\0b", "\ud800"])
def test_keywords_that_exif_cannot_hold_are_skipped(keyword):
    assert add(None, TagFields((TOWER,), keywords=(keyword, "Paris")))[1] == (("EXIF:XPKeywords", "Paris"),)


@pytest.mark.parametrize("raw", [(1, 3, b"abc"), (7, 4, b"a\0b\0"), (1, 6, b"a\0\0\0b\0"), (1, 2, b"\0\xd8")])
def test_keywords_in_an_unknown_form_are_refused(raw):
    with pytest.raises(WriteRefused, match="XPKeywords"):
        add(block({XP_KEYWORDS: raw}), KEYWORDS)


@pytest.mark.parametrize(
    ("existing", "written"), [(None, True), ("", True), ("      ", True), ("\0 \0", True), ("Summer", False)]
)
def test_description_is_written_only_into_an_empty_field(existing, written):
    before = block(
        {} if existing is None else {DESCRIPTION: ascii_text(existing)}, exif={0x9000: (7, 4, b"0230")}
    )
    after, added = add(before, ALL)
    assert (read(after)["EXIF:ImageDescription"] != existing) == written
    assert (("EXIF:ImageDescription", ALL.description) in added) == written
    assert insertion_difference(before, after, added) is None


def test_an_existing_position_stays_and_a_changed_one_loses_only_our_method():
    zeros = bytes(24)
    before = block({}, gps={1: ascii_text("N"), 2: (5, 3, zeros), 3: ascii_text("E"), 4: (5, 3, zeros)})
    after, added = add(before, ALL)
    assert has_position(before)
    assert not has_position(camera_block("<"))
    assert not any(field == "EXIF:GPS" for field, _ in added)
    assert insertion_difference(before, after, added) is None
    _, with_datum = add(block({}, gps={18: ascii_text("TOKYO")}), ALL)
    assert not any(field.startswith("EXIF:GPS") for field, _ in with_datum)
    after, added = add(None, ALL)
    other, _ = add(None, TagFields((TOWER,), position=PositionEstimate(48.0, 2.0, 500)))
    assert other is not None
    remaining = remove(other, added)
    assert has_position(remaining)
    assert remaining is not None
    assert b"landmark-tagger" not in remaining
    assert b"WGS-84" in remaining
    estimate = TagFields(position=PositionEstimate(48.85837, 2.294481, 500, "track"))
    after, added = add(None, estimate)
    assert ("EXIF:GPSProcessingMethod", "landmark-tagger track") in added
    assert by_piexif(after)["GPS"][27] == b"ASCII\0\0\0landmark-tagger track"
    assert insertion_difference(None, after, added) is None
    assert remove(after or b"", added) is None


@pytest.mark.parametrize(
    "where", [(-33.8567844, 151.2152967), (0.0, -0.00000001), (-90.0, -180.0), (59.9999999, 179.9999999)]
)
def test_positions_are_exact_to_a_centimetre(where):
    after, _ = add(None, TagFields((TOWER,), position=PositionEstimate(*where, error_m=12.34)))
    gps = by_piexif(after)["GPS"]
    for tag, degrees_expected in zip((2, 4), where, strict=True):
        parts = gps[tag]
        degrees = sum(top / bottom / unit for (top, bottom), unit in zip(parts, (1, 60, 3600), strict=True))
        assert abs(degrees - abs(degrees_expected)) < 1e-7
        assert all(top / bottom < 60 for top, bottom in parts[1:])
    assert (gps[31], gps[27], gps[18]) == ((1234, 100), b"ASCII\0\0\0landmark-tagger", b"WGS-84")


@pytest.mark.parametrize(
    "where", [(91, 0, 1), (0, 181, 1), (float("nan"), 0, 1), (0, 0, float("inf")), (0, 0, -1)]
)
def test_invalid_positions_are_not_written(where):
    assert add(None, TagFields((TOWER,), position=PositionEstimate(*where)))[0] is None


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (block({0x10F: ascii_text("Maker")}, exif={0x927C: (7, 8, b"makernot")}), "maker note"),
        (block({0x14A: (4, 1, bytes(4))}), "0x014A"),
        (block({0xC000: (7, 8, b"private\0")}), "0xC000"),
        (block({0x10F: (2, 99, bytes(9))}), "0x010F"),
        (block({}, first={}, thumbnail=b"\xff\xd8" + bytes(65_450)), "limit of a JPEG segment"),
        (block({0x10F: ascii_text("Maker" * 20_000)}), "more than a JPEG"),
        (block({0x10F: ascii_text("Maker")}) + b"more", "no tag references"),
        (b"", "no TIFF header"),
        (b"II*\0\xff\xff\xff\xff", "outside"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_block_that_could_lose_tags_is_refused(broken, why):
    with pytest.raises(WriteRefused, match=why):
        add(broken, KEYWORDS)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_that_no_standard_knows_are_kept_as_they_are(order):
    odd = {0x10F: (2, 4, b"NONE"), 0xC000: ascii_text("private"), 0xC4A5: (7, 8, b"PrintIM\0")}
    comment = {0x9286: (7, 10, b"UNICODE\0a\0"), 0xA002: (3, 1, struct.pack(order + "H", 640))}
    before = block(odd, order=order, exif=comment, first={}, thumbnail=b"\xff")
    after, added = add(before, ALL)
    assert after[:2] == before[:2]
    assert insertion_difference(before, after, added) is None
    assert insertion_difference(before, remove(after, added), ()) is None
    for value in (b"UNICODE\0a\0", b"NONE", b"PrintIM\0"):
        assert value in after


def test_comparison_sees_every_tag_and_both_profiles_are_read():
    before = camera_block("<")
    after, added = add(before, ALL)
    assert after is not None
    for old, new in (
        (b"Maker", b"Mbker"),
        (b"R98", b"R03"),
        (b"0230", b"0231"),
        (b"JFIF", b"JFXX"),
        (b"2019:05:04 ", b"2020:05:04 "),
        (b"P\0a\0r\0i\0s\0", b"p\0a\0r\0i\0s\0"),
        (b"landmark-tagger", b"landmark-taggEr"),
    ):
        assert old in after
        assert insertion_difference(before, after.replace(old, new), added)
    assert insertion_difference(camera_block(">"), after, added)
    assert insertion_difference(before, after, added[1:])
    assert insertion_difference(before, after, ())
    assert insertion_difference(before, before, added)
    assert insertion_difference(before, None, ())
    assert insertion_difference(
        block({DESCRIPTION: ascii_text("Summer")}),
        block({DESCRIPTION: ascii_text("x")}),
        [("EXIF:ImageDescription", "x")],
    )
    other = XMP_OF_TIME.replace(b"2019", b"2001")
    data = png(profile(b"tEXt", "APP1", XMP + other), profile(b"tEXt", "APP1", EXIF + block_of_kind()))
    check(data)
    assert photo_fields(data)["XMP:exif:DateTimeOriginal"] == "2001-07-14T10:20:30"
    older = profile(b"zTXt", "exif", block_of_kind().replace(b"2019", b"2001"))
    check(png(older, chunk(b"eXIf", block_of_kind())))


@examples(50)
@given(blocks())
def test_generated_blocks_keep_all_tags_or_stay_unchanged(before):
    add_check_remove_check(before, ALL)
    read(before)
    has_position(before)


@examples(38)
@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_arbitrary_bytes_raise_no_other_error(data, head):
    add_check_remove_check(head + data, ALL)
    read(head + data)
    has_position(head + data)
    insertion_difference(head + data, data, ())


@examples(10)
@given(
    st.lists(st.text(max_size=12), max_size=5),
    st.text(max_size=20),
    st.lists(st.text(max_size=8), max_size=3),
)
def test_any_text_is_written_completely_or_skipped(keywords, description, existing):
    text = ";".join(existing).encode("utf-16-le", "replace").decode("utf-16-le") + "\0"
    before = block({XP_KEYWORDS: windows_text(text)}) if existing else None
    add_check_remove_check(before, TagFields((TOWER,), keywords=tuple(keywords), description=description))


TAKEN_AT = datetime(2019, 7, 14, 10, 20, 30)  # noqa: DTZ001 - local time


def block_of_kind(*, gps_kind: int = 5) -> bytes:
    """An EXIF block with a time and a position, whose numbers are rational, float or double."""
    form = {5: "<6I", 11: "<3f", 12: "<3d"}[gps_kind]

    def degrees(*parts: int) -> tuple[int, int, bytes]:
        numbers = [number for part in parts for number in (part, 1)] if gps_kind == 5 else parts
        return gps_kind, 3, struct.pack(form, *numbers)

    return block(
        {},
        exif={0x9003: ascii_text("2019:07:14 10:20:30")},
        gps={1: ascii_text("N"), 2: degrees(43, 8, 18), 3: ascii_text("E"), 4: degrees(4, 48, 16)},
    )


def png(*chunks: bytes) -> bytes:
    data = encode_photo("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def jpeg(*payloads: bytes) -> bytes:
    data = encode_photo("JPEG")
    return data[:2] + b"".join(jpeg_segment(0xE1, payload) for payload in payloads) + data[2:]


def check(data: bytes) -> None:
    facts = camera_facts(data)
    assert facts.taken_at == TAKEN_AT
    assert (facts.latitude, facts.longitude) == pytest.approx((43.1383333, 4.8044444), abs=1e-5)


def exiftool(path: Path) -> list[dict[str, object]]:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    command = ["exiftool", "-json", "-n", "-DateTimeOriginal", "-GPSLatitude", str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    answers: list[dict[str, object]] = json.loads(done.stdout)
    return answers


EMPTY_BLOCKS = (b"", b"II*\0\x08\0\0\0", b"II*\0\x08\0\0\0" + bytes(6), bytes(40))
TIME_AND_POSITION = (
    'exif:DateTimeOriginal="2019-07-14T10:20:30" exif:GPSLatitude="43,8.3N" exif:GPSLongitude="4,48.266667E"'
)
XMP_OF_TIME = packet_of("", TIME_AND_POSITION)
IPTC_OF_TIME = iptc_dataset(2, 55, "20190714") + iptc_dataset(2, 60, "102030")
PROFILES = {
    "exif": ("exif", EXIF + block_of_kind()),
    "exif alone": ("exif", block_of_kind()),
    "APP1": ("APP1", EXIF + block_of_kind()),
    "APP1 with XMP": ("APP1", XMP + XMP_OF_TIME),
    "xmp": ("xmp", XMP_OF_TIME),
    "iptc": ("iptc", resource(0x0404, IPTC_OF_TIME)),
    "iptc alone": ("iptc", IPTC_OF_TIME),
}


FORMS: dict[bytes, Callable[[bytes], bytes]] = {
    b"tEXt": lambda text: text,
    b"zTXt": lambda text: b"\0" + zlib.compress(text),
    b"iTXt": lambda text: b"\0\0\0translated\0" + text,
    b"packed iTXt": lambda text: b"\1\0\0\0" + zlib.compress(text),
}
# How programs write the lines before the digits, with the name and the size of the profile.
HEADERS = (
    "\n{name}\n{size:8}\n",
    "{name}\n{size}\n",
    "\r\n{name}\r\n{size}\r\n",
    "\ngeneric profile\n{size} ",
)
USUAL_HEADER = HEADERS[0]


def profile(
    form: bytes,
    name: str,
    content: bytes,
    *,
    header: str = USUAL_HEADER,
    line_digits: int = 72,
    is_upper: bool = False,
) -> bytes:
    """A text of a PNG with a block, as ImageMagick writes it."""
    digits = content.hex().upper() if is_upper else content.hex()
    lines = "\n".join(digits[at : at + line_digits] for at in range(0, len(digits), line_digits))
    text = header.format(name=name, size=len(content)) + lines + "\n"
    return text_chunk(form, name, text.encode())


def text_chunk(form: bytes, name: str, text: bytes) -> bytes:
    return chunk(form[-4:], f"Raw profile type {name}".encode() + b"\0" + FORMS[form](text))


@pytest.mark.parametrize("form", FORMS, ids=bytes.decode)
@pytest.mark.parametrize(("name", "content"), PROFILES.values(), ids=PROFILES)
def test_profiles_of_imagemagick_are_read(form, name, content):
    data = png(profile(form, name, content))
    if name == "iptc":
        assert camera_facts(data).taken_at == TAKEN_AT
    else:
        check(data)
    assert photo_fields(data)
    assert camera_facts(png(profile(form, name, content)[:-60])).taken_at is None


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("line_digits", [71, 80, 99_999])
@pytest.mark.parametrize("is_upper", [False, True])
def test_profiles_are_read_in_every_form(header, line_digits, is_upper):
    for name, content in PROFILES.values():
        for spelling in (name, name.lower(), name.upper()):
            options = {"header": header, "line_digits": line_digits, "is_upper": is_upper}
            data = png(profile(b"zTXt", spelling, content, **options))
            assert camera_facts(data).taken_at == TAKEN_AT


def test_odd_blocks_are_read_as_exiftool_reads_them(tmp_path):
    profiles = [content for content in PROFILES.values() if content[0] != "iptc"]
    photos = [
        jpeg(EXIF + EMPTY_BLOCKS[1], EXIF + block_of_kind()),
        jpeg(EXIF + block_of_kind(gps_kind=11)),
        jpeg(EXIF + block_of_kind(gps_kind=12)),
        png(chunk(b"eXIf", EXIF + block_of_kind())),  # begins as in a JPEG
        *(png(profile(form, name, content)) for form in FORMS for name, content in profiles),
    ]
    for number, data in enumerate(photos):
        check(data)
        (tmp_path / f"{number}{'.jpg' if is_jpeg(data) else '.png'}").write_bytes(data)
    answers = exiftool(tmp_path)
    assert len(answers) == len(photos)
    for answer in answers:
        assert str(answer["DateTimeOriginal"])[:10] == "2019:07:14"
        assert answer["GPSLatitude"] == pytest.approx(43.1383333, abs=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\nexif\n",
        b"\nexif\n      12\n",
        b"\nexif\n      12\n456",
        b"\nexif\n     many\n" + block_of_kind().hex().encode(),
        b"\nexif\n%d\n" % len(block_of_kind()) + block_of_kind().hex().encode()[:-1],
        b"\nexif\n%d\nxy" % len(block_of_kind()) + block_of_kind().hex().encode(),
        b"\nexif\n" + b"9" * 1000,
    ],
    ids=["empty", "no size", "no digits", "odd", "no number", "cut", "letters", "long number"],
)
def test_broken_profiles_hold_nothing(text):
    for form in FORMS:
        data = png(text_chunk(form, "exif", text))
        assert camera_facts(data) == camera_facts(png())
        assert photo_fields(data) == {}


@pytest.mark.parametrize("digits", [2**24 - 100, 2**26])
def test_packed_profiles_take_little_memory(digits):
    text = b"\nexif\n%d\n" % (digits // 2) + b"0" * digits
    data = png(*[text_chunk(b"zTXt", "exif", text)] * 99)
    tracemalloc.start()
    assert camera_facts(data) == camera_facts(png())
    assert tracemalloc.get_traced_memory()[1] < 96 * 2**20
    tracemalloc.stop()


@given(
    data=st.data(), form=st.sampled_from(list(FORMS)), name=st.sampled_from(["exif", "APP1", "xmp", "iptc"])
)
def test_no_profile_makes_reading_fail(data, form, name):
    _, content = data.draw(st.sampled_from(list(PROFILES.values())))
    text = bytearray(f"\n{name}\n{len(content):8}\n{content.hex()}".encode())
    for at in data.draw(st.lists(st.integers(0, len(text) - 1), max_size=9)):
        text[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(text)))
    photo = png(text_chunk(form, name, bytes(text[:cut])))
    camera_facts(photo)
    with suppress(WriteRefused):  # for XMP that is no XML
        photo_fields(photo)


@pytest.mark.parametrize("empty", EMPTY_BLOCKS)
def test_an_empty_block_before_the_real_one_is_passed_over(empty):
    data = jpeg(EXIF + empty, EXIF + block_of_kind())
    check(data)
    assert jpeg_exif(data) == block_of_kind()
    check(png(chunk(b"eXIf", empty), chunk(b"eXIf", block_of_kind())))
    check(jpeg(EXIF + EXIF + block_of_kind()))
    assert jpeg_exif(jpeg(EXIF + b"a", EXIF + b"b")) == b"a"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0, 1e300])
def test_no_position_of_numbers_that_are_none(number):
    data = block_of_kind(gps_kind=12).replace(struct.pack("<d", 43), struct.pack("<d", number))
    assert camera_facts(jpeg(EXIF + data)).latitude is None


@pytest.mark.parametrize(
    "name",
    [
        *("png-exif-chunk-with-preamble.png", "jpeg-gps-as-double.jpg"),
        "png-exif-in-raw-profile-ztxt.png",
    ],
)
def test_reported_files_have_their_facts(test_data, name):
    check((test_data / "reports" / name).read_bytes())
