"""Update and undo go by what is on record, whatever happens to a folder after a write."""

import shutil
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from support.written_folder import EMBED, SIDECAR, SIDECAR_OF_USER, WrittenFolder

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.jobs.enqueue.job_options import MetadataOptions

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


MOVES = {
    "photo in another case": {"IMG_1.jpg": "IMG_1.JPG"},
    "sidecar in another case": {"IMG_1.xmp": "img_1.XMP"},
    "both renamed": {"IMG_1.jpg": "holiday.jpg", "IMG_1.xmp": "holiday.xmp"},
    "both moved": {"IMG_1.jpg": "new/IMG_1.jpg", "IMG_1.xmp": "new/IMG_1.xmp"},
    "photo renamed": {"IMG_1.jpg": "holiday.jpg"},
    "photo moved": {"IMG_1.jpg": "new/IMG_1.jpg"},
}
CHANGES: dict[str, Callable[[WrittenFolder], object]] = {
    "photo deleted": lambda folder: (folder.folder / "IMG_1.jpg").unlink(),
    "photo replaced": lambda folder: folder.draw("IMG_1.jpg", 1, shade=7),
    "both copied": lambda folder: shutil.copytree(folder.folder, folder.folder / "new"),
    "sidecar deleted": lambda folder: (folder.folder / "IMG_1.xmp").unlink(),
    "sidecar replaced": lambda folder: (folder.folder / "IMG_1.xmp").write_text(
        SIDECAR_OF_USER.replace('"5"', '"4"')
    ),
    "sidecar renamed": lambda folder: move(folder, "IMG_1.xmp", "old.xmp"),
}


def change(folder: WrittenFolder, how: str) -> None:
    for old, new in MOVES.get(how, {}).items():
        move(folder, old, new)
    CHANGES.get(how, bool)(folder)
    if "photo" in how or "both" in how:
        folder.tag()


@pytest.mark.parametrize(
    ("how", "of_job"),
    [
        *product([*MOVES, "photo deleted", "photo replaced"], [False, True]),
        ("both copied", False),  # the undo of a job leaves copies alone
    ],
)
def test_undo_finds_the_sidecar_by_its_record(folder: WrittenFolder, how: str, of_job: bool) -> None:
    folder.write(SIDECAR)
    job = folder.latest().job if of_job else None
    change(folder, how)
    sidecars = {name for name in folder.files() if name.lower().endswith(".xmp")}
    outcomes = folder.undo(job=job)
    assert "written" in outcomes.values()
    assert "refused" not in outcomes.values()
    files = folder.files()
    assert {name: files[name].decode() for name in sidecars} == dict.fromkeys(sidecars, SIDECAR_OF_USER)


@pytest.mark.parametrize("how", [*MOVES][:4])
def test_the_next_write_keeps_one_sidecar(folder: WrittenFolder, how: str) -> None:
    folder.write(SIDECAR)
    change(folder, how)
    folder.write(SIDECAR)
    assert len(with_our_values(folder)) == 1


def test_the_next_write_cleans_what_a_renamed_photo_has_left_behind(folder: WrittenFolder) -> None:
    folder.write(SIDECAR)
    change(folder, "photo renamed")
    folder.write(SIDECAR)
    assert with_our_values(folder) == {"holiday.jpg.xmp"}


@pytest.mark.parametrize(
    ("how", "update"),
    [
        *product(["sidecar deleted", "sidecar replaced", "sidecar renamed"], [False, True]),
        ("both deleted", False),  # no photo is left to write
    ],
)
def test_a_file_that_is_lost_is_named_once(folder: WrittenFolder, how: str, update: bool) -> None:
    folder.write(SIDECAR)
    if how == "both deleted":
        folder.draw("other.jpg", None)  # an empty folder may be a disk that is not mounted
        change(folder, "sidecar deleted")
        change(folder, "photo deleted")
    change(folder, how)
    if update:
        folder.judge("IMG_1.jpg", "eiffel-tower", VerdictKind.REJECTED)
    assert folder.write(SIDECAR) if update else folder.undo() == {"IMG_1.jpg": "refused"}
    outcome, reason, text = folder.reasons(folder.latest().job)["IMG_1.jpg"]
    assert (outcome, reason) == ("refused", "lost")
    assert "'IMG_1.xmp'" in (text or "")
    assert "refused" not in folder.undo().values()


def test_a_sidecar_that_was_restored_from_a_backup_is_no_problem(folder: WrittenFolder) -> None:
    folder.write(SIDECAR)
    (folder.folder / "IMG_1.xmp").write_text(SIDECAR_OF_USER)
    assert folder.undo() == {"IMG_1.jpg": "unchanged"}
    assert folder.undo_rows == []


def test_a_lost_sidecar_that_comes_back_is_restored_exactly(folder: WrittenFolder) -> None:
    before = folder.files()
    folder.write(SIDECAR)
    change(folder, "sidecar renamed")
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
@pytest.mark.parametrize(("options", "name"), [(SIDECAR, "IMG_1.xmp"), (EMBED, "IMG_1.jpg")])
def test_what_exiftool_changed_stays(folder: WrittenFolder, options: MetadataOptions, name: str) -> None:
    folder.write(options)
    file = folder.folder / name
    subprocess.run(["exiftool", "-q", "-XMP-dc:Title=edited by exiftool", file], check=True)
    assert folder.undo() == {"IMG_1.jpg": "written"}
    data = file.read_bytes()
    assert OURS not in data
    assert b"Eiffel Tower" not in data
    assert b"edited by exiftool" in data
    assert file.with_name(f"{name}_original").exists()


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
