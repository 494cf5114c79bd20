"""The fields of files for people, and the differences between two versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig.containers import jpeg_segment
from rig.exif_blocks import block
from support.format_photos import IMAGE, encode_photo, exif_block

from tagger.metadata import xmp
from tagger.metadata.errors import WriteRefused
from tagger.metadata.photo_files import Fields, differences, exif_refusal, photo_fields, xmp_fields
from tagger.metadata.tag_fields import NamedLandmark, make_tag_fields

TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower", "France", city="Paris")
PACKET = xmp.add(None, make_tag_fields((TOWER,), description=True), sidecar=False)
IPTC = b"\x1c\x02\x19\x00\x05Paris" + b"\x1c\x02\x78\x00\x04here"
RESOURCES = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(IPTC).to_bytes(4, "big") + IPTC
values = st.one_of(st.text(max_size=3), st.lists(st.text(max_size=3), max_size=4, unique=True))
fields = st.dictionaries(st.sampled_from("abcdef"), values, max_size=6)


def test_differences_are_sorted_with_removals_first() -> None:
    before: Fields = {"b": "old", "a": ["one", "two"], "same": "x"}
    after: Fields = {"a": ["two", "three"], "b": "new", "same": "x", "c": "more"}
    assert differences(before, after) == [
        ("-", "a", "one"),
        ("+", "a", "three"),
        ("-", "b", "old"),
        ("+", "b", "new"),
        ("+", "c", "more"),
    ]


@given(fields, fields)
def test_differences_lead_from_one_version_to_the_other(one: Fields, other: Fields) -> None:
    output = {(name, value) for name in one for value in _listed(one[name])}
    for sign, name, value in differences(one, other):
        (output.remove if sign == "-" else output.add)((name, value))
    assert output == {(name, value) for name in other for value in _listed(other[name])}


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_value_that_becomes_a_list_shows_only_additions() -> None:
    assert differences({"a": "one"}, {"a": ["one", "two"]}) == [("+", "a", "two")]


def test_photo_fields_come_from_all_blocks() -> None:
    data = encode_photo("JPEG", exif=b"Exif\0\0" + exif_block(), xmp=PACKET)
    output = photo_fields(data[:2] + jpeg_segment(0xED, RESOURCES) + data[2:])
    assert output["EXIF:Make"] == "a camera"
    assert output["EXIF:Orientation"] == "Rotate 90 CW"
    assert output["IPTC:Keywords"] == ["Paris"]
    assert output["IPTC:Caption-Abstract"] == ["here"]
    assert output["XMP:dc:subject"] == ["Eiffel Tower"]
    assert output["XMP:digiKam:TagsList"] == ["Places/France/Paris/Eiffel Tower"]


def test_structures_are_one_line_of_text() -> None:
    output = xmp_fields(PACKET)
    (location,) = output["XMP:Iptc4xmpExt:LocationShown"]
    assert "; City=Paris; " in location
    assert output["XMP:dc:description"] == "Eiffel Tower, Paris, France"


def test_broken_photo_is_refused() -> None:
    with pytest.raises(WriteRefused, match="The file is broken"):
        photo_fields(encode_photo("JPEG")[:20])


def test_missing_packet_has_no_fields_and_a_broken_one_is_refused() -> None:
    assert xmp_fields(None) == {}
    with pytest.raises(WriteRefused):
        xmp_fields(b"<x:xmpmeta")


def test_exif_refusal_applies_to_jpegs_only() -> None:
    note = block({}, exif={0x927C: (7, 8, b"a maker!")})
    assert "maker note" in (exif_refusal(encode_photo("JPEG", exif=b"Exif\0\0" + note)) or "")
    assert exif_refusal(encode_photo("JPEG", exif=b"Exif\0\0" + exif_block())) is None
    assert exif_refusal(encode_photo("JPEG", IMAGE)) is None
    assert exif_refusal(encode_photo("PNG", exif=note)) is None
