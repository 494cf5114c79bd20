"""What a write would change: from which base, what is repeated for other programs' sake, and what stays empty for nobody's."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from exif_blocks import ascii_text, block, windows_text
from format_photos import PICTURE, saved, segment
from PIL import Image

from tagger.metadata.additions import Additions, NamedLandmark, additions_for
from tagger.metadata.described import Fields, photo_fields, xmp_fields
from tagger.metadata.planning import (
    FindKept,
    Kept,
    Plan,
    check_picture,
    digest_file,
    plan_embed,
    plan_sidecar,
)
from tagger.metadata.refusals import RefusalKind, WriteRefused
from tagger.metadata.replacing import WriteFailed
from tagger.photos import digest_photo

TOWER = NamedLandmark(
    "eiffel-tower",
    "Eiffel Tower",
    "France",
    city="Paris",
    latitude=48.8584,
    longitude=2.2945,
    extent="point",
)
ARCH = replace(TOWER, slug="arch", name="Arc de Triomphe", latitude=48.8738)
ALL = additions_for((TOWER,), gps=True, description=True)
OTHERS = additions_for((ARCH,))
NONE = Additions()
MAX_BYTES = 10**6
GPS = {1: (2, 2, b"N\0"), 2: (5, 3, struct.pack("<6I", 1, 1, 2, 1, 3, 1)), 3: (2, 2, b"E\0")}
GPS |= {4: (5, 3, struct.pack("<6I", 4, 1, 5, 1, 6, 1))}


def nothing_kept(_written: str) -> Kept | None:
    return None


def kept_in(*plans: Plan) -> FindKept:
    known = {plan.kept.written: plan.kept for plan in plans if plan.kept}
    return known.get


def jpeg(*, exif: bytes = b"", packet: str = "", iptc: bytes = b"") -> bytes:
    """A photo of which each block says so much."""
    named = {"exif": b"Exif\0\0" + exif} if exif else {}
    data = saved("JPEG", PICTURE, **named, **({"xmp": in_xmp(packet)} if packet else {}))
    resource = b"8BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc + bytes(len(iptc) % 2)
    return data[:2] + segment(0xED, b"Photoshop 3.0\0" + resource) + data[2:] if iptc else data


def in_xmp(inner: str) -> bytes:
    spaces = (
        ("dc", "http://purl.org/dc/elements/1.1/"),
        ("exif", "http://ns.adobe.com/exif/1.0/"),
        ("rdf", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"),
        ("digiKam", "http://www.digikam.org/ns/1.0/"),
    )
    named = " ".join(f'xmlns:{short}="{long}"' for short, long in spaces)
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/" {named}><rdf:RDF><rdf:Description>{inner}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def subject(*keywords: str) -> str:
    items = "".join(f"<rdf:li>{keyword}</rdf:li>" for keyword in keywords)
    return f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>"


def dataset(number: int, text: str) -> bytes:
    return struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text.encode()


def embed(path: Path, additions: Additions, find_kept: FindKept = nothing_kept) -> Plan:
    return plan_embed(path, additions, find_kept, picture=None, max_bytes=MAX_BYTES)


def photo_in(folder: Path, data: bytes) -> Path:
    path = folder / "photo.jpg"
    path.write_bytes(data)
    return path


def embedded(folder: Path, data: bytes, additions: Additions = ALL) -> Fields:
    """What the photo would say."""
    return photo_fields(embed(photo_in(folder, data), additions).data or b"")


def sidecar(folder: Path, photo: bytes, additions: Additions = ALL) -> Fields:
    """What a new sidecar of the photo would say."""
    plan = plan_sidecar(folder / "photo.jpg.xmp", additions, nothing_kept, of_photo=photo)
    return xmp_fields(plan.data)


both = pytest.mark.parametrize("said", [embedded, sidecar], ids=["embedded", "sidecar"])
Said = Callable[..., Fields]


# --- Photos.


def test_planning_changes_nothing(tmp_path: Path) -> None:
    path = photo_in(tmp_path, jpeg())
    plan = embed(path, ALL)
    plan_sidecar(tmp_path / "photo.jpg.xmp", ALL, nothing_kept, of_photo=jpeg())
    assert plan.changes
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("photo.jpg", jpeg())]


def test_what_is_kept_takes_the_original_back_byte_for_byte(tmp_path: Path) -> None:
    path = photo_in(tmp_path, jpeg(exif=block({0x10F: ascii_text("Maker")}), packet=subject("mine")))
    written = embed(path, ALL)
    assert written.kept is not None
    assert written.kept.base == digest_file(path.read_bytes())
    original = path.read_bytes()
    path.write_bytes(written.data or b"")
    back = embed(path, NONE, kept_in(written))
    assert (back.data, back.kept) == (original, None)


def test_doing_it_again_changes_nothing(tmp_path: Path) -> None:
    path = photo_in(tmp_path, jpeg())
    written = embed(path, ALL)
    path.write_bytes(written.data or b"")
    again = embed(path, ALL, kept_in(written))
    assert not again.changes
    assert again.kept == written.kept


def test_other_tags_go_onto_the_original_and_not_onto_what_was_written(tmp_path: Path) -> None:
    path = photo_in(tmp_path, jpeg())
    written = embed(path, ALL)
    at_once = embed(path, OTHERS).data
    path.write_bytes(written.data or b"")
    assert embed(path, OTHERS, kept_in(written)).data == at_once


def test_a_file_that_somebody_changed_since_keeps_what_they_did(tmp_path: Path) -> None:
    path = photo_in(tmp_path, jpeg(packet=subject("mine")))
    written = embed(path, ALL)
    path.write_bytes((written.data or b"").replace(b">mine<", b">more<", 1))
    assert path.read_bytes() != written.data
    back = embed(path, NONE, kept_in(written))
    assert photo_fields(back.data or b"") == {"XMP:dc:subject": ["more"]}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: replace(kept, undo=b"\x01 damaged"),
        lambda kept: replace(kept, base=digest_file(b"another")),
        lambda kept: replace(kept, undo=None),
        lambda _kept: None,
    ],
    ids=["damaged", "of another base", "without splices", "lost"],
)
def test_where_what_was_kept_cannot_be_used_the_file_tells_what_is_ours(
    tmp_path: Path, spoil: Callable[[Kept | None], Kept | None]
) -> None:
    path = photo_in(tmp_path, jpeg(packet=subject("mine")))
    original = photo_fields(path.read_bytes())
    written = embed(path, ALL)
    path.write_bytes(written.data or b"")
    back = embed(path, NONE, lambda _written: spoil(written.kept))
    assert photo_fields(back.data or b"") == original


def test_another_picture_than_the_tagged_one_is_refused(tmp_path: Path) -> None:
    data = jpeg()
    check_picture(data, None)
    check_picture(data, digest_photo(data))
    with pytest.raises(WriteRefused, match="Tag it again") as refused:
        plan_embed(
            photo_in(tmp_path, data), ALL, nothing_kept, picture=digest_photo(b"x"), max_bytes=MAX_BYTES
        )
    assert refused.value.kind is RefusalKind.CHANGED


def test_containers_that_hold_no_metadata_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WriteRefused) as refused:
        embed(photo_in(tmp_path, saved("GIF")), ALL)
    assert refused.value.kind is RefusalKind.FORMAT


def test_a_photo_that_is_gone_or_too_large_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(WriteFailed) as failed:
        embed(tmp_path / "gone.jpg", ALL)
    assert failed.value.kind == "gone"
    with pytest.raises(WriteRefused) as refused:
        plan_embed(photo_in(tmp_path, jpeg()), ALL, nothing_kept, picture=None, max_bytes=10)
    assert refused.value.kind is RefusalKind.TOO_LARGE


def test_a_maker_note_is_left_alone_and_the_plan_says_so(tmp_path: Path) -> None:
    note = block({0x10F: ascii_text("Maker")}, exif={0x927C: (7, 8, b"a maker!")})
    plan = embed(photo_in(tmp_path, jpeg(exif=note)), ALL)
    assert ["maker note" in text for text in plan.notes] == [True]
    assert note in (plan.data or b"")
    assert "XMP:exif:GPSLatitude" in photo_fields(plan.data or b"")


# --- Where nothing is yet.


@pytest.mark.parametrize(
    "photo",
    [
        jpeg(exif=block({}, gps=GPS)),
        jpeg(packet="<exif:GPSLatitude>1,2N</exif:GPSLatitude><exif:GPSLongitude>4,5E</exif:GPSLongitude>"),
        saved("PNG", exif=block({}, gps=GPS)),
        saved("WEBP", exif=block({}, gps=GPS)),
    ],
    ids=["EXIF", "XMP", "PNG", "WebP"],
)
@both
def test_a_position_stays_the_only_one_wherever_it_stands(tmp_path: Path, said: Said, photo: bytes) -> None:
    before, after = photo_fields(photo), said(tmp_path, photo)
    assert {name: value for name, value in after.items() if "GPSL" in name} == {
        name: value for name, value in before.items() if "GPSL" in name and name in after
    }


@pytest.mark.parametrize(
    "photo",
    [
        jpeg(exif=block({0x10E: ascii_text("theirs")})),
        jpeg(iptc=dataset(120, "theirs")),
        jpeg(
            packet='<dc:description><rdf:Alt><rdf:li xml:lang="x-default">theirs</rdf:li></rdf:Alt></dc:description>'
        ),
    ],
    ids=["EXIF", "IPTC", "XMP"],
)
@both
def test_a_description_stays_the_only_one_wherever_it_stands(
    tmp_path: Path, said: Said, photo: bytes
) -> None:
    after = said(tmp_path, photo)
    assert [value for name, value in after.items() if name == "XMP:dc:description"] in (
        [],
        ["theirs"],
    )
    assert after.get("EXIF:ImageDescription") in (None, "theirs")


@both
def test_position_and_description_are_written_where_there_is_none(tmp_path: Path, said: Said) -> None:
    blank = jpeg(exif=block({0x10E: ascii_text("    ")}), iptc=dataset(25, "mine"))
    after = said(tmp_path, blank)
    assert after["XMP:exif:GPSLatitude"] == "48,51.5040N"
    assert after["XMP:dc:description"] == "Eiffel Tower, Paris, France"
    if said is embedded:
        assert after["EXIF:ImageDescription"] == "Eiffel Tower, Paris, France"
        assert after["EXIF:GPSLatitude"] == "48.8584000"


def test_they_are_written_only_when_asked_for(tmp_path: Path) -> None:
    after = embedded(tmp_path, jpeg(), additions_for((TOWER,)))
    assert not [name for name in after if "GPSL" in name and "LocationShown" not in name]
    assert "XMP:dc:description" not in after


# --- The owner's keywords.


@both
def test_keywords_of_other_blocks_are_repeated_where_programs_look_first(tmp_path: Path, said: Said) -> None:
    photo = jpeg(
        exif=block({0x9C9E: windows_text("Oma;Ferien\0")}), iptc=dataset(25, "Paris") + dataset(25, "Oma")
    )
    after = said(tmp_path, photo)
    assert after["XMP:dc:subject"] == ["Paris", "Oma", "Ferien", "Eiffel Tower"]
    assert after["XMP:digiKam:TagsList"] == ["Paris", "Oma", "Ferien", "Places/France/Paris/Eiffel Tower"]


@both
def test_xmp_that_has_keywords_gets_none_of_other_blocks(tmp_path: Path, said: Said) -> None:
    after = said(tmp_path, jpeg(packet=subject("mine"), iptc=dataset(25, "Paris")))
    assert after["XMP:dc:subject"] == ["mine", "Eiffel Tower"]


def test_what_was_repeated_goes_with_what_is_ours(tmp_path: Path) -> None:
    path = photo_in(tmp_path, jpeg(iptc=dataset(25, "Paris")))
    original = photo_fields(path.read_bytes())
    path.write_bytes(embed(path, ALL).data or b"")
    assert photo_fields(embed(path, NONE).data or b"") == original


# --- Sidecars.


def test_a_new_sidecar_begins_as_the_photo_and_goes_again(tmp_path: Path) -> None:
    photo = jpeg(packet=subject("mine") + "<dc:source>a scan</dc:source>")
    path = tmp_path / "photo.jpg.xmp"
    written = plan_sidecar(path, ALL, nothing_kept, of_photo=photo)
    said = xmp_fields(written.data)
    assert (said["XMP:dc:subject"], said["XMP:dc:source"]) == (["mine", "Eiffel Tower"], "a scan")
    assert (written.kept and written.kept.base, written.kept and written.kept.undo) == (None, None)
    path.write_bytes(written.data or b"")
    assert plan_sidecar(path, NONE, kept_in(written)).data is None


def test_other_tags_in_a_sidecar_of_ours_are_as_if_they_had_been_the_first(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg.xmp"
    written = plan_sidecar(path, ALL, nothing_kept, of_photo=jpeg())
    at_once = plan_sidecar(path, OTHERS, nothing_kept, of_photo=jpeg())
    path.write_bytes(written.data or b"")
    assert plan_sidecar(path, OTHERS, kept_in(written), of_photo=jpeg()).data == at_once.data
    assert not plan_sidecar(path, ALL, kept_in(written), of_photo=jpeg()).changes


def test_an_owners_sidecar_comes_back_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "photo.xmp"
    path.write_bytes(in_xmp(subject("theirs")))
    written = plan_sidecar(path, ALL, nothing_kept, of_photo=jpeg(packet=subject("in the photo")))
    assert xmp_fields(written.data)["XMP:dc:subject"] == ["theirs", "Eiffel Tower"]
    path.write_bytes(written.data or b"")
    assert plan_sidecar(path, NONE, kept_in(written)).data == in_xmp(subject("theirs"))


def test_a_sidecar_that_somebody_changed_since_keeps_what_they_did(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg.xmp"
    written = plan_sidecar(path, ALL, nothing_kept, of_photo=jpeg(packet=subject("mine")))
    path.write_bytes((written.data or b"").replace(b"<rdf:li>mine</rdf:li>", b"<rdf:li>new</rdf:li>"))
    assert path.read_bytes() != written.data
    back = plan_sidecar(path, NONE, kept_in(written))
    assert xmp_fields(back.data)["XMP:dc:subject"] == ["new"]


def test_where_nothing_is_to_be_added_a_sidecar_of_others_stays(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg.xmp"
    assert plan_sidecar(path, NONE, nothing_kept).data is None
    path.write_bytes(in_xmp(subject("theirs")))
    assert not plan_sidecar(path, NONE, nothing_kept).changes


def test_a_sidecar_that_cannot_be_read_is_refused_and_of_a_photo_that_cannot_is_made(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg.xmp"
    assert xmp_fields(plan_sidecar(path, ALL, nothing_kept, of_photo=jpeg()[:30]).data)["XMP:dc:subject"]
    path.write_bytes(b"<x:xmpmeta")
    with pytest.raises(WriteRefused) as refused:
        plan_sidecar(path, ALL, nothing_kept, of_photo=jpeg())
    assert refused.value.kind is RefusalKind.XMP


def test_a_sidecar_of_a_written_photo_begins_as_its_owner_left_it(tmp_path: Path) -> None:
    path = photo_in(tmp_path, jpeg(packet=subject("mine")))
    written = embed(path, ALL).data or b""
    beside = plan_sidecar(tmp_path / "photo.jpg.xmp", OTHERS, nothing_kept, of_photo=written)
    assert xmp_fields(beside.data)["XMP:dc:subject"] == ["mine", "Arc de Triomphe"]


def test_pictures_of_every_kind_take_and_give_back_the_same(tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        path = photo_in(tmp_path, saved(kind, Image.new("RGB", (8, 8), "red")))
        original = path.read_bytes()
        written = embed(path, ALL)
        path.write_bytes(written.data or b"")
        assert embed(path, NONE, kept_in(written)).data == original, kind


def test_iptc_that_cannot_be_changed_is_left_alone_and_xmp_is_written_all_the_same(tmp_path: Path) -> None:
    one = jpeg(iptc=dataset(25, "holiday"))
    behind_iptc = 4 + int.from_bytes(one[4:6], "big")
    data = (
        one[:behind_iptc]
        + segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x0c\0\0\0\0\0\0")
        + one[behind_iptc:]
    )
    plan = embed(photo_in(tmp_path, data), ALL)
    assert plan.data is not None
    said = photo_fields(plan.data)
    assert said["IPTC:Keywords"] == ["holiday"]
    assert said["XMP:dc:subject"] == ["holiday", "Eiffel Tower"]
    assert any(note.startswith("its IPTC is left alone") for note in plan.notes)
