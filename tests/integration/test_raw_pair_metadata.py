"""Tags of a photo with a RAW file and a JPEG are written beside both files, and undone in both, on both databases."""

from pathlib import Path

import pytest
from support.colour_folders import GATE
from support.raw_pairs import PairFolder
from support.written_folder import EMBED, SIDECAR, SIDECAR_OF_USER

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.jobs.enqueue.job_options import MetadataOptions
from tagger.jobs.processing.metadata_preview import preview_photos


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> PairFolder:
    folder = PairFolder(database, tmp_path)
    folder.draw_raw("IMG_1.CR3")  # near the Eiffel Tower, by its GPS position
    folder.draw("IMG_1.JPG", 0)
    return folder


@pytest.mark.parametrize(
    ("options", "own", "written"),
    [
        (SIDECAR, "IMG_1.xmp", {"IMG_1.xmp", "IMG_1.JPG.xmp"}),
        (EMBED, None, {"IMG_1.CR3.xmp", "IMG_1.JPG"}),
    ],
)
def test_tags_are_written_for_both_files_and_undone_in_both(
    folder: PairFolder, options: MetadataOptions, own: str | None, written: set[str]
) -> None:
    if own is not None:
        (folder.folder / own).write_text(SIDECAR_OF_USER)
    folder.tag()
    before = folder.files()
    assert folder.write(options) == {"IMG_1.JPG": "written"}
    after = folder.files()
    assert {name for name, data in after.items() if data != before.get(name)} == written
    assert all(b"Eiffel" in after[name] for name in written)
    assert folder.write(options) == {"IMG_1.JPG": "unchanged"}
    assert folder.tag() == {"IMG_1.JPG": "skipped"}
    assert folder.undo(folder.folder / "IMG_1.CR3") == {"IMG_1.JPG": "written"}
    assert folder.files() == before
    assert folder.undo_rows == []


def test_a_preview_names_the_files_of_both(folder: PairFolder) -> None:
    folder.tag()
    photo_id = folder.photo("IMG_1.JPG").id
    (preview,) = preview_photos(folder.database, folder.settings, [photo_id], EMBED)
    assert preview.plan is not None
    assert [file.original.path.name for file in preview.plan.files] == ["IMG_1.JPG", "IMG_1.CR3.xmp"]


def test_a_deleted_raw_file_does_not_keep_the_jpeg_from_being_written(folder: PairFolder) -> None:
    folder.tag()
    (folder.folder / "IMG_1.CR3").unlink()
    assert folder.write(SIDECAR) == {"IMG_1.JPG": "written"}
    assert set(folder.files()) == {"IMG_1.JPG", "IMG_1.JPG.xmp"}


def test_sidecars_are_undone_after_a_file_was_added_or_deleted(folder: PairFolder) -> None:
    jpeg = folder.folder / "IMG_1.JPG"
    drawn = jpeg.read_bytes()
    jpeg.unlink()
    folder.tag()
    before = folder.files()
    folder.write(SIDECAR)
    jpeg.write_bytes(drawn)  # the RAW file was written alone
    folder.tag()
    assert folder.undo() == {"IMG_1.JPG": "written"}
    assert folder.files() == before | {"IMG_1.JPG": drawn}
    folder.write(SIDECAR)
    assert set(folder.files()) == {"IMG_1.CR3", "IMG_1.JPG", "IMG_1.CR3.xmp", "IMG_1.JPG.xmp"}
    jpeg.unlink()  # both were written
    folder.tag()
    assert folder.undo() == {"IMG_1.CR3": "written", "IMG_1.JPG": "written"}
    assert set(folder.files()) == {"IMG_1.CR3"}


def test_a_rejected_tag_is_removed_from_both(folder: PairFolder) -> None:
    folder.tag()
    folder.write(SIDECAR)
    folder.judge("IMG_1.CR3", GATE, VerdictKind.CONFIRMED)
    folder.judge("IMG_1.JPG", "eiffel-tower", VerdictKind.REJECTED)
    assert folder.write(SIDECAR) == {"IMG_1.JPG": "written"}
    for name in ("IMG_1.CR3.xmp", "IMG_1.JPG.xmp"):
        data = folder.files()[name]
        assert b"Brandenburg" in data
        assert b"Eiffel" not in data


@pytest.mark.parametrize(
    ("options", "existing"),
    [(SIDECAR, None), (EMBED, SIDECAR_OF_USER)],
)
def test_a_sidecar_that_may_be_of_two_photos_stays_as_it_is(
    database: Database, tmp_path: Path, options: MetadataOptions, existing: str | None
) -> None:
    folder = PairFolder(database, tmp_path)
    folder.draw("a.jpg", 1)
    folder.draw_raw("a.jpg.cr3", 0)
    if existing is not None:
        (folder.folder / "a.jpg.xmp").write_text(existing)
    folder.tag()
    before = folder.files()
    outcomes = folder.write(options)
    after = folder.files()
    assert b"Brandenburg" not in after["a.jpg.cr3.xmp"]
    # Embedding needs no sidecar, if there is none that would hide what is in the photo.
    refused = "refused" if options == SIDECAR or existing else "written"
    assert outcomes == {"a.jpg": refused, "a.jpg.cr3": "refused" if options == EMBED else "written"}
    if refused == "refused":
        assert {name: after[name] for name in before} == before
        _outcome, reason, text = folder.reasons(folder.latest().job)["a.jpg"]
        assert reason == "sidecar"
        assert "a.jpg.xmp may also be that of a.jpg.cr3" in str(text)
    folder.undo()
    assert folder.files() == before


def test_a_sidecar_from_before_the_raw_file_came_is_undone_and_gets_nothing_more(
    database: Database, tmp_path: Path
) -> None:
    folder = PairFolder(database, tmp_path)
    folder.draw("a.jpg", 1)
    folder.tag()
    before = folder.files()
    folder.write(SIDECAR)
    written = folder.files()
    folder.draw_raw("a.jpg.cr3", 0)
    raw = {"a.jpg.cr3": (folder.folder / "a.jpg.cr3").read_bytes()}
    folder.tag()
    folder.judge("a.jpg", "eiffel-tower", VerdictKind.CONFIRMED)
    assert folder.write(SIDECAR) == {"a.jpg": "refused", "a.jpg.cr3": "written"}
    after = folder.files()
    assert {name: after[name] for name in written} == written
    folder.undo()
    assert folder.files() == before | raw
