"""What files say, for people, and how two states of a file differ."""

import pytest
from exif_blocks import ALL, block
from format_photos import PICTURE, exif_block, saved, segment
from hypothesis import given
from hypothesis import strategies as st

from tagger.metadata import xmp
from tagger.metadata.additions import NamedLandmark, additions_for
from tagger.metadata.described import (
    Fields,
    differences,
    exif_left_alone,
    packet_of,
    photo_fields,
    xmp_fields,
)
from tagger.metadata.refusals import WriteRefused

TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower", "France", city="Paris")
PACKET = xmp.add(None, additions_for((TOWER,), description=True), sidecar=False)
IPTC = b"\x1c\x02\x19\x00\x05Paris" + b"\x1c\x02\x78\x00\x04here"
RESOURCES = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(IPTC).to_bytes(4, "big") + IPTC
values = st.one_of(st.text(max_size=3), st.lists(st.text(max_size=3), max_size=4, unique=True))
fields = st.dictionaries(st.sampled_from("abcdef"), values, max_size=6)


def test_differences_are_in_the_order_of_fields_and_what_goes_is_first() -> None:
    before: Fields = {"b": "old", "a": ["one", "two"], "same": "x"}
    after: Fields = {"a": ["two", "three"], "b": "new", "same": "x", "c": "more"}
    assert differences(before, after) == [
        ("-", "a", "one"),
        ("+", "a", "three"),
        ("-", "b", "old"),
        ("+", "b", "new"),
        ("+", "c", "more"),
    ]


@given(fields)
def test_a_state_does_not_differ_from_itself(state: Fields) -> None:
    assert differences(state, state) == []


@given(fields, fields)
def test_differences_turned_around_are_those_of_the_way_back(one: Fields, other: Fields) -> None:
    turned = {"-": "+", "+": "-"}
    there = {(turned[sign], name, value) for sign, name, value in differences(one, other)}
    assert there == set(differences(other, one))


@given(fields, fields)
def test_differences_lead_from_one_state_to_the_other(one: Fields, other: Fields) -> None:
    said = {(name, value) for name in one for value in _listed(one[name])}
    for sign, name, value in differences(one, other):
        (said.remove if sign == "-" else said.add)((name, value))
    assert said == {(name, value) for name in other for value in _listed(other[name])}


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_one_value_that_becomes_a_list_shows_only_what_came() -> None:
    assert differences({"a": "one"}, {"a": ["one", "two"]}) == [("+", "a", "two")]


def test_a_photo_says_what_stands_in_all_its_blocks() -> None:
    data = saved("JPEG", exif=b"Exif\0\0" + exif_block(), xmp=PACKET)
    said = photo_fields(data[:2] + segment(0xED, RESOURCES) + data[2:])
    assert said["EXIF:Make"] == "a camera"
    assert said["EXIF:Orientation"] == "Rotate 90 CW"
    assert said["IPTC:Keywords"] == ["Paris"]
    assert said["IPTC:Caption-Abstract"] == ["here"]
    assert said["XMP:dc:subject"] == ["Eiffel Tower"]
    assert said["XMP:digiKam:TagsList"] == ["Places/France/Paris/Eiffel Tower"]


def test_structures_are_spelled_out_in_a_line() -> None:
    said = xmp_fields(PACKET)
    (shown,) = said["XMP:Iptc4xmpExt:LocationShown"]
    assert "; City=Paris; " in shown
    assert said["XMP:dc:description"] == "Eiffel Tower, Paris, France"


@pytest.mark.parametrize("kind", ["GIF", "BMP"])
def test_containers_that_hold_no_blocks_say_nothing(kind: str) -> None:
    assert photo_fields(saved(kind)) == {}
    assert packet_of(saved(kind)) is None


@pytest.mark.parametrize("data", [b"", b"no photo", b"\xff\xd8"])
def test_what_is_no_photo_says_nothing(data: bytes) -> None:
    assert photo_fields(data) == {}


def test_a_photo_that_does_not_hold_together_is_refused() -> None:
    with pytest.raises(WriteRefused, match="does not hold together"):
        photo_fields(saved("JPEG")[:20])


def test_nothing_is_said_of_no_packet_and_a_broken_one_is_refused() -> None:
    assert xmp_fields(None) == {}
    with pytest.raises(WriteRefused):
        xmp_fields(b"<x:xmpmeta")


def test_why_exif_is_left_alone_is_told_of_jpegs_only() -> None:
    note = block({}, exif={0x927C: (7, 8, b"a maker!")})
    assert "maker note" in (exif_left_alone(saved("JPEG", exif=b"Exif\0\0" + note)) or "")
    assert exif_left_alone(saved("JPEG", exif=b"Exif\0\0" + exif_block())) is None
    assert exif_left_alone(saved("JPEG", PICTURE)) is None
    assert exif_left_alone(saved("PNG", exif=note)) is None
    assert ALL.keywords
