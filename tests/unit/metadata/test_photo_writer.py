"""Photos of every format, real and generated: written as by jobs, read back, changed by others, and restored."""

import base64
import json
import re
import shutil
import struct
import subprocess
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import example, given, strategies as st
from PIL import ImageCms
from rig.containers import iptc_dataset, jpeg_segment, photoshop, resource
from rig.exif_blocks import block, blocks, camera_block
from rig.xmp_packets import packet_of, xmp_list
from support.examples import examples
from support.format_photos import IMAGE, encode_photo, frames

from tagger.database import Outcome, Target
from tagger.metadata import NamedLandmark, TagFields, WriteRefused, make_tag_fields, xmp
from tagger.metadata.photo_files import photo_fields, xmp_packet
from tagger.metadata.photo_writer import PhotoWriteRequest, plan_photo, prepare_photo
from tagger.metadata.plans import UndoRecord
from tagger.photos.formats import digest_photo

# All values by group and name, such as `IFD0:Make`; binary values in full.
Fields: TypeAlias = Mapping[str, list[Any]]

_OPTIONS = ("-G1:4", "-a", "-u", "-b", "-n", "-struct", "-json", "-r")
# Fields about how and where blocks are stored.
_DERIVED = re.compile(
    r"SourceFile|(System|ExifTool|Composite):.*"  # of the file system, or computed from other fields
    r"|File:(ExifByteOrder|CurrentIPTCDigest|FileType|FileTypeExtension|MIMEType)"
    r"|IFD1:ThumbnailOffset|MPImage\d+:MPImageStart|MPImage1:MPImageLength"
)
# IPTC under another signature than Photoshop's, which exiftool does not parse.
_FOREIGN_IPTC = "Photoshop:Photoshop_Unknown_0x0404"
_COPY = re.compile(r":Copy\d+(?=:)")
# Fields that our values are added to.
_EXTENDABLE = frozenset(
    (
        "XMP-dc:Subject", "XMP-lr:HierarchicalSubject", "XMP-digiKam:TagsList",
        "XMP-iptcExt:LocationShown", "IPTC:Keywords", "IFD0:XPKeywords",
    )
)  # fmt: skip
_FILLED_IF_EMPTY = "IFD0:ImageDescription"
_DIGEST, _CURRENT_DIGEST = "Photoshop:IPTCDigest", "File:CurrentIPTCDigest"


def read_fields(folder: Path) -> dict[str, Fields]:
    process = subprocess.run(
        ["exiftool", *_OPTIONS, str(folder)], capture_output=True, check=False, timeout=600
    )
    documents = json.loads(process.stdout.decode(errors="replace") or "[]", strict=False)
    return {Path(fields["SourceFile"]).name: _without_copy_numbers(fields) for fields in documents}


def fixed_fields(before: Fields) -> list[str]:
    return [name for name in before if not _DERIVED.fullmatch(name)]


def _without_copy_numbers(fields: Mapping[str, Any]) -> Fields:
    """Merge the copies of a field: their numbers change when a copy is inserted before them."""
    values: dict[str, list[Any]] = {}
    for name, value in fields.items():
        values.setdefault(_COPY.sub("", name), []).append(value)
    return values


def _is_preserved(name: str, before: Fields, after: Fields) -> bool:
    old_values, new_values = before[name], after.get(name, [])
    if name == _DIGEST and old_values == before.get(_CURRENT_DIGEST):
        return new_values == after.get(
            _CURRENT_DIGEST
        )  # a correct digest must stay correct, a wrong one must not change
    if old_values == new_values:
        return True
    if name == _FOREIGN_IPTC:
        return len(old_values) == len(new_values) and all(map(_only_inserted, old_values, new_values))
    if name == _FILLED_IF_EMPTY:
        return not any(str(value).strip() for value in old_values)
    return name in _EXTENDABLE and not Counter(_parts(old_values)) - Counter(_parts(new_values))


