"""What a photo and its sidecar hold is shown with the differences of a write; RAW photos get sidecars alone."""

import io
import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from PIL import Image
from rig.containers import iptc_dataset, photoshop, resource
from rig.exif_blocks import block
from rig.raw_files import RAW_KINDS, RawContent, raw_file
from rig.xmp_packets import packet_of, xmp_list
from support.format_photos import IMAGE, embed, encode_photo, exif_block, no_undo_record, sidecar_plan

from tagger.cli.commands.metadata import FileState, metadata_state
from tagger.metadata import NamedLandmark, RefusalKind, WriteRefused, make_tag_fields
from tagger.metadata.formats import may_hold_tags, read_blocks
from tagger.metadata.photo_files import (
    Fields,
    differences,
    exif_refusal,
    photo_fields,
    xmp_fields,
)
from tagger.metadata.xmp import changes
from tagger.photos.side_files import SIDECAR_MAX_BYTES

TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower", "France", city="Paris")
PACKET = changes.add(None, make_tag_fields((TOWER,), description=True), sidecar=False)
IPTC = iptc_dataset(2, 25, "Paris") + iptc_dataset(2, 120, "here")
values = st.one_of(st.text(max_size=3), st.lists(st.text(max_size=3), max_size=4, unique=True))
fields = st.dictionaries(st.sampled_from("abcdef"), values, max_size=6)


def test_differences_are_sorted_and_fields_come_from_all_blocks():
    before: Fields = {"b": "old", "a": ["one", "two"], "same": "x"}
    after: Fields = {"a": ["two", "three"], "b": "new", "same": "x", "c": "more"}
    assert differences(before, after) == [
        ("-", "a", "one"),
        ("+", "a", "three"),
        ("-", "b", "old"),
        ("+", "b", "new"),
        ("+", "c", "more"),
    ]
    assert differences({"a": "one"}, {"a": ["one", "two"]}) == [("+", "a", "two")]  # it becomes a list
    data = encode_photo("JPEG", exif=b"Exif\0\0" + exif_block(), xmp=PACKET)
    output = photo_fields(data[:2] + photoshop(resource(0x0404, IPTC)) + data[2:])
    assert output["EXIF:Make"] == "a camera"
    assert output["EXIF:Orientation"] == "Rotate 90 CW"
    assert output["IPTC:Keywords"] == ["Paris"]
    assert output["IPTC:Caption-Abstract"] == ["here"]
    assert output["XMP:dc:subject"] == ["Eiffel Tower"]
    assert output["XMP:digiKam:TagsList"] == ["Places/France/Paris/Eiffel Tower"]


@given(fields, fields)
def test_differences_lead_from_one_version_to_the_other(one, other):
    output = {(name, value) for name in one for value in _listed(one[name])}
    for sign, name, value in differences(one, other):
        (output.remove if sign == "-" else output.add)((name, value))
    assert output == {(name, value) for name in other for value in _listed(other[name])}


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_structures_are_one_line_and_exif_is_refused_in_jpegs_only():
    output = xmp_fields(PACKET)
    (location,) = output["XMP:Iptc4xmpExt:LocationShown"]
    assert "; City=Paris; " in location
    assert output["XMP:dc:description"] == "Eiffel Tower, Paris, France"
    assert xmp_fields(None) == {}
    with pytest.raises(WriteRefused):
        xmp_fields(b"<x:xmpmeta")
    with pytest.raises(WriteRefused, match="The file is broken"):
        photo_fields(encode_photo("JPEG")[:20])
    note = block({}, exif={0x927C: (7, 8, b"a maker!")})
    assert "maker note" in (exif_refusal(encode_photo("JPEG", exif=b"Exif\0\0" + note)) or "")
    assert exif_refusal(encode_photo("JPEG", exif=b"Exif\0\0" + exif_block())) is None
    assert exif_refusal(encode_photo("JPEG", IMAGE)) is None
    assert exif_refusal(encode_photo("PNG", exif=note)) is None


