"""Scans find new, changed, moved and gone photos, across pages, with any names; watches see what needs a job."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from sqlalchemy import func, select, update
from support.databases import execute, read_scalars
from support.examples import examples
from support.scanned_folder import ScannedFolder
from support.threads import in_threads

from tagger.database.connection import open_database
from tagger.database.tables import job_items, photos, roots
from tagger.errors import FailureKind, PathNotFound, RootUnavailable, ScanInterrupted
from tagger.jobs.enqueue import scan, selection
from tagger.jobs.enqueue.selection import (
    ScanReport,
    Selection,
    require_available_roots,
    scan_watched,
    select_paths,
)
from tagger.ledger import job_control
from tagger.photos.paths import path_from_text
from tagger.roots import list_roots


class Folder(ScannedFolder):
    def stored_paths(self, *, gone: bool = False) -> set[str]:
        """The stored absolute paths of the photos that are present, or of those that are gone."""
        locations = select(roots.c.id, roots.c.location, roots.c.location_bytes)
        with self.database.read() as connection:
            folders = {
                row.id: path_from_text(row.location, row.location_bytes)
                for row in connection.execute(locations)
            }
            rows = connection.execute(select(photos)).all()
        return {
            str(Path(folders[row.root_id]) / path_from_text(row.path, row.path_bytes))
            for row in rows
            if (row.gone_since is not None) == gone
        }


@pytest.fixture
def folder(database, tmp_path) -> Folder:
    return Folder(database, tmp_path / "photos")


@pytest.fixture
def small_pages(monkeypatch) -> None:
    for module in (scan, selection):
        monkeypatch.setattr(module, "PAGE", 3)


def test_photos_are_new_once_and_changed_with_a_new_size_or_time(folder):
    resized, touched = folder.file("a.jpg"), folder.file("b/c.jpg")
    for name in ("b/d.png", "note.txt", ".hidden/e.jpg"):
        folder.file(name)
    assert folder.counts() == (3, 3, 0, 0)
    assert folder.counts() == (3, 0, 0, 0)
    resized.write_bytes(b"longer")
    os.utime(touched, ns=(1, 1))
    assert folder.counts() == (3, 0, 2, 0)
    assert folder.counts() == (3, 0, 0, 0)


def test_deleted_file_is_marked_as_gone_until_it_is_back(folder):
    folder.file("a.jpg")
    path = folder.file("b/b.jpg")
    folder.scan()
    path.unlink()
    path.parent.rmdir()
    assert folder.counts() == (1, 0, 0, 1)
    assert folder.stored_paths(gone=True) == {str(path)}
    assert folder.counts() == (1, 0, 0, 0)
    folder.file("b/b.jpg")
    assert folder.counts() == (2, 0, 1, 0)
    assert folder.stored_paths(gone=True) == set()


REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link to a folder": lambda path: path.symlink_to(path.parent),
    "a link to a device": lambda path: path.symlink_to("/dev/null"),
}


@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_a_photo_that_is_no_file_any_more_is_gone(folder, replacement):
    folder.file("a.jpg")
    path = folder.file("b.jpg")
    folder.scan()
    path.unlink()
    REPLACEMENTS[replacement](path)
    assert folder.counts() == (1, 0, 0, 1)
    assert folder.stored_paths(gone=True) == {str(path)}


def test_a_photo_that_became_a_link_that_leads_nowhere_is_present(folder):
    path = folder.file("a.jpg")
    folder.scan()
    path.unlink()
    path.symlink_to("unmounted/a.jpg")
    assert folder.counts(include=("b*",)) == (0, 0, 0, 0)
    assert folder.stored_paths() == {str(path)}


@pytest.mark.postgresql
def test_names_with_newlines_or_not_utf8_are_unchanged(folder, small_pages):
    odd = (
        b"bad\xff.jpg", b"new\nline.jpg", b"dir\xfe/in.jpg", b"dir\xfe/\xfd.jpg", b"plain.jpg",
        b"%s 100%.jpg",
    )  # fmt: skip
    paths = {str(folder.file(name)) for name in odd}
    assert folder.counts() == (6, 6, 0, 0)
    assert folder.stored_paths() == paths
    assert folder.counts() == (6, 0, 0, 0)
    (folder.path / os.fsdecode(odd[2])).unlink()
    assert folder.counts() == (5, 0, 0, 1)


def test_names_with_the_same_text_are_distinct(folder, small_pages):
    literal, odd = folder.file("x\\xff.jpg"), folder.file(b"x\xff.jpg")
    folder.scan(literal)
    folder.scan(odd)
    assert folder.stored_paths() == {str(literal), str(odd)}
    for name in ("x.jpg", "y.jpg", "z.jpg"):
        folder.file(name)
    report = folder.scan()
    assert (report.found, report.gone) == (4, 0)
    assert [problem.path.name for problem in report.problems]
    odd.unlink()
    folder.scan()
    assert folder.stored_paths(gone=True) == {str(odd)}


def test_patterns_and_unreadable_folders_mark_nothing_as_gone(folder, small_pages):
    for name in ("a.jpg", "b/b.jpg", "b/c.png", "d/e.jpg", "f.png"):
        folder.file(name)
    folder.scan()
    assert folder.counts(include=("*.png",)) == (2, 0, 0, 0)
    assert folder.counts(exclude=("b", "d/*")) == (2, 0, 0, 0)
    assert folder.stored_paths(gone=True) == set()
    (folder.path / "b" / "b.jpg").unlink()
    assert folder.counts(include=("*.png",)) == (2, 0, 0, 1)


def test_scans_of_a_part_and_of_single_files_leave_the_rest_alone(folder, small_pages):
    for name in ("a/1.jpg", "a/2.jpg", "a/b/3.jpg", "a b/4.jpg", "a0.jpg", "a-.jpg"):
        folder.file(name)
    folder.scan()
    (folder.path / "a" / "2.jpg").unlink()
    (folder.path / "a0.jpg").unlink()
    assert folder.counts(folder.path / "a") == (2, 0, 0, 1)
    assert folder.stored_paths(gone=True) == {str(folder.path / "a" / "2.jpg")}
    folder.file("a/b/c/5.jpg")
    assert folder.counts(folder.path / "a" / "b") == (2, 1, 0, 0)
    assert folder.counts() == (5, 0, 0, 1)
    files = [folder.file(f"{letter}/{number}.dat") for letter in "ab" for number in range(5)]
    folder.file("a/other.jpg")
    assert folder.counts(*files) == (10, 10, 0, 0)
    assert folder.counts(*files, *files[:3]) == (10, 0, 0, 0)


def test_missing_empty_and_unmounted_folders_mark_nothing_as_gone(folder):
    path = folder.file("a.jpg")
    folder.scan()
    path.unlink()
    with pytest.raises(RootUnavailable, match="the database has 1 photo"):
        require_available_roots(folder.database, select_paths([folder.path]), {})
    with pytest.raises(RootUnavailable):
        folder.scan()
    folder.path.rmdir()
    with pytest.raises(PathNotFound):
        folder.scan()
    assert folder.stored_paths(gone=True) == set()
    folder.file("a.jpg")
    path = folder.file("share/b.jpg")
    folder.scan()
    path.unlink()
    with pytest.raises(RootUnavailable, match="share is empty or missing, but the database has 1 photo"):
        require_available_roots(folder.database, select_paths([path.parent]), {})
    assert folder.stored_paths(gone=True) == set()


def test_root_unmounted_during_the_scan_marks_nothing_as_gone(folder, small_pages):
    for number in range(10):
        folder.file(f"{number}.jpg")
    folder.scan()
    job = folder.ledger.scanning()

    def unmount(_count: int) -> None:
        folder.path.rename(folder.path.with_name("elsewhere"))
        folder.path.mkdir()

    (folder.path / "8.jpg").unlink()
    with pytest.raises(RootUnavailable):
        folder.run(job, select_paths([folder.path]), unmount)
    assert folder.stored_paths(gone=True) == set()


def test_scan_of_a_cancelled_job_stops(folder, small_pages):
    for number in range(10):
        folder.file(f"{number}.jpg")
    job = folder.ledger.scanning()

    def cancel(_count: int) -> None:
        job_control.cancel(folder.database, job)

    with pytest.raises(ScanInterrupted):
        folder.run(job, select_paths([folder.path]), cancel)
    # The last photo of the page may have a RAW file on the next.
    assert folder.ledger.progress(job).cancelled == 2


@pytest.mark.postgresql
def test_concurrent_scans_of_one_folder_record_every_photo_once(folder, small_pages):
    for number in range(40):
        folder.file(f"{number % 4}/{number:02}.jpg")
    url = folder.database._engine.url.render_as_string(hide_password=False)
    databases = [open_database(url) for _ in range(3)]
    reports: dict[int, ScanReport] = {}

    def run(number: int) -> None:
        job = folder.ledger.scanning()
        path = folder.path if number else folder.path / "1"
        reports[job] = folder.run(job, select_paths([path]), database=databases[number])

    in_threads([lambda number=number: run(number) for number in range(3)])
    for database in databases:
        database.close()
    assert sorted(report.found for report in reports.values()) == [10, 40, 40]
    assert len(folder.stored_paths()) == 40
    with folder.database.read() as connection:
        assert len(connection.execute(select(photos.c.id)).all()) == 40
        assert connection.scalars(select(roots.c.location).where(roots.c.location.endswith("photos"))).all()
        for job, report in reports.items():
            items = select(func.count()).where(job_items.c.job_id == job)
            assert connection.scalar(items) == report.found - report.in_other_jobs.total()
        ids = connection.scalars(select(job_items.c.photo_id)).all()
        assert len(set(ids)) == len(ids) == 40


@pytest.mark.postgresql
def test_parent_scanned_concurrently_with_its_child_absorbs_it(folder, small_pages):
    for number in range(12):
        folder.file(f"child/{number:02}.jpg")
    folder.file("top.jpg")
    job = folder.ledger.scanning()
    parents: list[tuple[int, int, int, int]] = []

    def scan_the_parent_too(_count: int) -> None:
        if not parents:
            parents.append(folder.counts())

    child = select_paths([folder.path / "child"])
    report = folder.run(job, child, scan_the_parent_too)
    assert parents[0][0] == 13
    assert (report.found, report.gone) == (12, 0)
    assert len(folder.stored_paths()) == 13
    assert read_scalars(folder.database, select(roots.c.name)).count("child") == 0


def test_paths_are_sorted_into_folders_and_files(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.jpg").touch()
    (tmp_path / "y.jpg").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    paths = [tmp_path / "link", tmp_path / "a" / "b", tmp_path / "a" / "b" / "x.jpg", tmp_path / "y.jpg"]
    selection = select_paths([*paths, tmp_path / "a" / ".." / "y.jpg"])
    assert (selection.folders, selection.files) == ((tmp_path / "a",), (tmp_path / "y.jpg",))
    with pytest.raises(PathNotFound):
        select_paths([tmp_path / "nowhere"])


@pytest.fixture(scope="module")
def sqlite_folder(tmp_path_factory) -> Folder:
    path = tmp_path_factory.mktemp("random")
    return Folder(open_database(f"sqlite:///{path / 'tagger.sqlite'}"), path / "photos")


PART = st.sampled_from(["a", "a b", "a-", "a0", "b", "é", os.fsdecode(b"\xff"), "\\xff", "\n", "~"])
FILES = st.sets(st.tuples(st.lists(PART, max_size=2).map(tuple), PART), min_size=1, max_size=8)


@examples(3)
@given(first=FILES, second=FILES, page=st.integers(1, 4))
def test_table_follows_the_folder_whatever_is_in_it(sqlite_folder, first, second, page):
    folder = sqlite_folder
    with pytest.MonkeyPatch.context() as patch:
        for module in (scan, selection):
            patch.setattr(module, "PAGE", page)
        folder.file("always.jpg")
        for files in (first, second):
            for parts, name in files:
                folder.file("/".join((*parts, name + ".jpg")))
            report = folder.scan()
            on_disk = {str(path) for path in folder.path.rglob("*.jpg")}
            hidden = {str(problem.path) for problem in report.problems}
            present = {path for path in folder.stored_paths() if path.startswith(str(folder.path))}
            assert present >= {
                path for path in on_disk if not any(path.startswith(prefix) for prefix in hidden)
            }
            assert present <= on_disk
            for path in sorted(folder.path.rglob("*.jpg"))[::2]:
                path.unlink()


class Library(ScannedFolder):
    """A folder that is watched."""

    def write(self, *names: str) -> None:
        for name in names:
            self.file(name)

    def cancel(self) -> None:
        job_control.cancel(self.database, self.job)

    def record(self) -> None:
        """Record the photos with a job that does not come to them."""
        self.scan()
        self.cancel()

    def change(self, name: str, **values: object) -> None:
        execute(self.database, update(photos).where(photos.c.path == name).values(values))

    def fail(self, name: str, kind: FailureKind) -> None:
        self.change(name, failure_kind=kind, failure_text="It fails.")

    def unseen(self, exclude: tuple[str, ...] = (), settle_s: float = 0.0) -> set[str]:
        unseen = self.scan_watched(exclude, settle_s)[0].files
        return {str(file.relative_to(self.path)) for file in unseen}

    def scan_watched(
        self, exclude: tuple[str, ...] = (), settle_s: float = 0.0
    ) -> tuple[Selection, ScanReport]:
        selection = Selection((self.path,), (), (), exclude)
        return scan_watched(self.database, selection, self.new, {}, settle_s=settle_s)


@pytest.fixture
def library(database, tmp_path) -> Library:
    return Library(database, tmp_path / "library")


def test_a_photo_of_no_job_is_unseen(library):
    library.write("a.jpg", "trip/b.jpg", "notes.txt", "private/c.jpg")
    assert library.unseen(("private",)) == {"a.jpg", "trip/b.jpg"}
    library.record()  # recorded, but no job has come to them
    assert library.unseen() == {"a.jpg", "trip/b.jpg", "private/c.jpg"}


def test_what_an_open_job_will_come_to_is_left_to_it_unless_it_changes(library):
    library.write("a.jpg", "b.jpg")
    library.scan()
    library.write("c.jpg")
    (library.path / "b.jpg").write_bytes(b"changed")
    assert library.unseen() == {"b.jpg", "c.jpg"}
    library.cancel()
    assert library.unseen() == {"a.jpg", "b.jpg", "c.jpg"}


def test_a_scan_marks_what_is_gone_and_makes_the_folder_a_root(library):
    library.write("deep/a.jpg", "deep/b.jpg", "deeper/c.jpg")
    assert library.scan_watched()[1].gone == 0
    with library.database.read() as connection:
        assert [root.folder for root in list_roots(connection, {})][1:] == [library.path]
    library.record()
    (library.path / "deep/a.jpg").unlink()
    assert library.scan_watched(("deeper",))[1].gone == 1
    assert library.gone() == {"deep/a.jpg"}
    assert library.scan_watched()[1].gone == 0


def test_many_unseen_photos_are_one_job_over_the_folder(library, monkeypatch):
    monkeypatch.setattr(selection, "MOST_UNSEEN", 2)
    library.write("a.jpg", "b.jpg")
    assert library.scan_watched()[0].folders == ()
    library.write("c.jpg")
    assert library.scan_watched(("b*",))[0].folders == ()
    many = library.scan_watched(("d*",))[0]
    assert (many.folders, many.files, many.exclude) == ((library.path,), (), ("d*",))


def test_a_failed_photo_is_unseen_again_when_it_changes_comes_back_or_its_pause_is_over(library):
    names = ("due.jpg", "later.jpg", "final.jpg", "corrupt.jpg", "changed.jpg", "settling.jpg")
    library.write(*names)
    library.record()
    for name in ("corrupt.jpg", "changed.jpg"):
        library.fail(name, FailureKind.CORRUPT)
    library.fail("settling.jpg", FailureKind.SETTLING)
    now = datetime.now(UTC)
    for name, retry_at in (("due.jpg", now), ("later.jpg", now + timedelta(hours=1)), ("final.jpg", None)):
        library.fail(name, FailureKind.UNREACHABLE)
        library.change(name, retry_at=retry_at)
    (library.path / "changed.jpg").write_bytes(b"repaired")
    assert library.unseen() == {"due.jpg", "changed.jpg", "settling.jpg"}
    (library.path / "corrupt.jpg").rename(library.path / "other.txt")
    assert library.scan_watched()[1].gone == 1
    (library.path / "other.txt").rename(library.path / "corrupt.jpg")
    assert "corrupt.jpg" in library.unseen()


def test_a_file_that_may_still_be_copied_waits_for_a_later_scan(library):
    library.write("new.jpg", "old.jpg", "future.jpg")
    os.utime(library.path / "old.jpg", (1, 1))
    os.utime(library.path / "future.jpg", (2**33, 2**33))
    assert library.unseen(settle_s=60.0) == {"old.jpg", "future.jpg"}
    library.record()
    assert (library.scan_watched(settle_s=60.0)[1].gone, library.gone()) == (0, set())
    assert library.unseen() == {"new.jpg", "old.jpg", "future.jpg"}


def test_nothing_is_marked_while_the_disk_is_not_mounted(library):
    library.write("a.jpg", "trip/b.jpg")
    library.record()
    library.path.rename(library.path.parent / "unmounted")
    library.path.mkdir()
    with pytest.raises(RootUnavailable):
        library.scan_watched()
    assert library.gone() == set()
