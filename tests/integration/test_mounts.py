"""Disks, shares and links below a root: what is away marks nothing as gone, in scans, jobs and watches."""

import os
import shutil
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from support.databases import read_scalar, read_scalars
from support.disks import Disk
from support.scanned_folder import ScannedFolder

from tagger.database import JobState
from tagger.database.connection import Database
from tagger.database.tables import mounts, photos
from tagger.errors import RootUnavailable
from tagger.jobs.enqueue import selection
from tagger.jobs.enqueue.scan import Scan
from tagger.jobs.enqueue.selection import ScanReport, require_available_roots, select_paths
from tagger.ledger import job_control, suspend_for_root
from tagger.ledger.job_control import list_jobs
from tagger.photos import files, folders
from tagger.roots import forget_path


class Folder(ScannedFolder):
    def select(self) -> tuple[int, ScanReport]:
        """Add all stored photos to a job, as a backfill does. Returns their number, and the report."""
        for job in list_jobs(self.database):
            if not job.is_over:
                job_control.cancel(self.database, job.job)  # it keeps its photos from the next one
        scan = Scan(self.database, self.ledger.scanning(), self.new, {})
        scan.select([photos.c.gone_since.is_(None)])
        return scan.selected, scan.report

    def mounts(self) -> set[str]:
        return set(read_scalars(self.database, select(mounts.c.path)))


class Library(Folder):
    """A folder `p` with a disk at `p/nas`, two photos on it and one beside it; scanned once."""

    def __init__(self, database: Database, root: Path, disk: Disk) -> None:
        self.disk = disk
        self.nas = disk.mount(root / "nas")
        super().__init__(database, root, "nas/a.jpg", "nas/sub/b.jpg", "local.jpg")
        self.scan()


@pytest.fixture
def library(database, tmp_path, disk) -> Library:
    return Library(database, tmp_path / "p", disk)


def only_problem(report: ScanReport, folder: Path) -> str:
    (problem,) = report.problems
    assert problem.path == folder
    assert report.skipped_folders == 1
    return problem.text


@pytest.mark.postgresql
def test_a_disk_that_is_away_marks_nothing_as_gone_until_it_is_back(library):
    library.disk.unmount()
    library.file("new.jpg")
    report = library.scan()
    assert (report.found, report.new, report.gone) == (2, 1, 0)
    text = only_problem(report, library.nas)
    assert text.startswith("It is no longer a disk or share of its own, but the database has 2 photos in it")
    assert f"tagger forget {library.nas}" in text
    library.disk.mount(library.nas)
    report = library.scan()
    assert (report.found, report.new, report.changed, report.gone) == (4, 0, 0, 0)
    assert report.problems == []


def test_an_empty_folder_of_a_disk_marks_nothing_as_gone(library):
    library.disk.unmount()
    library.nas.rmdir()
    report = library.scan()
    assert report.gone == 0
    assert "is empty or missing, but the database has 2 photos" in only_problem(report, library.nas)
    library.file("nas/other.jpg")
    library.file("nas/a.jpg", size=9)
    for _ in range(2):
        report = library.scan()
        assert (report.found, report.new, report.gone) == (1, 0, 0)
        only_problem(report, library.nas)


def test_photos_deleted_on_a_mounted_disk_are_gone_unless_it_is_empty(library):
    (library.nas / "a.jpg").unlink()
    assert library.scan().gone == 1
    assert library.gone() == {"nas/a.jpg"}
    shutil.rmtree(library.nas / "sub")
    report = library.scan()
    assert report.gone == 0
    assert "is empty or missing" in only_problem(report, library.nas)


def test_photos_moved_from_a_disk_to_its_folder_make_it_an_ordinary_folder(library):
    shutil.copytree(library.nas, library.path / "copy")
    library.disk.unmount()
    shutil.copytree(library.path / "copy", library.nas, dirs_exist_ok=True)
    shutil.rmtree(library.path / "copy")
    assert library.mounts() == {"nas"}
    assert library.scan().problems == []
    assert library.mounts() == set()
    shutil.rmtree(library.nas)
    assert library.scan().gone == 2


def test_a_disk_that_is_taken_away_in_mid_scan_marks_nothing_as_gone(library, monkeypatch):
    monkeypatch.setattr(selection, "PAGE", 1)
    job, folders = library.ledger.scanning(), select_paths([library.path])
    with pytest.raises(RootUnavailable, match="nas is no longer a disk"):
        library.run(job, folders, lambda found: library.disk.unmount() if found == 1 else None)
    assert library.gone() == set()


