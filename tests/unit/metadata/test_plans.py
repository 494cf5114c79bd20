"""Plans of file changes: their base, repeated keywords, and fields that stay empty."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rig.containers import iptc_dataset, photoshop, resource
from rig.exif_blocks import ascii_text, block, windows_text
from rig.xmp_packets import packet_of, xmp_list
from support.format_photos import IMAGE, MAX_BYTES, embed, encode_photo, no_undo_record, sidecar_plan

from tagger.database import Target
from tagger.metadata import (
    NamedLandmark,
    PositionEstimate,
    RefusalKind,
    TagFields,
    WriteFailed,
    WriteRefused,
    make_tag_fields,
)
from tagger.metadata.formats.jpeg import Splice, inverse_of
from tagger.metadata.photo_files import Fields, photo_fields, xmp_fields
from tagger.metadata.photo_writer import PhotoWriteRequest, plan_photo
from tagger.metadata.plans import FilePlan, FindUndoRecord, UndoRecord, check_image, digest_file, plan_embed
from tagger.metadata.xmp import properties
from tagger.photos.formats import digest_photo

TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower", "France", None, "Paris", 48.8584, 2.2945, "point")
ARCH = replace(TOWER, slug="arch", name="Arc de Triomphe", latitude=48.8738)
ALL = make_tag_fields((TOWER,), gps=True, description=True)
OTHERS = make_tag_fields((ARCH,))
NONE = TagFields()
GPS = {1: (2, 2, b"N\0"), 2: (5, 3, struct.pack("<6I", 1, 1, 2, 1, 3, 1)), 3: (2, 2, b"E\0")}
POSITION_OF_OWNER = (
    "<exif:GPSLatitude>44,8.5N</exif:GPSLatitude><exif:GPSLongitude>4,48.5E</exif:GPSLongitude>"
)
GPS |= {4: (5, 3, struct.pack("<6I", 4, 1, 5, 1, 6, 1))}


def undo_records_of(*plans: FilePlan) -> FindUndoRecord:
    records = {plan.undo_record.written_digest: plan.undo_record for plan in plans if plan.undo_record}
    return records.get


def jpeg(*, exif: bytes = b"", packet: str = "", iptc: bytes = b"") -> bytes:
    options = {"exif": b"Exif\0\0" + exif} if exif else {}
    data = encode_photo("JPEG", IMAGE, **options, **({"xmp": packet_of(packet)} if packet else {}))
    return data[:2] + photoshop(resource(0x0404, iptc)) + data[2:] if iptc else data


def photo_in(folder: Path, data: bytes) -> Path:
    path = folder / "photo.jpg"
    path.write_bytes(data)
    return path


def fields_after_embedding(folder: Path, data: bytes, tag_fields: TagFields = ALL) -> Fields:
    return photo_fields(embed(photo_in(folder, data), tag_fields).data or b"")


def fields_of_sidecar(folder: Path, photo: bytes, tag_fields: TagFields = ALL) -> Fields:
    plan = sidecar_plan(folder / "photo.jpg.xmp", tag_fields, no_undo_record, photo_data=photo)
    return xmp_fields(plan.data)


both = pytest.mark.parametrize(
    "read", [fields_after_embedding, fields_of_sidecar], ids=["embedded", "sidecar"]
)


# --- Photos.


def test_other_tags_are_added_to_the_original_and_undo_keeps_changes_by_others(tmp_path):
    path = photo_in(tmp_path, jpeg())
    written = embed(path, ALL)
    at_once = embed(path, OTHERS).data
    path.write_bytes(written.data or b"")
    assert embed(path, OTHERS, undo_records_of(written)).data == at_once
    path = photo_in(tmp_path, jpeg(packet=xmp_list("dc:subject", "mine")))
    written = embed(path, ALL)
    path.write_bytes((written.data or b"").replace(b">mine<", b">more<", 1))
    assert path.read_bytes() != written.data
    back = embed(path, NONE, undo_records_of(written))
    assert photo_fields(back.data or b"") == {"XMP:dc:subject": ["more"]}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: replace(record, inverse=b"\x01 damaged"),
        lambda record: replace(record, base_digest=digest_file(b"another")),
        lambda record: replace(record, inverse=None),
        lambda _record: None,
    ],
    ids=["damaged", "of another base", "without splices", "lost"],
)
def test_unusable_undo_record_falls_back_to_the_files_xmp(tmp_path, spoil):
    path = photo_in(tmp_path, jpeg(packet=xmp_list("dc:subject", "mine")))
    original = photo_fields(path.read_bytes())
    written = embed(path, ALL)
    path.write_bytes(written.data or b"")
    back = embed(path, NONE, lambda _written: spoil(written.undo_record))
    assert photo_fields(back.data or b"") == original


def test_changed_missing_and_too_large_photos_are_refused_and_maker_notes_stay(tmp_path):
    data, other = jpeg(), digest_photo(b"x")
    check_image(data, None)
    check_image(data, digest_photo(data))
    path = photo_in(tmp_path, data)
    with pytest.raises(WriteRefused, match="Tag the photo again") as refused:
        plan_embed(path, ALL, no_undo_record, image_digest=other, max_bytes=MAX_BYTES)
    assert refused.value.kind is RefusalKind.CHANGED
    with pytest.raises(WriteFailed) as failed:
        embed(tmp_path / "gone.jpg", ALL)
    assert failed.value.kind == "gone"
    with pytest.raises(WriteRefused) as refused:
        plan_embed(photo_in(tmp_path, jpeg()), ALL, no_undo_record, image_digest=None, max_bytes=10)
    assert refused.value.kind is RefusalKind.TOO_LARGE
    assert "TAGGER_MAX_BYTES" in refused.value.text
    note = block({0x10F: ascii_text("Maker")}, exif={0x927C: (7, 8, b"a maker!")})
    plan = embed(photo_in(tmp_path, jpeg(exif=note)), ALL)
    assert ["maker note" in text for text in plan.notes] == [True]
    assert note in (plan.data or b"")
    assert "XMP:exif:GPSLatitude" in photo_fields(plan.data or b"")


# --- Empty fields.


@pytest.mark.parametrize(
    "photo",
    [
        jpeg(exif=block({}, gps=GPS)),
        jpeg(packet="<exif:GPSLatitude>1,2N</exif:GPSLatitude><exif:GPSLongitude>4,5E</exif:GPSLongitude>"),
    ],
    ids=["EXIF", "XMP"],
)
@both
def test_existing_position_in_any_block_prevents_ours(tmp_path, read, photo):
    before, after = photo_fields(photo), read(tmp_path, photo)
    assert {name: value for name, value in after.items() if "GPSL" in name} == {
        name: value for name, value in before.items() if "GPSL" in name and name in after
    }


@pytest.mark.parametrize(
    "photo",
    [jpeg(exif=block({}, gps=GPS)), jpeg(packet="<exif:GPSMapDatum>TOKYO</exif:GPSMapDatum>")],
    ids=["EXIF", "datum"],
)
def test_nothing_is_written_if_the_position_was_all_there_is(tmp_path, photo):
    estimate = TagFields(position=PositionEstimate(48.8, 2.2, 700.0, "neighbour"))
    path = photo_in(tmp_path, photo)
    assert not embed(path, estimate).changes
    sidecar = sidecar_plan(path.with_name("new.xmp"), estimate, no_undo_record, photo_data=photo)
    assert (sidecar.changes, sidecar.position) == (False, None)


@pytest.mark.parametrize(
    "photo",
    [
        jpeg(exif=block({0x10E: ascii_text("theirs")})),
        jpeg(iptc=iptc_dataset(2, 120, "theirs")),
        jpeg(
            packet='<dc:description><rdf:Alt><rdf:li xml:lang="x-default">theirs</rdf:li></rdf:Alt></dc:description>'
        ),
    ],
    ids=["EXIF", "IPTC", "XMP"],
)
@both
def test_existing_description_in_any_block_prevents_ours(tmp_path, read, photo):
    after = read(tmp_path, photo)
    assert after.get("XMP:dc:description") in (None, "theirs")
    assert after.get("EXIF:ImageDescription") in (None, "theirs")


@both
def test_position_and_description_are_written_into_empty_fields(tmp_path, read):
    blank = jpeg(exif=block({0x10E: ascii_text("    ")}), iptc=iptc_dataset(2, 25, "mine"))
    after = read(tmp_path, blank)
    assert after["XMP:exif:GPSLatitude"] == "48,51.5040N"
    assert after["XMP:dc:description"] == "Eiffel Tower, Paris, France"
    if read is fields_after_embedding:
        assert after["EXIF:ImageDescription"] == "Eiffel Tower, Paris, France"
        assert after["EXIF:GPSLatitude"] == "48.8584000"


# --- The owner's keywords.


@both
def test_keywords_of_other_blocks_are_repeated_in_xmp_that_has_none(tmp_path, read):
    photo = jpeg(
        exif=block({0x9C9E: windows_text("Oma;Ferien\0")}),
        iptc=iptc_dataset(2, 25, "Paris") + iptc_dataset(2, 25, "Oma"),
    )
    after = read(tmp_path, photo)
    assert after["XMP:dc:subject"] == ["Paris", "Oma", "Ferien", "Eiffel Tower"]
    assert after["XMP:digiKam:TagsList"] == ["Paris", "Oma", "Ferien", "Places/France/Paris/Eiffel Tower"]
    after = read(tmp_path, jpeg(packet=xmp_list("dc:subject", "mine"), iptc=iptc_dataset(2, 25, "Paris")))
    assert after["XMP:dc:subject"] == ["mine", "Eiffel Tower"]


def test_keywords_of_windows_stay_and_those_that_an_earlier_version_joined_are_undone(tmp_path):
    path = photo_in(tmp_path, jpeg(exif=block({0x9C9E: windows_text("Anna; Ben;\0")})))
    original = path.read_bytes()
    written = embed(path, ALL)
    fields = photo_fields(written.data or b"")
    assert fields["XMP:dc:subject"] == ["Anna", "Ben", "Eiffel Tower"]
    assert fields["EXIF:XPKeywords"] == "Anna; Ben;Eiffel Tower;"
    path.write_bytes(written.data or b"")
    assert embed(path, NONE).data != written.data
    assert photo_fields(embed(path, NONE).data or b"")["EXIF:XPKeywords"] == "Anna; Ben;"
    assert embed(path, NONE, undo_records_of(written)).data == original
    path = photo_in(tmp_path, jpeg(exif=block({0x9C9E: windows_text("Anna;\0")})))
    original = path.read_bytes()
    now, before = windows_text("Anna;Arc de Triomphe;")[2], windows_text("Anna;;Arc de Triomphe")[2]
    data = embed(path, OTHERS).data or b""
    written = data.replace(now, before)
    assert written != data
    path.write_bytes(written)
    inverse = inverse_of(original, [Splice(0, len(original), written)])
    record = UndoRecord(digest_file(written), digest_file(original), inverse)
    assert embed(path, NONE, {record.written_digest: record}.get).data == original


# --- Sidecars.


def test_a_new_sidecar_copies_its_photo_gets_other_tags_and_is_deleted_but_for_changes_by_others(tmp_path):
    photo = jpeg(packet=xmp_list("dc:subject", "mine") + "<dc:source>a scan</dc:source>")
    path = tmp_path / "photo.jpg.xmp"
    written = sidecar_plan(path, ALL, no_undo_record, photo_data=photo)
    at_once = sidecar_plan(path, OTHERS, no_undo_record, photo_data=photo)
    data, records = written.data or b"", undo_records_of(written)
    assert written.undo_record == UndoRecord(digest_file(data), None, None)
    read = xmp_fields(data)
    assert (read["XMP:dc:subject"], read["XMP:dc:source"]) == (["mine", "Eiffel Tower"], "a scan")
    path.write_bytes(data)
    assert not sidecar_plan(path, ALL, records, photo_data=photo).changes
    assert sidecar_plan(path, OTHERS, records, photo_data=photo).data == at_once.data
    assert sidecar_plan(path, NONE, records).data is None
    path.write_bytes(data.replace(b"<rdf:li>mine</rdf:li>", b"<rdf:li>new</rdf:li>"))
    assert path.read_bytes() != data
    assert xmp_fields(sidecar_plan(path, NONE, records).data)["XMP:dc:subject"] == ["new"]
    path.unlink()
    assert sidecar_plan(path, NONE, no_undo_record).data is None
    path.write_bytes(packet_of(xmp_list("dc:subject", "theirs")))
    assert not sidecar_plan(path, NONE, no_undo_record).changes


def test_unreadable_sidecar_is_refused_and_unreadable_photo_is_not(tmp_path):
    path = tmp_path / "photo.jpg.xmp"
    assert xmp_fields(sidecar_plan(path, ALL, no_undo_record, photo_data=jpeg()[:30]).data)["XMP:dc:subject"]
    path.write_bytes(b"<x:xmpmeta")
    with pytest.raises(WriteRefused) as refused:
        sidecar_plan(path, ALL, no_undo_record, photo_data=jpeg())
    assert refused.value.kind is RefusalKind.XMP


def test_sidecar_of_a_written_photo_copies_the_original(tmp_path):
    path = photo_in(tmp_path, jpeg(packet=xmp_list("dc:subject", "mine")))
    written = embed(path, ALL).data or b""
    plan = sidecar_plan(tmp_path / "photo.jpg.xmp", OTHERS, no_undo_record, photo_data=written)
    assert xmp_fields(plan.data)["XMP:dc:subject"] == ["mine", "Arc de Triomphe"]


def forged_record(forged: bytes, written: bytes) -> FindUndoRecord:
    inverse = inverse_of(forged, [Splice(0, len(forged), written)])
    record = UndoRecord(digest_file(written), digest_file(forged), inverse)
    return {record.written_digest: record}.get


@pytest.mark.parametrize("tag_fields", [NONE, OTHERS], ids=["undo", "another write"])
@pytest.mark.parametrize(
    "forged",
    [
        encode_photo("JPEG", Image.new("RGB", (8, 8), "red")),
        b"no photo at all",
        b"",
        jpeg(),  # without the owner's keyword
    ],
    ids=["another image", "other bytes", "nothing", "less metadata"],
)
def test_a_forged_undo_record_changes_nothing(tmp_path, forged, tag_fields):
    path = photo_in(tmp_path, jpeg(packet=xmp_list("dc:subject", "mine")))
    written = embed(path, ALL).data or b""
    path.write_bytes(written)
    with pytest.raises(WriteRefused):
        embed(path, tag_fields, forged_record(forged, written))


@pytest.mark.parametrize("tag_fields", [NONE, OTHERS], ids=["undo", "another write"])
@pytest.mark.parametrize(
    "forged",
    [b"", b"no XMP at all", packet_of(""), packet_of(xmp_list("dc:subject", "another"))],
    ids=["nothing", "other bytes", "less", "other"],
)
def test_a_forged_undo_record_changes_no_sidecar(tmp_path, forged, tag_fields):
    path = tmp_path / "photo.xmp"
    path.write_bytes(packet_of(xmp_list("dc:subject", "theirs")))
    written = sidecar_plan(path, ALL, no_undo_record, photo_data=jpeg()).data or b""
    path.write_bytes(written)
    with pytest.raises(WriteRefused):
        sidecar_plan(path, tag_fields, forged_record(forged, written), photo_data=jpeg())
    deletes = UndoRecord(digest_file(written), None, None)
    back = sidecar_plan(path, NONE, {deletes.written_digest: deletes}.get)
    assert xmp_fields(back.data) == {"XMP:dc:subject": ["theirs"]}


def test_unreadable_iptc_stays_and_xmp_is_written(tmp_path):
    one = jpeg(iptc=iptc_dataset(2, 25, "holiday"))
    behind_iptc = 4 + int.from_bytes(one[4:6], "big")
    data = one[:behind_iptc] + photoshop(resource(0x040C, b"")) + one[behind_iptc:]
    plan = embed(photo_in(tmp_path, data), ALL)
    read = photo_fields(plan.data or b"")
    assert read["IPTC:Keywords"] == ["holiday"]
    assert read["XMP:dc:subject"] == ["holiday", "Eiffel Tower"]
    assert any(note.startswith("IPTC is left unchanged") for note in plan.notes)


# --- Keywords in other forms than a list.


def test_an_empty_keyword_counts_as_none(tmp_path):
    fields = fields_after_embedding(
        tmp_path, jpeg(packet=xmp_list("dc:subject", ""), iptc=iptc_dataset(2, 25, "holiday"))
    )
    assert fields["XMP:dc:subject"] == ["", "holiday", "Eiffel Tower"]


OTHER_SUBJECTS = {
    "alt": "<dc:subject><rdf:Alt><rdf:li>beach</rdf:li><rdf:li>dog</rdf:li></rdf:Alt></dc:subject>",
    "text and attribute": "<dc:subject>beach</dc:subject></rdf:Description><rdf:Description dc:subject='dog'>",
    "two lists": xmp_list("dc:subject", "beach") + xmp_list("dc:subject", "dog"),
    "two texts": "<dc:subject>beach</dc:subject><dc:subject>dog</dc:subject>",
}


@pytest.mark.parametrize("inner", OTHER_SUBJECTS.values(), ids=OTHER_SUBJECTS)
def test_keywords_in_another_form_become_a_list_until_an_undo(tmp_path, inner):
    path = photo_in(tmp_path, jpeg(packet=inner))
    original = path.read_bytes()
    written = embed(path, OTHERS)
    for fields in (photo_fields(written.data or b""), fields_of_sidecar(tmp_path, original, OTHERS)):
        assert fields["XMP:dc:subject"] == ["beach", "dog", "Arc de Triomphe"]
        assert fields["XMP:digiKam:TagsList"][:2] == ["beach", "dog"]
    path.write_bytes(written.data or b"")
    assert embed(path, NONE, undo_records_of(written)).data == original
    assert photo_fields(embed(path, NONE).data or b"")["XMP:dc:subject"] == ["beach", "dog"]


QUALIFIED_SUBJECTS = {
    "list": xmp_list("dc:subject", "beach").replace("<dc:subject>", "<dc:subject dc:source='me'>"),
    "language": "<dc:subject xml:lang='en'>beach</dc:subject>",
    "structure": "<dc:subject rdf:parseType='Resource'><rdf:value>beach</rdf:value></dc:subject>",
}


@pytest.mark.parametrize("inner", QUALIFIED_SUBJECTS.values(), ids=QUALIFIED_SUBJECTS)
def test_keywords_that_cannot_be_extended_are_repeated_in_a_sidecar(tmp_path, inner):
    path = photo_in(tmp_path, jpeg(packet=inner + "<dc:source>a scan</dc:source>"))
    request = PhotoWriteRequest(path, tmp_path, MAX_BYTES, target=Target.EMBED, tag_fields=OTHERS)
    plan = plan_photo(request, no_undo_record)
    (sidecar,) = plan.files
    assert plan.refusal_kind is RefusalKind.XMP
    fields = xmp_fields(sidecar.data)
    assert (fields["XMP:dc:subject"], fields["XMP:dc:source"]) == (["beach", "Arc de Triomphe"], "a scan")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["\ufeff", ""], ids=["mark", "no mark"])
def test_xmp_in_utf_16_stays_and_is_repeated_in_a_sidecar(tmp_path, encoding, mark):
    packet = (mark + packet_of(xmp_list("dc:subject", "beach") + POSITION_OF_OWNER).decode()).encode(encoding)
    path = photo_in(tmp_path, encode_photo("JPEG", IMAGE, xmp=packet))
    assert photo_fields(path.read_bytes())["XMP:dc:subject"] == ["beach"]
    request = PhotoWriteRequest(path, tmp_path, MAX_BYTES, target=Target.EMBED, tag_fields=ALL)
    plan = plan_photo(request, no_undo_record)
    (sidecar,) = plan.files
    assert "UTF-16" in (plan.refusal.text if plan.refusal else "")
    fields = xmp_fields(sidecar.data)
    assert fields["XMP:dc:subject"] == ["beach", "Eiffel Tower"]
    assert fields["XMP:exif:GPSLatitude"] == "44,8.5N"


def test_a_sidecar_in_utf_16_is_not_changed_nor_are_our_values_in_it_forgotten(tmp_path):
    path = tmp_path / "photo.jpg.xmp"
    written = sidecar_plan(path, ALL, no_undo_record, photo_data=jpeg()).data or b""
    for data, tag_fields in ((packet_of(xmp_list("dc:subject", "beach")), ALL), (written, NONE)):
        path.write_bytes(data.decode().encode("utf-16"))
        with pytest.raises(WriteRefused, match="UTF-16") as refused:
            sidecar_plan(path, tag_fields, no_undo_record, photo_data=jpeg())
        assert refused.value.kind is RefusalKind.XMP


def test_a_new_sidecar_repeats_the_one_that_it_hides(tmp_path):
    hidden = tmp_path / "photo.xmp"
    values = 'xmp:Rating="5" exif:DateTimeOriginal="2015-08-22T10:08:19" photoshop:SidecarForExtension="CR3"'
    hidden.write_bytes(packet_of(xmp_list("dc:subject", "family") + POSITION_OF_OWNER, values))
    path = tmp_path / "photo.jpg.xmp"
    photo = photo_in(tmp_path, jpeg())
    (tmp_path / "photo.CR3").write_bytes(b"the owner of the sidecar")
    request = PhotoWriteRequest(photo, tmp_path, MAX_BYTES, target=Target.SIDECAR, tag_fields=ALL)
    (written,) = plan_photo(request, no_undo_record).files
    assert (written.path, written.data is not None) == (path, True)
    values = properties(written.data)
    assert (values["xmp:Rating"], values["exif:DateTimeOriginal"]) == ("5", "2015-08-22T10:08:19")
    assert (values["exif:GPSLatitude"], values["exif:GPSLongitude"]) == ("44,8.5N", "4,48.5E")
    assert "family" in values["dc:subject"]
    assert len(values["dc:subject"]) > 1
    assert "photoshop:SidecarForExtension" not in values
    path.write_bytes(written.data)
    assert sidecar_plan(path, NONE, undo_records_of(written)).data is None