TOWER_FIELDS = NamedLandmark(
    "eiffel-tower", "Eiffel Tower", latitude=48.8584, longitude=2.2945, extent="point"
)
TAGS = make_tag_fields([TOWER_FIELDS], gps=True, description=True)
OTHER_PACKET = packet_of(xmp_list("dc:subject", "Anna"))


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_exif_and_xmp_of_raw_files_are_read_and_nothing_is_embedded(kind, tmp_path):
    path = tmp_path / "photo.tif"
    path.write_bytes(raw_file(kind, RawContent(orientation=6, xmp=OTHER_PACKET)))
    fields = photo_fields(path.read_bytes())
    assert fields["XMP:dc:subject"] == ["Anna"]
    assert fields["EXIF:Model"] == "Camera 1"
    assert fields["EXIF:DateTimeOriginal"] == "2024:06:01 12:30:00"
    assert fields["EXIF:Orientation"] == "Rotate 90 CW"
    assert fields["EXIF:GPSLatitude"] == "48.8583333"
    assert not may_hold_tags(path.read_bytes())
    with pytest.raises(WriteRefused) as refused:
        embed(path, TAGS)
    assert refused.value.kind is RefusalKind.FORMAT


def sidecar_fields(data: bytes) -> Fields:
    return xmp_fields(sidecar_plan(Path("a.xmp"), TAGS, no_undo_record, photo_data=data).data)


def avif(*, has_gps: bool = False, xmp: bytes | None = None) -> bytes:
    exif = Image.Exif()
    if has_gps:
        exif.get_ifd(0x8825).update({1: "N", 2: (41.0, 53.0, 24.0), 3: "E", 4: (12.0, 29.0, 32.0)})
        exif[0x010E] = "My own words"
    output = io.BytesIO()
    Image.new("RGB", (64, 48), (10, 120, 200)).save(output, "AVIF", exif=exif, xmp=xmp)
    return output.getvalue()


def test_a_new_sidecar_repeats_keywords_and_leaves_position_and_description_to_the_photo():
    for kind in RAW_KINDS:
        fields = sidecar_fields(raw_file(kind, RawContent(xmp=OTHER_PACKET)))
        assert fields["XMP:digiKam:TagsList"] == ["Anna", "Places/Eiffel Tower"], kind
        assert "XMP:exif:GPSLatitude" not in fields, kind
        broken = raw_file(kind, RawContent(xmp=b"<no XML"))
        assert read_blocks(broken).xmp == b"<no XML"
        assert "Eiffel Tower" in sidecar_fields(broken)["XMP:dc:subject"], kind
    data = avif(has_gps=True, xmp=OTHER_PACKET)
    assert photo_fields(data)["EXIF:GPSLatitude"] == "41.8900000"
    fields = sidecar_fields(data)
    assert fields["XMP:digiKam:TagsList"] == ["Anna", "Places/Eiffel Tower"]
    assert not {"XMP:exif:GPSLatitude", "XMP:dc:description"} & fields.keys()
    assert {"XMP:exif:GPSLatitude", "XMP:dc:description"} <= sidecar_fields(avif()).keys()


@pytest.mark.parametrize("data", [b"", b"\0\0\0\x18ftypavif", b"\0\0\0\x18ftypheic" + bytes(99), b"GIF89a"])
def test_unreadable_files_have_no_blocks(data):
    assert read_blocks(data) == read_blocks(b"")


# --- `tagger metadata show` reads sidecars within limits, as photos are read.

MAX_BYTES = 2**20


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "tower.jpg"
    path.write_bytes(encode_photo("JPEG"))
    path.with_name("tower.xmp").write_bytes(PACKET)
    return path


def sidecar_state(photo: Path) -> FileState:
    (state,) = (
        each for each in metadata_state(photo, MAX_BYTES).sidecars if each.path.name == "tower.jpg.xmp"
    )
    return state


@pytest.mark.parametrize(
    ("create", "problem"),
    [
        (os.mkfifo, "It is a pipe, socket or device and not a file"),
        (sparse, f"more than the limit of {SIDECAR_MAX_BYTES}"),
        (Path.touch, "The file has no content"),
    ],
)
def test_a_sidecar_that_cannot_be_read_has_a_problem(create, problem, photo):
    create(photo.with_name("tower.jpg.xmp"))
    assert problem in (sidecar_state(photo).problem or "")
    state = metadata_state(photo, MAX_BYTES)
    assert [each.problem for each in (state.photo, *state.sidecars) if each and each.landmarks] == [None]


def test_a_linked_sidecar_is_read(photo):
    photo.with_name("tower.jpg.xmp").symlink_to("tower.xmp")
    assert sidecar_state(photo).landmarks[0].slug == "eiffel-tower"