@pytest.mark.parametrize("path", ["nas", "nas/sub", "nas/sub/new.jpg"])
def test_a_path_on_a_disk_that_is_away_is_refused_before_a_job_is_made(library, path):
    library.disk.unmount()
    library.file("nas/sub/new.jpg")
    with pytest.raises(RootUnavailable, match="nas is no longer a disk"):
        require_available_roots(library.database, select_paths([library.path / path]), {})


def test_each_of_several_folders_has_its_own_disks(library, tmp_path):
    other = tmp_path / "q"
    library.disk.mount(other / "usb")
    library.scan(library.path, other)
    assert library.mounts() == {"nas", "usb"}
    library.disk.unmount()
    report = library.scan(library.path, other)
    assert report.gone == 0
    assert {problem.path for problem in report.problems} == {library.nas, other / "usb"}


def test_jobs_leave_photos_on_a_disk_that_is_away_alone_and_say_so(library):
    assert library.select()[0] == 3
    library.disk.unmount()
    selected, report = library.select()
    assert selected == 1
    only_problem(report, library.nas)


def test_a_disk_scanned_before_the_folder_around_it_is_known_there(database, tmp_path, disk):
    """The new root absorbs the one of the disk."""
    nas = disk.mount(tmp_path / "p" / "nas")
    (nas / "a.jpg").write_bytes(b"x")
    (tmp_path / "p" / "local.jpg").write_bytes(b"x")
    library = Folder(database, tmp_path / "p")
    library.scan(nas)
    assert library.mounts() == {""}
    disk.unmount()
    report = library.scan()
    assert (report.new, report.gone) == (1, 0)
    only_problem(report, nas)


def test_a_root_whose_disk_is_away_is_unavailable_although_a_file_is_in_its_folder(database, tmp_path, disk):
    library = Folder(database, disk.mount(tmp_path / "p"), "a.jpg")
    library.scan()
    disk.unmount()
    library.file("thumbs.jpg")
    with pytest.raises(RootUnavailable, match="p is no longer a disk or share"):
        library.scan()
    assert library.gone() == set()


def test_where_nothing_can_be_mounted_the_decision_is_the_same(database, tmp_path, monkeypatch):
    """Of a folder that pretends to be a disk, as tests of other users see no real one."""
    mounted = {str(tmp_path / "p" / "nas")}
    for module in (files, folders):
        monkeypatch.setattr(module, "is_mount_point", lambda folder: str(folder).rstrip("/") in mounted)
    library = Folder(database, tmp_path / "p", "local.jpg")
    photo = library.file("nas/a.jpg")
    library.scan()
    mounted.clear()
    photo.unlink()
    report = library.scan()
    assert report.gone == 0
    only_problem(report, photo.parent)


def test_a_job_that_waits_for_a_disk_goes_on_when_it_is_back(library, sweeper, tmp_path):
    """Another disk that is away does not stop it."""
    usb = Disk(tmp_path / "usb")
    usb.mount(library.path / "usb")
    library.file("usb/c.jpg")
    library.scan()
    photo_id = read_scalar(library.database, select(photos.c.id).where(photos.c.path == "nas/a.jpg"))
    job = library.ledger.job(0, photo_ids=[photo_id])
    library.disk.unmount()
    usb.close()
    suspend_for_root(library.database, job, "p/nas")
    sweeper.sweep()
    assert library.ledger.progress(job).state is JobState.WAITING
    library.disk.mount(library.nas)
    sweeper.sweep()
    assert library.ledger.progress(job).state is JobState.QUEUED


def become_link(library: Library, target: Path) -> None:
    """Scan a folder `trip` with a photo, and move it to another disk, with a link in its place."""
    library.file("trip/c.jpg")
    library.scan()
    shutil.move(library.path / "trip", target)
    (library.path / "trip").symlink_to(target)


def test_a_folder_that_became_a_link_is_named_and_its_photos_wait(library, tmp_path):
    become_link(library, tmp_path / "big")
    (tmp_path / "big" / "c.jpg").rename(tmp_path / "big" / "renamed.jpg")
    report = library.scan()
    assert (report.found, report.gone, report.problems) == (3, 0, [])
    (line,) = report.other_files.copies_lines()
    assert f"{library.path / 'trip'} to {tmp_path / 'big'}" in line
    selected, report = library.select()
    assert selected == 3
    text = only_problem(report, library.path / "trip")
    assert text.startswith(f"It is now a link to {tmp_path / 'big'}, which is not followed")


