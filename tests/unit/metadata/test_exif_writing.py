"""Our values in EXIF blocks: added, compared by an independent parser, removed."""

import struct
from typing import Any

import piexif
import pytest
from hypothesis import given
from hypothesis import strategies as st
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
from support.examples import examples

from tagger.metadata.errors import WriteRefused
from tagger.metadata.exif import add, has_position, insertion_difference, read, remove
from tagger.metadata.tag_fields import PositionEstimate, TagFields

XP_KEYWORDS, DESCRIPTION = 0x9C9E, 0x010E


def keywords_in(data: bytes | None) -> list[str]:
    return read(data).get("EXIF:XPKeywords", "").split(";")


def by_piexif(data: bytes | None) -> dict[str, dict[int, Any]]:
    """The directories of a block, as an independent program reads them."""
    directories: dict[str, dict[int, Any]] = piexif.load(b"Exif\0\0" + (data or b""))
    return directories


@pytest.mark.parametrize("order", ["<", ">"])
def test_camera_block_takes_and_returns_all_our_values(order: str) -> None:
    before = camera_block(order)
    change = add(before, ALL)
    assert insertion_difference(before, change.block, change.added) is None
    values = read(change.block)
    assert values == read(before) | {
        "EXIF:XPKeywords": "Eiffel Tower;Paris;Île-de-France",
        "EXIF:ImageDescription": "Eiffel Tower, Île-de-France",
        "EXIF:GPSLatitude": "48.8583700",
        "EXIF:GPSLongitude": "2.2944810",
    }
    assert values["EXIF:Orientation"] == "Rotate 90 CW"
    directories = by_piexif(change.block)
    assert bytes(directories["0th"][XP_KEYWORDS]).decode("utf-16-le") == ";".join(ALL.keywords) + "\0"
    assert directories["0th"][DESCRIPTION].decode() == ALL.description
    assert directories["GPS"][1] + directories["GPS"][3] == b"NE"
    assert change.added == (
        ("EXIF:XPKeywords", "Eiffel Tower"),
        ("EXIF:XPKeywords", "Paris"),
        ("EXIF:XPKeywords", "Île-de-France"),
        ("EXIF:ImageDescription", "Eiffel Tower, Île-de-France"),
        ("EXIF:GPS", "48.85837,2.294481"),
        ("EXIF:GPSProcessingMethod", "landmark-tagger"),
        ("EXIF:GPSHPositioningError", "500"),
    )
    assert change.block is not None
    assert insertion_difference(before, remove(change.block, change.added), ()) is None


def test_nothing_to_add_leaves_the_block_unchanged() -> None:
    before = camera_block("<")
    assert add(before, TagFields()).block is before
    assert add(None, TagFields()).block is None
    once = add(before, ALL).block
    assert add(once, ALL).block is once
    assert remove(before, (("EXIF:XPKeywords", "Paris"), ("dc:subject", "Paris"))) is before


def test_existing_keywords_stay_first_and_are_not_repeated() -> None:
    before = block({XP_KEYWORDS: windows_text("Ferien;PARIS\0")})
    change = add(before, KEYWORDS)
    assert keywords_in(change.block) == ["Ferien", "PARIS", "Eiffel Tower"]
    assert change.added == (("EXIF:XPKeywords", "Eiffel Tower"),)
    assert change.block is not None
    assert keywords_in(remove(change.block, change.added)) == ["Ferien", "PARIS"]


@pytest.mark.parametrize("existing", ["zu\u0308rich\u2019s\u00a0see", " ZÜRICH'S  SEE"])
def test_existing_keyword_in_any_spelling_is_not_repeated(existing: str) -> None:
    before = block({XP_KEYWORDS: windows_text(f"{existing}\0")})
    assert add(before, TagFields(keywords=("Zürich's See", "Bern"))).added == (("EXIF:XPKeywords", "Bern"),)


@pytest.mark.parametrize("text", ["a;b;", "a", "a;b\0\0", " a ; b\0", ";;\0"])
def test_keywords_with_any_terminator_are_restored_exactly(text: str) -> None:
    before = block({XP_KEYWORDS: windows_text(text)}, order=">")
    change = add(before, KEYWORDS)
    assert change.block is not None
    assert insertion_difference(before, change.block, change.added) is None
    assert insertion_difference(before, remove(change.block, change.added), ()) is None


@pytest.mark.parametrize("keyword", ["a;b", "", "  ", "a\0b", "\ud800"])
def test_keywords_that_exif_cannot_hold_are_skipped(keyword: str) -> None:
    assert add(None, TagFields((TOWER,), keywords=(keyword, "Paris"))).added == (
        ("EXIF:XPKeywords", "Paris"),
    )


@pytest.mark.parametrize("raw", [(1, 3, b"abc"), (7, 4, b"a\0b\0"), (1, 6, b"a\0\0\0b\0"), (1, 2, b"\0\xd8")])
def test_keywords_in_an_unknown_form_are_refused(raw: tuple[int, int, bytes]) -> None:
    with pytest.raises(WriteRefused, match="XPKeywords"):
        add(block({XP_KEYWORDS: raw}), KEYWORDS)


@pytest.mark.parametrize(
    ("existing", "written"), [(None, True), ("", True), ("      ", True), ("\0 \0", True), ("Summer", False)]
)
def test_description_is_written_only_into_an_empty_field(existing: str | None, written: bool) -> None:
    before = block(
        {} if existing is None else {DESCRIPTION: ascii_text(existing)}, exif={0x9000: (7, 4, b"0230")}
    )
    change = add(before, ALL)
    assert (read(change.block)["EXIF:ImageDescription"] != existing) == written
    assert (("EXIF:ImageDescription", ALL.description) in change.added) == written
    assert insertion_difference(before, change.block, change.added) is None