def _only_inserted(old_value: Any, new_value: Any) -> bool:
    """Whether the new value is the old one with bytes inserted at one offset."""
    old_bytes, new_bytes = _raw(str(old_value)), _raw(str(new_value))
    growth = len(new_bytes) - len(old_bytes)
    common = next(
        (at for at, (a, b) in enumerate(zip(old_bytes, new_bytes, strict=False)) if a != b), len(old_bytes)
    )
    return growth >= 0 and new_bytes[common + growth :] == old_bytes[common:]


def _raw(text: str) -> bytes:
    return base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode()


def _parts(values: list[Any]) -> Iterator[str]:
    """Each value that is not empty, from lists and from texts with several values."""
    for value in values:
        for part in value if isinstance(value, list) else str(value).split(";"):
            if part:
                yield json.dumps(part, sort_keys=True)


def _warnings(fields: Fields) -> Iterator[str]:
    for name, values in fields.items():
        if name.startswith("ExifTool:") and name.endswith(("Warning", "Error")):
            yield from map(str, values)


_PLACE = ("France", "Île-de-France", "Paris")
TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower", *_PLACE, 48.8584, 2.2945, "point", 0.93, "m")
ARCH = NamedLandmark("arch", "Arc de triomphe de l'Étoile", *_PLACE, 48.8738, 2.2950, "point", model="m")
BOTH = make_tag_fields((TOWER, ARCH), gps=True, description=True)
OTHERS = make_tag_fields((ARCH,))
MAX_BYTES = 2**26
NO_EXIFTOOL = "exiftool, a second opinion on metadata, is not installed (Debian: libimage-exiftool-perl)"
VIDEO = (
    struct.pack(">I", 24) + b"ftypmp42" + bytes(12) + struct.pack(">I", 4008) + b"mdat" + b"\xff\xd8" * 2000
)
OFFSET = str(len(VIDEO))  # Counted from the end of the file, as all forms do
PHOTO = encode_photo("JPEG", IMAGE)
_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_PACKET = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"
 xmlns:Container="http://ns.google.com/photos/1.0/container/" xmlns:Item="http://ns.google.com/photos/1.0/container/item/"
 {}</rdf:Description></rdf:RDF></x:xmpmeta>"""
_VALUES = re.compile(rb'(?:GCamera|Item):\w+="[^"]*"')
FORMS = {
    "micro video": f'GCamera:MicroVideo="1" GCamera:MicroVideoVersion="1" GCamera:MicroVideoOffset="{OFFSET}">',
    "motion photo": f"""GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"><Container:Directory><rdf:Seq>
