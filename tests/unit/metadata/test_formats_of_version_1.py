"""PNG, WebP and TIFF files are read; nothing is embedded into them any more, and what version 1 embedded is undone byte for byte."""

import json
import zlib
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rig.containers import png_chunk
from support.format_photos import IMAGE, SMALL, encode_photo, exif_block

from tagger.database.enums import Outcome, Target
from tagger.metadata.errors import RefusalKind, WriteRefused
from tagger.metadata.formats import may_hold_tags, read_blocks
from tagger.metadata.formats.jpeg import Splice, inverse_of
from tagger.metadata.photo_files import photo_fields, xmp_fields
from tagger.metadata.photo_writer import WriteRequest, plan_photo, prepare_photo
from tagger.metadata.plans import UndoRecord, digest_file
from tagger.metadata.tag_fields import NamedLandmark, TagFields, make_tag_fields

EMBEDDED: Mapping[str, Mapping[str, str]] = json.loads(
    (Path(__file__).parents[2] / "released" / "embedded-1.1.json").read_text()
)
"""What version 1.1 embedded into files of each format: the whole file, its undo record, and the digest of the original."""
TAGS = make_tag_fields((NamedLandmark("big-ben", "Big Ben", "United Kingdom"),))
NAME = b"XML:com.adobe.xmp\0"


def written_in(folder: Path, name: str) -> tuple[Path, dict[str, UndoRecord]]:
    """A file as version 1.1 left it, with its undo record."""
    path = folder / name
    path.write_bytes(zlib.decompress(b64decode(EMBEDDED[name]["written"])))
    digest = digest_file(path.read_bytes())
    return path, {digest: UndoRecord(digest, EMBEDDED[name]["original"], b64decode(EMBEDDED[name]["undo"]))}


def write(path: Path, tags: TagFields, target: Target | None, records: Mapping[str, UndoRecord]) -> Outcome:
    request = WriteRequest(path, path.parent, 2**26, frozenset({Target.EMBED}), (), target, tags)
    photo = prepare_photo(plan_photo(request, records.get))
    photo.replace_files()
    return photo.outcome


@pytest.mark.parametrize("name", EMBEDDED)
def test_what_version_1_embedded_is_undone_byte_for_byte(tmp_path: Path, name: str) -> None:
    path, records = written_in(tmp_path, name)
    assert "Eiffel Tower" in photo_fields(path.read_bytes())["XMP:dc:subject"]
    assert write(path, TagFields(), None, records) is Outcome.WRITTEN
    assert digest_file(path.read_bytes()) == EMBEDDED[name]["original"]
    assert [file.name for file in tmp_path.iterdir()] == [name]
    expected = ["holiday"] if name.startswith("keyword") else None
    assert photo_fields(path.read_bytes()).get("XMP:dc:subject") == expected


@pytest.mark.parametrize("name", EMBEDDED)
def test_further_tags_go_into_a_sidecar(tmp_path: Path, name: str) -> None:
    path, records = written_in(tmp_path, name)
    before = path.read_bytes()
    assert write(path, TAGS, Target.EMBED, records) is Outcome.REFUSED
    assert path.read_bytes() == before
    keywords = xmp_fields(path.with_name(f"{name}.xmp").read_bytes())["XMP:dc:subject"]
    assert keywords == [*(["holiday"] if name.startswith("keyword") else []), "Big Ben"]


@pytest.mark.parametrize("name", ["keyword.png", "keyword.webp", "keyword.tif"])
def test_a_file_that_others_changed_since_is_left_alone(tmp_path: Path, name: str) -> None:
    path, records = written_in(tmp_path, name)
    path.write_bytes(path.read_bytes().replace(b"holiday", b"holidax"))
    before = path.read_bytes()
    for known in (records, {}):
        with pytest.raises(WriteRefused, match="another program has changed it since") as refused:
            write_own(path, known)
        assert refused.value.kind is RefusalKind.FORMAT
    assert path.read_bytes() == before


def write_own(path: Path, records: Mapping[str, UndoRecord]) -> None:
    """Undo, and raise the refusal of the photo's own file."""
    request = WriteRequest(path, path.parent, 2**26, frozenset({Target.EMBED}))
    plan = plan_photo(request, records.get)
    assert plan.refusal is not None
    raise plan.refusal


@pytest.mark.parametrize("name", ["plain.png", "plain.webp", "plain.tif", "big.tif"])
def test_a_forged_record_does_not_change_the_image(tmp_path: Path, name: str) -> None:
    path, _ = written_in(tmp_path, name)
    written = path.read_bytes()
    Image.new("RGB", (12, 8), "red").save(other := tmp_path / f"other-{name}")
    forged = other.read_bytes()
    other.unlink()
    inverse = inverse_of(forged, (Splice(0, len(forged), written),))
    record = UndoRecord(digest_file(written), digest_file(forged), inverse)
    with pytest.raises(WriteRefused, match="would have changed other data"):
        write_own(path, {digest_file(written): record})
    assert path.read_bytes() == written


def test_xmp_and_exif_are_read() -> None:
    info = PngInfo()
    info.add_itxt(NAME[:-1].decode(), SMALL.decode(), zip=True)
    assert read_blocks(encode_photo("PNG", pnginfo=info)).xmp == SMALL
    prefixed = png_chunk(b"eXIf", b"Exif\0\0" + exif_block())
    png = encode_photo("PNG")
    assert read_blocks(png[:33] + prefixed + png[33:]).exif == exif_block()
    webp = read_blocks(encode_photo("WEBP", xmp=SMALL, exif=b"Exif\0\0" + exif_block()))
    assert (webp.xmp, webp.exif) == (SMALL, exif_block())
    assert read_blocks(encode_photo("TIFF", IMAGE)).xmp is None


@pytest.mark.parametrize(
    "packed", [b"not packed", zlib.compress(bytes(17 * 2**20)), zlib.compress(SMALL)[:-3]]
)
def test_a_packed_text_that_cannot_be_read_is_refused(packed: bytes) -> None:
    png = encode_photo("PNG")
    data = png[:33] + png_chunk(b"iTXt", NAME + b"\1\0\0\0" + packed) + png[33:]
    assert may_hold_tags(data)
    with pytest.raises(WriteRefused, match="the XMP chunk"):
        read_blocks(data)
