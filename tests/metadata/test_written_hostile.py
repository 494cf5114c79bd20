"""People edit their photos between our writes: what they did stays, and what is ours can still be taken back."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from written import WrittenFolder

from tagger.database import Database
from tagger.metadata.additions import Additions, NamedLandmark, additions_for
from tagger.metadata.formats import read_blocks, replace_blocks
from tagger.metadata.planning import Kept, Plan, plan_embed, plan_sidecar
from tagger.metadata.replacing import prepare
from tagger.metadata.splices import spliced
from tagger.metadata.xmp import is_ours

MAX_BYTES = 1 << 24
TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower", "France", None, "Paris", 48.8584, 2.2945, "point")
ARC = NamedLandmark("arc", "Arc", "France", None, "Paris", 48.8738, 2.295, "point")
EVERYTHING = additions_for([TOWER, ARC], gps=True, description=True)
KEYWORDS = ["Subject", "HierarchicalSubject", "TagsList", "XPKeywords", "Keywords"]
THEIRS = ["my own words", "Mein Turm", "Tokyo", "Europe", "zoo"]

needs_exiftool = pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="exiftool is not installed: no other program to edit photos with"
)


def nothing_kept(_digest: str) -> Kept | None:
    return None


def planned(photo: Path, additions: Additions) -> Plan:
    return plan_embed(photo, additions, nothing_kept, picture=None, max_bytes=MAX_BYTES)


def exiftool(*words: str | Path) -> str:
    command = ["exiftool", "-q", "-q", "-m", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def plain(folder: Path) -> Path:
    path = folder / "photo.jpg"
    Image.new("RGB", (32, 24), "red").save(path)
    return path


@pytest.fixture(scope="module")
def owners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo with keywords of its owner."""
    path = plain(tmp_path_factory.mktemp("owners"))
    exiftool("-overwrite_original", "-IPTC:Keywords=mine", "-XMP-dc:Subject=mine", path)
    return path


@pytest.fixture
def photo(owners: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(owners, tmp_path / "photo.jpg"))


EDITS = [
    ["-EXIF:GPSLatitude=10"],
    ["-XMP:GPSLatitude=10"],
    ["-XMP:GPSLatitude=48.8584"],
    ["-EXIF:ImageDescription=my own words"],
    ["-XMP-dc:Description-de=Mein Turm"],
    ["-IPTC:Keywords-=Arc"],
    ["-XPKeywords=Eiffel Tower"],
    ["-XPKeywords="],
    ["-LocationShownWorldRegion=Europe"],
    ["-GPS:all="],
    ["-IPTC:all="],
    ["-EXIF:all="],
    ["-GPSVersionID=2.2.0.0"],
    ["-GPSMapDatum=Tokyo"],
    ["-XMP-dc:Subject-=Arc", "-XMP-dc:Subject+=zoo"],
]


@needs_exiftool
@pytest.mark.parametrize("edit", EDITS, ids=" ".join)
def test_what_others_changed_of_ours_keeps_nothing_else_from_being_taken_back(
    photo: Path, edit: list[str]
) -> None:
    photo.write_bytes(planned(photo, EVERYTHING).data or b"")
    exiftool("-overwrite_original", *edit, photo)
    assert planned(photo, EVERYTHING).kept is not None
    photo.write_bytes(planned(photo, Additions()).data or b"")
    left = exiftool("-a", "-s", "-XMP:all", "-IPTC:all", "-EXIF:all", photo)
    assert "landmarkTagger" not in left
    said = [line for line in left.splitlines() if line.split(maxsplit=1)[0] in KEYWORDS]
    assert not [line for line in said if "Eiffel Tower" in line or "Arc" in line]
    assert [word for word in THEIRS if word in left] == [word for word in THEIRS if word in " ".join(edit)]


@needs_exiftool
def test_position_that_another_program_wrote_anew_in_other_fractions_is_still_ours(photo: Path) -> None:
    photo.write_bytes(planned(photo, EVERYTHING).data or b"")
    exiftool("-overwrite_original", "-tagsfromfile", "@", "-all:all", "-unsafe", photo)
    photo.write_bytes(planned(photo, Additions()).data or b"")
    assert exiftool("-GPSLatitude", "-GPSLongitude", "-GPSHPositioningError", photo) == ""


@pytest.mark.parametrize("nothing", [b"", b"\n"])
def test_sidecar_that_was_there_and_said_nothing_is_there_again(tmp_path: Path, nothing: bytes) -> None:
    photo = plain(tmp_path)
    sidecar = photo.with_name("photo.jpg.xmp")
    sidecar.write_bytes(nothing)
    written = plan_sidecar(sidecar, EVERYTHING, nothing_kept, of_photo=photo.read_bytes())
    prepare(written.original, written.data, photo=photo).replace()
    back = plan_sidecar(sidecar, Additions(), lambda _: written.kept)
    assert back.data == nothing


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> WrittenFolder:
    return WrittenFolder(database, tmp_path)


def changed_copy(photo: Path) -> Path:
    """A copy that its owner gave a longer keyword: of no size that anybody knows."""
    copy = photo.with_name("copy.jpg")
    data = photo.read_bytes()
    blocks = read_blocks(data)
    assert blocks.xmp is not None
    edited = blocks.xmp.replace(b"<rdf:Bag>", b"<rdf:Bag><rdf:li>a word of the owner</rdf:li>", 1)
    copy.write_bytes(spliced(data, replace_blocks(data, replace(blocks, xmp=edited))))
    return copy


def test_a_copy_that_was_changed_is_taken_back_though_its_original_was_first(folder: WrittenFolder) -> None:
    photo = folder.draw("photo.jpg")
    folder.tag()
    folder.write()
    copy = changed_copy(photo)
    folder.tag()
    assert folder.undo(photo) == {"photo.jpg": "written"}
    assert folder.undo()["copy.jpg"] == "written"
    left = read_blocks(copy.read_bytes()).xmp
    assert left is not None
    assert not is_ours(left)
    assert b"a word of the owner" in left
    assert folder.undo() == {}


def test_who_takes_back_leaves_nothing_of_writers_that_died(folder: WrittenFolder) -> None:
    photo = folder.draw("photo.jpg")
    original = photo.read_bytes()
    folder.tag()
    folder.write()
    (folder.folder / f".tagger-{'0' * 32}.part").write_bytes(original)
    folder.undo()
    assert {path.name: path.read_bytes() for path in folder.folder.iterdir()} == {"photo.jpg": original}