<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="image/jpeg" Item:Semantic="Primary" Item:Length="0" Item:Padding="0"/></rdf:li>
<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="video/mp4" Item:Semantic="MotionPhoto" Item:Length="{OFFSET}" Item:Padding="0"/>
</rdf:li></rdf:Seq></Container:Directory>""",
}


@dataclass
class WrittenPhoto:
    """A photo in a folder of its own, with the undo records of its writes."""

    path: Path
    original: bytes
    undo_records: dict[str, UndoRecord] = field(default_factory=dict)

    def write(self, tag_fields: TagFields, target: Target = Target.EMBED) -> Outcome:
        return self._apply(tag_fields, target, frozenset(Target) if self.undo_records else frozenset())

    def undo(self) -> Outcome:
        return self._apply(TagFields(), None, frozenset(Target))

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()

    def problems_after_undo(self) -> Iterator[str]:
        if self.data != self.original:
            yield "is not the same"
        if other_files := [file.name for file in self.path.parent.iterdir() if file != self.path]:
            yield f"is not alone: {other_files}"

    def _apply(self, tag_fields: TagFields, target: Target | None, written: frozenset[Target]) -> Outcome:
        photo = PhotoWriteRequest(self.path, self.path.parent, MAX_BYTES, written, (), target, tag_fields)
        ready = prepare_photo(plan_photo(photo, self.undo_records.get))
        ready.replace_files()
        records = [file.undo_record for file in ready.replaced if file.undo_record]
        self.undo_records |= {record.written_digest: record for record in records}
        return ready.outcome


def new_photo(folder: Path, data: bytes, name: str = "photo") -> WrittenPhoto:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return WrittenPhoto(path, data)


def problems_of(photo: WrittenPhoto) -> Iterator[str]:
    outcome = photo.write(BOTH)
    new = photo.data
    if outcome is Outcome.REFUSED:
        if new != photo.original:
            yield "was refused and changed"
    else:
        yield from _embedding_problems(photo.original, new)
    if photo.write(BOTH) is Outcome.WRITTEN or photo.data != new:
        yield "changes when it is written again"
    photo.write(OTHERS)
    photo.undo()
    yield from photo.problems_after_undo()


def _embedding_problems(original: bytes, new: bytes) -> Iterator[str]:
    before, after = photo_fields(original), photo_fields(new)
    if [landmark.slug for landmark in xmp.written_landmarks(xmp_packet(new))] != ["eiffel-tower", "arch"]:
        yield "does not say which landmarks were written"
    if not {keyword.casefold() for keyword in BOTH.keywords} <= {
        keyword.casefold() for keyword in after["XMP:dc:subject"]
    }:
        yield "has not the keywords"
    if digest_photo(new) != digest_photo(original) or _small_frames(new) != _small_frames(original):
        yield "is another picture"
    yield from (f"has another {name}" for name in before if not _is_there(before[name], after.get(name)))


def _small_frames(data: bytes) -> list[bytes] | None:
    """The pixels of a small photo that Pillow can decode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return frames(data) if len(data) < 100_000 else None
        except Exception:  # noqa: BLE001 - Pillow raises anything
            return None


def _is_there(was: str | list[str], now: str | list[str] | None) -> bool:
    if isinstance(was, list):
        return set(was) - {""} <= set(now or [])
    return was == now or str(now).startswith(f"{was};") or not was.split("=")[-1].strip()


# --- Real photos.


@cache
def real_photos(test_data: Path) -> dict[str, bytes]:
    paths = sorted(path for name in ("exif", "originals") for path in (test_data / name).rglob("*"))
    files = [path for path in paths if path.is_file()]
    return {f"{number:03}-{path.name}": path.read_bytes() for number, path in enumerate(files)}


@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_real_photos_are_written_and_undone(test_data, tmp_path, every):
    wrong = []
    for name, data in list(real_photos(test_data).items())[::every]:
        if data:
            wrong += [f"{name} {what}" for what in problems_of(new_photo(tmp_path / "one", data, name))]
            (tmp_path / "one" / name).unlink()
    assert wrong == []


@pytest.fixture(scope="module", params=[5, pytest.param(1, marks=pytest.mark.slow)], ids=["a fifth", "all"])
def every(request) -> int:
    """Each photo whose number is divisible by this is read by exiftool, which takes a tenth of a second."""
    return int(request.param)


@pytest.fixture(scope="module")
def written(every, test_data, tmp_path_factory) -> Path:
    """A folder with the writable real photos, before and after the write."""
    folder = tmp_path_factory.mktemp("written")
    for name in ("before", "after"):
        (folder / name).mkdir()
    for name, data in list(real_photos(test_data).items())[::every]:
        photo = new_photo(folder / "one", data, name)
        if data and photo.write(BOTH) is Outcome.WRITTEN:
            (folder / "before" / name).write_bytes(data)
            photo.path.rename(folder / "after" / name)
        shutil.rmtree(folder / "one")
    return folder


def test_most_real_photos_are_written(every, written):
    assert len(list((written / "after").iterdir())) > 140 / every  # JPEG files


