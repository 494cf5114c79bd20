"""Update and undo go by what is on record: whatever happens to a folder after a write, our values are removed, or the job says where they may be."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.written_folder import EMBED, SIDECAR, WrittenFolder

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind

SIDECAR_OF_USER = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/></rdf:RDF></x:xmpmeta>'
)
OURS = b"ns.landmark-tagger"
SIBLINGS = (
    *("IMG_1.MOV", "IMG_1.AAE", "IMG_1.JPG_original", "IMG_1.png", "IMG_1.txt", "IMG_1.CR3", "IMG_1.json"),
    *("IMG_1.THM", "IMG_1.dop", "IMG_1.xmp~", "IMG_1.heic", "IMG_1.jpg.xmp~"),
)


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> WrittenFolder:
    """A folder with a photo and the sidecar of its stem by another program."""
    written = WrittenFolder(database, tmp_path)
    written.draw("IMG_1.jpg", 0)
    (written.folder / "IMG_1.xmp").write_text(SIDECAR_OF_USER)
    written.tag()
    return written


def move(folder: WrittenFolder, old: str, new: str) -> None:
    (folder.folder / new).parent.mkdir(exist_ok=True)
    (folder.folder / old).rename(folder.folder / new)


def scan(folder: WrittenFolder) -> None:
    folder.tag()


def with_our_values(folder: WrittenFolder) -> set[str]:
    return {name for name, data in folder.files().items() if b"Eiffel Tower" in data}


@pytest.mark.parametrize("sibling", SIBLINGS)
def test_a_file_that_appears_beside_a_photo_changes_nothing(folder: WrittenFolder, sibling: str) -> None:
    before = folder.files()
    folder.write(SIDECAR)
    assert with_our_values(folder) == {"IMG_1.xmp"}
    (folder.folder / sibling).write_bytes(b"another program")
    folder.judge("IMG_1.jpg", "eiffel-tower", VerdictKind.REJECTED)
    assert set(folder.write(SIDECAR).values()) == {"written"}
    assert folder.files() == {**before, sibling: b"another program"}
    folder.judge("IMG_1.jpg", "eiffel-tower", VerdictKind.CONFIRMED)
    assert folder.write(SIDECAR)["IMG_1.jpg"] == "written"
    folder.undo()
    assert folder.files() == {**before, sibling: b"another program"}
    assert folder.undo_rows == []


def photo_deleted(folder: WrittenFolder) -> None:
    (folder.folder / "IMG_1.jpg").unlink()
    scan(folder)


def photo_case_changed(folder: WrittenFolder) -> None:
    move(folder, "IMG_1.jpg", "IMG_1.JPG")
    scan(folder)


def sidecar_case_changed(folder: WrittenFolder) -> None:
    move(folder, "IMG_1.xmp", "img_1.XMP")


def photo_renamed(folder: WrittenFolder) -> None:
    move(folder, "IMG_1.jpg", "holiday.jpg")
    scan(folder)


def renamed_together(folder: WrittenFolder) -> None:
    move(folder, "IMG_1.jpg", "holiday.jpg")
    move(folder, "IMG_1.xmp", "holiday.xmp")
    scan(folder)


def moved_together(folder: WrittenFolder) -> None:
    move(folder, "IMG_1.jpg", "new/IMG_1.jpg")
    move(folder, "IMG_1.xmp", "new/IMG_1.xmp")
    scan(folder)


def photo_moved_alone(folder: WrittenFolder) -> None:
    move(folder, "IMG_1.jpg", "new/IMG_1.jpg")
    scan(folder)


def photo_replaced(folder: WrittenFolder) -> None:
    folder.draw("IMG_1.jpg", 1, shade=7)
    scan(folder)


def copied_together(folder: WrittenFolder) -> None:
    for name in ("IMG_1.jpg", "IMG_1.xmp"):
        (folder.folder / "new").mkdir(exist_ok=True)
        shutil.copy2(folder.folder / name, folder.folder / "new" / name)
    scan(folder)


CHANGES = (
    *(photo_deleted, photo_case_changed, sidecar_case_changed, photo_renamed, renamed_together),
    *(moved_together, photo_moved_alone, photo_replaced, copied_together),
)


@pytest.mark.parametrize("of_job", [False, True], ids=["all", "job"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_undo_finds_the_sidecar_by_its_record(
    folder: WrittenFolder, change: Callable[[WrittenFolder], None], of_job: bool
) -> None:
    if of_job and change is copied_together:
        pytest.skip("the command finds copies that no job has written")
    folder.write(SIDECAR)
    job = folder.latest().job if of_job else None
    change(folder)
    sidecars = {name for name in folder.files() if name.lower().endswith(".xmp")}
    outcomes = folder.undo(job=job)
    assert "written" in outcomes.values()
    assert "refused" not in outcomes.values()
    files = folder.files()
    assert {name: files[name].decode() for name in sidecars} == dict.fromkeys(sidecars, SIDECAR_OF_USER)


@pytest.mark.parametrize(
    "change", [photo_case_changed, sidecar_case_changed, renamed_together, moved_together]
)
def test_the_next_write_keeps_one_sidecar(
    folder: WrittenFolder, change: Callable[[WrittenFolder], None]
) -> None:
    folder.write(SIDECAR)
    change(folder)
    folder.write(SIDECAR)
    assert len(with_our_values(folder)) == 1


def test_the_next_write_cleans_what_a_renamed_photo_has_left_behind(folder: WrittenFolder) -> None:
    folder.write(SIDECAR)
    photo_renamed(folder)
    folder.write(SIDECAR)
    assert with_our_values(folder) == {"holiday.jpg.xmp"}


def sidecar_deleted(folder: WrittenFolder) -> None:
    (folder.folder / "IMG_1.xmp").unlink()


def sidecar_replaced(folder: WrittenFolder) -> None:
    (folder.folder / "IMG_1.xmp").write_text(SIDECAR_OF_USER.replace('"5"', '"4"'))


def sidecar_renamed(folder: WrittenFolder) -> None:
    move(folder, "IMG_1.xmp", "old.xmp")


def both_deleted(folder: WrittenFolder) -> None:
    folder.draw("other.jpg", None)  # an empty folder may be a disk that is not mounted
    sidecar_deleted(folder)
    photo_deleted(folder)


@pytest.mark.parametrize(
    ("change", "update"),
    [
        *(
            (change, update)
            for change in (sidecar_deleted, sidecar_replaced, sidecar_renamed)
            for update in (False, True)
        ),
        (both_deleted, False),
    ],
)
def test_a_file_that_is_lost_is_named_once(
    folder: WrittenFolder, change: Callable[[WrittenFolder], None], update: bool
) -> None:
    folder.write(SIDECAR)
    change(folder)
    if update:
        folder.judge("IMG_1.jpg", "eiffel-tower", VerdictKind.REJECTED)
    assert folder.write(SIDECAR) if update else folder.undo() == {"IMG_1.jpg": "refused"}
    outcome, reason, text = folder.reasons(folder.latest().job)["IMG_1.jpg"]
    assert (outcome, reason) == ("refused", "lost")
    assert text is not None
    assert "'IMG_1.xmp'" in text
    assert "refused" not in folder.undo().values()


def test_a_sidecar_that_was_restored_from_a_backup_is_no_problem(folder: WrittenFolder) -> None:
    folder.write(SIDECAR)
    (folder.folder / "IMG_1.xmp").write_text(SIDECAR_OF_USER)
    assert folder.undo() == {"IMG_1.jpg": "unchanged"}
    assert folder.undo_rows == []


def test_a_lost_sidecar_that_comes_back_is_restored_exactly(folder: WrittenFolder) -> None:
    before = folder.files()
    folder.write(SIDECAR)
    sidecar_renamed(folder)
    assert folder.undo() == {"IMG_1.jpg": "refused"}
    move(folder, "old.xmp", "IMG_1.xmp")
    folder.undo()
    assert folder.files() == before


def test_an_embedded_photo_without_our_record_is_named(folder: WrittenFolder) -> None:
    original = (folder.folder / "IMG_1.jpg").read_bytes()
    folder.write(EMBED)
    (folder.folder / "IMG_1.jpg").write_bytes(original + b"\0")
    assert folder.undo() == {"IMG_1.jpg": "refused"}


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
def test_what_exiftool_changed_in_a_sidecar_stays(folder: WrittenFolder) -> None:
    folder.write(SIDECAR)
    edit_with_exiftool(folder.folder / "IMG_1.xmp")
    assert folder.undo() == {"IMG_1.jpg": "written"}
    sidecar = (folder.folder / "IMG_1.xmp").read_bytes()
    assert OURS not in sidecar
    assert b"Eiffel Tower" not in sidecar
    assert b"edited by exiftool" in sidecar
    assert (folder.folder / "IMG_1.xmp_original").exists()


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
def test_what_exiftool_changed_in_a_photo_stays(folder: WrittenFolder) -> None:
    folder.write(EMBED)
    edit_with_exiftool(folder.folder / "IMG_1.jpg")
    folder.undo()
    photo = (folder.folder / "IMG_1.jpg").read_bytes()
    assert OURS not in photo
    assert b"Eiffel Tower" not in photo
    assert b"edited by exiftool" in photo


def edit_with_exiftool(path: Path) -> None:
    subprocess.run(["exiftool", "-q", "-XMP-dc:Title=edited by exiftool", path], check=True)


def hard_link(sidecar: Path) -> None:
    sidecar.with_name("link").hardlink_to(sidecar)


def symbolic_link(sidecar: Path) -> None:
    sidecar.rename(sidecar.with_name("target"))
    sidecar.symlink_to("target")


@pytest.mark.parametrize("link", [hard_link, symbolic_link], ids=lambda link: link.__name__)
def test_a_sidecar_that_became_a_link_is_refused_and_stays_on_record(
    folder: WrittenFolder, link: Callable[[Path], None]
) -> None:
    folder.write(SIDECAR)
    link(folder.folder / "IMG_1.xmp")
    linked = folder.files()
    folder.judge("IMG_1.jpg", "eiffel-tower", VerdictKind.REJECTED)
    for outcomes in (folder.write(SIDECAR), folder.undo()):
        assert outcomes == {"IMG_1.jpg": "refused"}
        assert folder.reasons(folder.latest().job)["IMG_1.jpg"][1] == "link"
    assert folder.files() == linked
    assert len(folder.undo_rows) == 1
