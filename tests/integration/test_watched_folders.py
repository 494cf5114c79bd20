"""Which photos of watched folders need a job, and which are gone, on both databases."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.errors import FailureKind, RootUnavailable
from tagger.jobs.enqueue import scan_comparison
from tagger.jobs.enqueue.scan import Scan, Selection, select_paths
from tagger.jobs.enqueue.scan_comparison import WatchedChanges, scan_watched
from tagger.ledger.jobs import NewJob, cancel_job, finish_scan
from tagger.roots.roots import list_roots


class Library:
    """A folder with files, in a database."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.ledger = LedgerBuilder(database)
        self.options = NewJob(self.ledger.model_id, 5, 0.5)

    def write(self, *names: str) -> None:
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(b"x")

    def start_job(self) -> int:
        job = self.ledger.scanning()
        Scan(self.database, job, self.options, {}).run(select_paths([self.folder]))
        finish_scan(self.database, job)
        return job

    def cancel(self, job: int) -> None:
        with self.database.write() as connection:
            cancel_job(connection, job, "")

    def scan(self) -> None:
        """Record the photos with a job that does not come to them."""
        self.cancel(self.start_job())

    def change(self, name: str, **values: object) -> None:
        with self.database.write() as connection:
            connection.execute(update(photos).where(photos.c.path == name).values(values))

    def fail(self, name: str, kind: FailureKind) -> None:
        self.change(name, failure_kind=kind, failure_text="It fails.")

    def unseen(self, exclude: tuple[str, ...] = (), settle_s: float = 0.0) -> set[str]:
        unseen = self.scan_watched(exclude, settle_s).unseen.files
        return {str(file.relative_to(self.folder)) for file in unseen}

    def scan_watched(self, exclude: tuple[str, ...] = (), settle_s: float = 0.0) -> WatchedChanges:
        selection = Selection((self.folder,), (), (), exclude)
        return scan_watched(self.database, selection, self.options, {}, settle_s=settle_s)

    def gone(self) -> set[str]:
        with self.database.read() as connection:
            return set(connection.scalars(select(photos.c.path).where(photos.c.gone_since.is_not(None))))


@pytest.fixture
def library(database: Database, tmp_path: Path) -> Library:
    return Library(database, tmp_path / "library")


def test_a_photo_of_no_job_is_unseen(library: Library) -> None:
    library.write("a.jpg", "trip/b.jpg", "notes.txt", "private/c.jpg")
    assert library.unseen(("private",)) == {"a.jpg", "trip/b.jpg"}
    library.scan()  # recorded, but no job has come to them
    assert library.unseen() == {"a.jpg", "trip/b.jpg", "private/c.jpg"}


def test_what_an_open_job_will_come_to_is_left_to_it_unless_it_changes(library: Library) -> None:
    library.write("a.jpg", "b.jpg")
    job = library.start_job()
    library.write("c.jpg")
    (library.folder / "b.jpg").write_bytes(b"changed")
    assert library.unseen() == {"b.jpg", "c.jpg"}
    library.cancel(job)
    assert library.unseen() == {"a.jpg", "b.jpg", "c.jpg"}


def test_a_scan_marks_what_is_gone_and_makes_the_folder_a_root(library: Library) -> None:
    library.write("deep/a.jpg", "deep/b.jpg", "deeper/c.jpg")
    assert library.scan_watched().gone == 0
    with library.database.read() as connection:
        assert [root.folder for root in list_roots(connection, {})][1:] == [library.folder]
    library.scan()
    (library.folder / "deep/a.jpg").unlink()
    assert library.scan_watched(("deeper",)).gone == 1
    assert library.gone() == {"deep/a.jpg"}
    assert library.scan_watched().gone == 0


def test_many_unseen_photos_are_one_job_over_the_folder(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_comparison, "MOST_UNSEEN", 2)
    library.write("a.jpg", "b.jpg")
    assert library.scan_watched().unseen.folders == ()
    library.write("c.jpg")
    assert library.scan_watched(("b*",)).unseen.folders == ()
    many = library.scan_watched(("d*",)).unseen
    assert (many.folders, many.files, many.exclude) == ((library.folder,), (), ("d*",))


def test_a_failed_photo_is_unseen_again_when_it_changes(library: Library) -> None:
    library.write("a.jpg", "b.jpg", "c.jpg")
    library.scan()
    library.fail("a.jpg", FailureKind.CORRUPT)
    library.fail("b.jpg", FailureKind.CORRUPT)
    library.fail("c.jpg", FailureKind.SETTLING)
    (library.folder / "b.jpg").write_bytes(b"repaired")
    assert library.unseen() == {"b.jpg", "c.jpg"}


def test_a_photo_whose_failure_can_pass_is_unseen_again_after_a_pause(library: Library) -> None:
    library.write("due.jpg", "later.jpg", "final.jpg")
    library.scan()
    now = datetime.now(UTC)
    for name, retry_at in (("due.jpg", now), ("later.jpg", now + timedelta(hours=1)), ("final.jpg", None)):
        library.fail(name, FailureKind.UNREACHABLE)
        library.change(name, retry_at=retry_at)
    assert library.unseen() == {"due.jpg"}


def test_a_photo_that_comes_back_is_unseen(library: Library) -> None:
    library.write("a.jpg", "b.jpg")
    library.scan()
    library.fail("a.jpg", FailureKind.CORRUPT)
    (library.folder / "a.jpg").rename(library.folder / "other.txt")
    assert library.scan_watched().gone == 1
    (library.folder / "other.txt").rename(library.folder / "a.jpg")
    assert "a.jpg" in library.unseen()


def test_a_file_that_may_still_be_copied_waits_for_a_later_scan(library: Library) -> None:
    library.write("new.jpg", "old.jpg", "future.jpg")
    os.utime(library.folder / "old.jpg", (1, 1))
    os.utime(library.folder / "future.jpg", (2**33, 2**33))
    assert library.unseen(settle_s=60.0) == {"old.jpg", "future.jpg"}
    library.scan()
    assert (library.scan_watched(settle_s=60.0).gone, library.gone()) == (0, set())
    assert library.unseen() == {"new.jpg", "old.jpg", "future.jpg"}


@pytest.mark.postgresql
def test_deleted_photos_and_folders_are_marked_and_others_are_not(library: Library) -> None:
    library.write("a.jpg", "a/b.jpg", "a/c/d.jpg", "a0.jpg", "e.jpg")
    library.scan()
    for name in ("a/b.jpg", "a/c/d.jpg", "e.jpg"):
        (library.folder / name).unlink()
    assert library.scan_watched().gone == 3
    assert library.gone() == {"a/b.jpg", "a/c/d.jpg", "e.jpg"}


def test_nothing_is_marked_while_the_disk_is_not_mounted(library: Library) -> None:
    library.write("a.jpg", "trip/b.jpg")
    library.scan()
    library.folder.rename(library.folder.parent / "unmounted")
    library.folder.mkdir()
    with pytest.raises(RootUnavailable):
        library.scan_watched()
    assert library.gone() == set()