def test_exiftool_finds_our_values_and_all_existing_ones(every, written):
    if shutil.which("exiftool") is None:
        pytest.skip(NO_EXIFTOOL)
    before, after = read_fields(written / "before"), read_fields(written / "after")
    assert before.keys() == after.keys()
    kinds = {name.partition(":")[0] for fields in before.values() for name in fixed_fields(fields)}
    assert {"MPImage2", "IFD1", "ICC_Profile", "ICC-header", "Nikon", "Canon", "Sony", "IPTC"} <= kinds
    for name, fields in before.items():
        new = after[name]
        lost = [field for field in fixed_fields(fields) if not _is_preserved(field, fields, new)]
        new_warnings = Counter(_warnings(new)) - Counter(_warnings(fields))
        assert (name, lost, new_warnings) == (name, [], Counter())
        keywords = {str(keyword) for value in new["XMP-dc:Subject"] for keyword in value}
        assert (name, set(BOTH.keywords) - keywords) == (name, set())


# --- Generated photos.

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


_WORDS = ("Oma", "eiffel tower", "Paris", "Île", "Eiffel Tower")


words = st.lists(st.sampled_from(_WORDS), max_size=3, unique=True)


trailers = st.sampled_from(
    (
        b"",
        bytes(64),
        struct.pack(">I4s4s", 12, b"ftyp", b"mp42") + b"moov" * 9,
        encode_photo("JPEG", IMAGE.rotate(180)),
        b"whatever this is",
    )
)


# A GPS directory of which, without the mark of its end, 48 degrees would be the offset of the next.
SHORT_OF_A_ZERO = block({0x0B: (2, 1, b"\0"), 0xC61A: (5, 3, bytes(24))}, exif={0x829A: (5, 1, bytes(8))})


@dataclass(frozen=True)
class PhotoContent:
    """The content of a generated photo; empty for a missing block."""

    exif: bytes
    xmp: bytes
    iptc: bytes
    icc: bytes
    trailer: bytes


@st.composite
def photo_contents(draw: st.DrawFn) -> PhotoContent:
    keywords = draw(words)
    packet = packet_of(xmp_list("dc:subject", *keywords) + xmp_list("lr:hierarchicalSubject", "People|Oma"))
    iptc = [*([b"\x1c\x01\x5a\0\3\x1b%G"] if draw(st.booleans()) else []), *map(_dataset, draw(words))]
    return PhotoContent(
        exif=draw(st.one_of(st.just(b""), blocks(), st.sampled_from("<>").map(camera_block))),
        xmp=packet + b" " * draw(st.sampled_from((0, 2000))) if draw(st.booleans()) else b"",
        iptc=b"".join(iptc) if draw(st.booleans()) else b"",
        icc=draw(st.sampled_from((b"", _SRGB))),
        trailer=draw(trailers),
    )


def _dataset(keyword: str) -> bytes:
    return iptc_dataset(2, 25, keyword)


def _jpeg(content: PhotoContent) -> bytes:
    head = jpeg_segment(0xE1, b"Exif\0\0" + content.exif) if content.exif else b""
    head += jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + content.xmp) if content.xmp else b""
    if content.iptc:
        head += photoshop(resource(0x0404, content.iptc))
    plain = encode_photo("JPEG", IMAGE, **({"icc_profile": content.icc} if content.icc else {}))
    return plain[:2] + head + plain[2:] + content.trailer


@examples(8)
@given(content=photo_contents())
def test_generated_photos_are_written_and_undone(content, tmp_path):
    photo = new_photo(tmp_path / "one", _jpeg(content))
    photo.write(BOTH)
    assert frames(photo.data) == frames(photo.original)
    assert list(problems_of(photo)) == []


@examples(8)
@given(content=photo_contents())
@example(content=PhotoContent(exif=SHORT_OF_A_ZERO, xmp=b"", iptc=b"", icc=b"", trailer=b""))
def test_undo_without_records_uses_the_files_own_xmp(content, tmp_path):
    photo = new_photo(tmp_path / "one", _jpeg(content))
    if photo.write(BOTH) is Outcome.REFUSED:
        photo.undo()
        return
    photo.undo_records.clear()
    photo.undo()
    assert digest_photo(photo.data) == digest_photo(photo.original)
    remaining = {name: value for name, value in photo_fields(photo.original).items() if value != []}
    assert photo_fields(photo.data) == remaining
    assert not xmp.has_our_fields(xmp_packet(photo.data))