def test_existing_position_stays() -> None:
    zeros = bytes(24)
    before = block({}, gps={1: ascii_text("N"), 2: (5, 3, zeros), 3: ascii_text("E"), 4: (5, 3, zeros)})
    change = add(before, ALL)
    assert has_position(before)
    assert not has_position(camera_block("<"))
    assert not any(field == "EXIF:GPS" for field, _ in change.added)
    assert insertion_difference(before, change.block, change.added) is None


def test_existing_datum_prevents_our_position() -> None:
    change = add(block({}, gps={18: ascii_text("TOKYO")}), ALL)
    assert not any(field.startswith("EXIF:GPS") for field, _ in change.added)


@pytest.mark.parametrize(
    "where", [(-33.8567844, 151.2152967), (0.0, -0.00000001), (-90.0, -180.0), (59.9999999, 179.9999999)]
)
def test_positions_are_exact_to_a_centimetre(where: tuple[float, float]) -> None:
    change = add(None, TagFields((TOWER,), position=PositionEstimate(*where, error_m=12.34)))
    gps = by_piexif(change.block)["GPS"]
    for tag, degrees_expected in zip((2, 4), where, strict=True):
        parts = gps[tag]
        degrees = sum(top / bottom / unit for (top, bottom), unit in zip(parts, (1, 60, 3600), strict=True))
        assert abs(degrees - abs(degrees_expected)) < 1e-7
        assert all(top / bottom < 60 for top, bottom in parts[1:])
    assert (gps[31], gps[27], gps[18]) == ((1234, 100), b"ASCII\0\0\0landmark-tagger", b"WGS-84")


def test_an_estimate_names_its_source() -> None:
    estimate = TagFields(position=PositionEstimate(48.85837, 2.294481, 500, "track"))
    change = add(None, estimate)
    assert ("EXIF:GPSProcessingMethod", "landmark-tagger track") in change.added
    assert by_piexif(change.block)["GPS"][27] == b"ASCII\0\0\0landmark-tagger track"
    assert insertion_difference(None, change.block, change.added) is None
    assert remove(change.block or b"", change.added) is None


@pytest.mark.parametrize(
    "where", [(91, 0, 1), (0, 181, 1), (float("nan"), 0, 1), (0, 0, float("inf")), (0, 0, -1)]
)
def test_invalid_positions_are_not_written(where: tuple[float, float, float]) -> None:
    assert add(None, TagFields((TOWER,), position=PositionEstimate(*where))).block is None


def test_position_changed_by_others_loses_only_our_method() -> None:
    change = add(None, ALL)
    other = add(None, TagFields((TOWER,), position=PositionEstimate(48.0, 2.0, 500)))
    assert other.block is not None
    remaining = remove(other.block, change.added)
    assert has_position(remaining)
    assert remaining is not None
    assert b"landmark-tagger" not in remaining
    assert b"WGS-84" in remaining


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
def test_block_that_could_lose_tags_is_refused(broken: bytes, why: str) -> None:
    with pytest.raises(WriteRefused, match=why):
        add(broken, KEYWORDS)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_that_no_standard_knows_are_kept_as_they_are(order: str) -> None:
    odd = {0x10F: (2, 4, b"NONE"), 0xC000: ascii_text("private"), 0xC4A5: (7, 8, b"PrintIM\0")}
    comment = {0x9286: (7, 10, b"UNICODE\0a\0"), 0xA002: (3, 1, struct.pack(order + "H", 640))}
    before = block(odd, order=order, exif=comment, first={}, thumbnail=b"\xff")
    change = add(before, ALL)
    assert change.block is not None
    assert change.block[:2] == before[:2]
    assert insertion_difference(before, change.block, change.added) is None
    assert insertion_difference(before, remove(change.block, change.added), ()) is None
    for value in (b"UNICODE\0a\0", b"NONE", b"PrintIM\0"):
        assert value in change.block


def test_comparison_sees_every_tag_and_the_thumbnail() -> None:
    before = camera_block("<")
    change = add(before, ALL)
    assert change.block is not None
    for old, new in (
        (b"Maker", b"Mbker"),
        (b"R98", b"R03"),
        (b"0230", b"0231"),
        (b"JFIF", b"JFXX"),
        (b"2019:05:04 ", b"2020:05:04 "),
        (b"P\0a\0r\0i\0s\0", b"p\0a\0r\0i\0s\0"),
        (b"landmark-tagger", b"landmark-taggEr"),
    ):
        assert old in change.block
        assert insertion_difference(before, change.block.replace(old, new), change.added)
    assert insertion_difference(camera_block(">"), change.block, change.added)
    assert insertion_difference(before, change.block, change.added[1:])
    assert insertion_difference(before, change.block, ())
    assert insertion_difference(before, before, change.added)
    assert insertion_difference(before, None, ())
    assert insertion_difference(
        block({DESCRIPTION: ascii_text("Summer")}),
        block({DESCRIPTION: ascii_text("x")}),
        [("EXIF:ImageDescription", "x")],
    )


@examples(50)
@given(blocks())
def test_generated_blocks_keep_all_tags_or_stay_unchanged(before: bytes) -> None:
    add_check_remove_check(before, ALL)
    read(before)
    has_position(before)


@examples(38)
@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_arbitrary_bytes_raise_no_other_error(data: bytes, head: bytes) -> None:
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
def test_any_text_is_written_completely_or_skipped(
    keywords: list[str], description: str, existing: list[str]
) -> None:
    text = ";".join(existing).encode("utf-16-le", "replace").decode("utf-16-le") + "\0"
    before = block({XP_KEYWORDS: windows_text(text)}) if existing else None
    add_check_remove_check(before, TagFields((TOWER,), keywords=tuple(keywords), description=description))