def test_forget_takes_out_what_was_stored_in_place_of_a_link(library, tmp_path):
    become_link(library, tmp_path / "big")
    library.scan(tmp_path / "big")
    assert forget_path(library.database, library.path / "trip", {}) == 1
    assert library.select()[0] == 4
    assert forget_path(library.database, library.path / "trip", {}) == 1, "now that of the link's target"
    library.scan()
    assert library.select()[1].problems == []


def test_a_link_marks_nothing_as_gone_until_its_folder_is_back(library, tmp_path):
    become_link(library, tmp_path / "big")
    shutil.rmtree(tmp_path / "big")
    assert library.scan().gone == 0
    assert library.gone() == set()
    library.scan()
    (library.path / "trip").unlink()
    library.file("trip/other.jpg")
    report = library.scan()
    assert (report.new, report.gone, report.problems) == (1, 1, [])
    assert library.mounts() == {"nas"}


@pytest.mark.parametrize("order", [("a/b/c", "a/b", "a"), ("a/b/c", "a"), ("a", "a/b", "a/b/c", "a")])
def test_photos_of_a_folder_that_is_tagged_before_those_around_it_may_be_replaced(database, tmp_path, order):
    folder = Folder(database, tmp_path, "a/b/c/1.jpg", "a/2.jpg")
    *before, last = (tmp_path / name for name in order)
    for path in before:
        folder.scan(path)
    (tmp_path / "a/b/c/1.jpg").rename(tmp_path / "a/b/c/3.jpg")
    report = folder.scan(last)
    assert (report.gone, report.problems) == (1, [])
    assert folder.gone() == {"b/c/1.jpg"}
    assert folder.mounts() == set()


@pytest.mark.parametrize("name", ["phone", os.fsdecode(b"phone\xfe")])
def test_a_folder_that_is_away_when_the_one_around_it_is_tagged_waits_for_files(database, tmp_path, name):
    """It may be a disk that no scan has seen, or a folder whose photos were deleted."""
    folder = Folder(database, tmp_path / "p", f"{name}/a.jpg", "local.jpg")
    phone = folder.path / name
    folder.scan(phone)
    shutil.rmtree(phone)
    for step in (lambda: None, phone.mkdir):
        step()
        report = folder.scan()
        assert report.gone == 0
        assert only_problem(report, phone).startswith("It is empty or missing")
        assert folder.select()[0] == 1
    folder.file(f"{name}/other.jpg")
    report = folder.scan()
    assert (report.new, report.gone, report.problems) == (1, 1, [])
    assert folder.mounts() == set()


@pytest.mark.parametrize("first", ["nas/trips/a.jpg", "nas/trips"])
def test_a_disk_of_which_a_part_was_tagged_is_known_once_the_folder_around_it_was_scanned(
    database, tmp_path, disk, first
):
    folder = Folder(database, tmp_path / "p", "local.jpg")
    nas = disk.mount(folder.path / "nas")
    folder.file("nas/trips/a.jpg")
    folder.scan(folder.path / first)
    disk.unmount()
    assert folder.scan().gone == 0
    disk.mount(nas)
    assert folder.scan().problems == []
    assert folder.mounts() == {"nas"}
    disk.unmount()
    folder.file("nas/other.jpg")
    report = folder.scan()
    assert (report.found, report.gone) == (1, 0)
    only_problem(report, nas)


def test_a_disk_whose_folder_is_left_out_of_the_scan_is_recorded(database, tmp_path, disk):
    folder = Folder(database, tmp_path / "p", "local.jpg")
    nas = disk.mount(folder.path / "nas")
    folder.scan(folder.file("nas/a.jpg"))
    folder.scan(exclude=["nas"])
    assert folder.mounts() == {"nas"}
    disk.unmount()
    folder.file("nas/other.jpg")
    assert folder.scan().gone == 0
    assert nas.is_dir()


def test_a_record_of_a_folder_that_was_never_mounted_is_dropped(database, tmp_path):
    folder = Folder(database, tmp_path / "p", "phone/a.jpg", "phone/b.jpg")
    folder.scan()
    with database.write() as connection:
        root_id = connection.scalar(select(photos.c.root_id))  # the ledger has a root of its own, too
        connection.execute(insert(mounts).values(root_id=root_id, path="phone", path_bytes=b""))
    (folder.path / "phone/a.jpg").unlink()
    report = folder.scan()
    assert (report.gone, report.problems) == (1, [])
    assert folder.mounts() == set()


def test_links_inside_the_root_and_to_files_are_not_named(library, tmp_path):
    (library.path / "album").symlink_to(library.path / "nas")
    (library.path / "note").symlink_to(__file__)
    assert library.scan().other_files.copies_lines() == []
