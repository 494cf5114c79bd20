"""Photos edited by others between our writes: their changes stay, and our values can be removed."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from support.format_photos import embed, no_undo_record, sidecar_plan
from support.written_folder import WrittenFolder

from tagger.metadata import NamedLandmark, TagFields, make_tag_fields
from tagger.metadata.formats import read_blocks, replace_blocks
from tagger.metadata.formats.jpeg import apply_splices
from tagger.metadata.replacement import prepare
from tagger.metadata.xmp import has_our_fields

TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower", "France", None, "Paris", 48.8584, 2.2945, "point")
ARC = NamedLandmark("arc", "Arc", "France", None, "Paris", 48.8738, 2.295, "point")
EVERYTHING = make_tag_fields([TOWER, ARC], gps=True, description=True)
KEYWORDS = ["Subject", "HierarchicalSubject", "TagsList", "XPKeywords", "Keywords"]
THEIRS = ["my own words", "Mein Turm", "Tokyo", "Europe", "zoo"]

needs_exiftool = pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="exiftool is not installed: no other program to edit photos with"
)


def exiftool(*arguments: str | Path) -> str:
    command = ["exiftool", "-q", "-q", "-m", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def draw_photo(folder: Path) -> Path:
    path = folder / "photo.jpg"
    Image.new("RGB", (32, 24), "red").save(path)
    return path


@pytest.fixture(scope="module")
def photo_with_keywords(tmp_path_factory) -> Path:
    path = draw_photo(tmp_path_factory.mktemp("owners"))
    exiftool("-overwrite_original", "-IPTC:Keywords=mine", "-XMP-dc:Subject=mine", path)
    return path


@pytest.fixture
def photo(photo_with_keywords, tmp_path) -> Path:
    return Path(shutil.copyfile(photo_with_keywords, tmp_path / "photo.jpg"))


FIRST_EDIT, *OTHER_EDITS = [
    ["-EXIF:GPSLatitude=10", "-XMP:GPSLatitude=10", "-XPKeywords=", "-GPSVersionID=2.2.0.0"],
    ["-EXIF:ImageDescription=my own words", "-XMP-dc:Description-de=Mein Turm", "-GPS:all="],
    ["-XMP:GPSLatitude=48.8584", "-GPSMapDatum=Tokyo", "-XPKeywords=Eiffel Tower", "-IPTC:all="],
    ["-XMP-dc:Subject-=Arc", "-XMP-dc:Subject+=zoo", "-IPTC:Keywords-=Arc", "-EXIF:all="],
    ["-LocationShownWorldRegion=Europe"],
]


@needs_exiftool
@pytest.mark.parametrize(
    "edit",
    [FIRST_EDIT, *(pytest.param(edit, marks=pytest.mark.slow) for edit in OTHER_EDITS)],
    ids=" ".join,
)
def test_values_changed_by_others_do_not_prevent_undo(photo, edit):
    photo.write_bytes(embed(photo, EVERYTHING).data or b"")
    exiftool("-overwrite_original", *edit, photo)
    assert embed(photo, EVERYTHING).undo_record is not None
    photo.write_bytes(embed(photo, TagFields()).data or b"")
    output = exiftool("-a", "-s", "-XMP:all", "-IPTC:all", "-EXIF:all", photo)
    assert "landmarkTagger" not in output
    keyword_lines = [line for line in output.splitlines() if line.split(maxsplit=1)[0] in KEYWORDS]
    assert not [line for line in keyword_lines if "Eiffel Tower" in line or "Arc" in line]
    assert [keyword for keyword in THEIRS if keyword in output] == [
        keyword for keyword in THEIRS if keyword in " ".join(edit)
    ]


@needs_exiftool
def test_position_rewritten_in_other_fractions_is_removed(photo):
    photo.write_bytes(embed(photo, EVERYTHING).data or b"")
    exiftool("-overwrite_original", "-tagsfromfile", "@", "-all:all", "-unsafe", photo)
    photo.write_bytes(embed(photo, TagFields()).data or b"")
    assert exiftool("-GPSLatitude", "-GPSLongitude", "-GPSHPositioningError", photo) == ""


@pytest.mark.parametrize("nothing", [b"", b"\n"])
def test_empty_sidecar_is_restored(tmp_path, nothing):
    photo = draw_photo(tmp_path)
    sidecar = photo.with_name("photo.jpg.xmp")
    sidecar.write_bytes(nothing)
    written = sidecar_plan(sidecar, EVERYTHING, no_undo_record, photo_data=photo.read_bytes())
    prepare(written.original, written.data, photo=photo).replace()
    back = sidecar_plan(sidecar, TagFields(), lambda _: written.undo_record)
    assert back.data == nothing


@pytest.fixture
def folder(database, tmp_path) -> WrittenFolder:
    return WrittenFolder(database, tmp_path)


def changed_copy(photo: Path) -> Path:
    """A copy with a longer keyword of its owner, so that its size is unknown."""
    copy = photo.with_name("copy.jpg")
    data = photo.read_bytes()
    blocks = read_blocks(data)
    edited = blocks.xmp.replace(b"<rdf:Bag>", b"<rdf:Bag><rdf:li>a word of the owner</rdf:li>", 1)
    copy.write_bytes(apply_splices(data, replace_blocks(data, replace(blocks, xmp=edited))))
    return copy


def test_changed_copy_is_undone_after_its_original(folder):
    photo = folder.draw("photo.jpg")
    folder.tag()
    folder.write()
    copy = changed_copy(photo)
    folder.tag()
    assert folder.undo(photo) == {"photo.jpg": "written"}
    assert folder.undo()["copy.jpg"] == "written"
    output = read_blocks(copy.read_bytes()).xmp
    assert output is not None
    assert not has_our_fields(output)
    assert b"a word of the owner" in output
    assert folder.undo() == {}