@pytest.mark.parametrize("head", [b"AgHg\x04\x04\0\0", b"8BIM\x04\x04\x03abc"], ids=["signature", "name"])
def test_iptc_resource_keeps_its_signature_and_name(tmp_path, head):
    iptc = _dataset("Oma")
    content = head + len(iptc).to_bytes(4, "big") + iptc
    plain = encode_photo("JPEG")
    data = plain[:2] + photoshop(content) + plain[2:]
    photo = new_photo(tmp_path / "one", data)
    photo.write(BOTH)
    grown = iptc + _dataset("Eiffel Tower")
    assert head + len(grown).to_bytes(4, "big") + grown in photo.data
    photo.undo()
    assert photo.data == data


def test_nothing_is_left_of_prepared_files_if_one_of_them_has_changed_since(tmp_path):
    photo = new_photo(tmp_path / "one", encode_photo("JPEG"), "photo.jpg")
    sidecar = photo.path.with_name("photo.jpg.xmp")
    sidecar.write_bytes(packet_of(""))
    folder = photo.path.parent
    request = PhotoWriteRequest(photo.path, folder, MAX_BYTES, target=Target.EMBED, tag_fields=BOTH)
    plan = plan_photo(request, photo.undo_records.get)
    sidecar.write_bytes(packet_of(xmp_list("dc:subject", "theirs")))
    with pytest.raises(WriteRefused, match="by another program"):
        prepare_photo(plan)
    assert photo.data == photo.original
    assert {file.name for file in folder.iterdir()} == {"photo.jpg", "photo.jpg.xmp"}


def test_darktable_finds_no_coordinates_of_landmarks_beside_a_photo(tmp_path):
    # In `photo.xmp`, it takes every exif:GPSLatitude for the camera's position, also that of a location.
    photo = new_photo(tmp_path / "one", encode_photo("JPEG"), "photo.jpg")
    sidecars = [photo.path.with_name(name) for name in ("photo.jpg.xmp", "photo.XMP")]
    for sidecar in sidecars:
        sidecar.write_text("<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'/>")
    photo.write(make_tag_fields((TOWER,)), Target.SIDECAR)
    assert [sidecar.read_text().count("<exif:GPSLatitude>") for sidecar in sidecars] == [1, 0]
    photo.write(make_tag_fields((TOWER,), gps=True), Target.SIDECAR)
    assert [sidecar.read_text().count("<exif:GPSLatitude>") for sidecar in sidecars] == [2, 1]


@pytest.fixture(params=FORMS)
def photo(request, tmp_path) -> WrittenPhoto:
    packet = _PACKET.format(FORMS[request.param]).encode()
    data = PHOTO[:2] + jpeg_segment(0xE1, _HEADER + packet) + PHOTO[2:] + VIDEO
    return new_photo(tmp_path / "one", data, "PXL_1.MP.jpg")


def test_the_video_is_no_part_of_the_image_stays_and_is_found_where_the_photo_says(photo):
    assert digest_photo(photo.original) == digest_photo(PHOTO) == digest_photo(PHOTO + VIDEO)
    assert photo.write(BOTH) is Outcome.WRITTEN
    written = photo.data
    assert len(written) > len(photo.original)
    assert written[-int(OFFSET) :] == VIDEO
    assert written.count(VIDEO) == 1
    assert digest_photo(written) == digest_photo(photo.original)
    packet, before = xmp_packet(written) or b"", xmp_packet(photo.original) or b""
    assert xmp.has_our_fields(packet)
    assert _VALUES.findall(packet) == _VALUES.findall(before) != []
    assert photo.undo() is Outcome.WRITTEN
    assert photo.data == photo.original
