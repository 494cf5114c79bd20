"""Roots: the outermost folders; moved, unavailable, absorbed; and photos that are removed from the database."""

import os
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update
from support.colour_folders import TaggedFolder
from support.databases import read_scalars
from support.threads import in_threads

from tagger import roots as roots_module
from tagger.database import JobState
from tagger.database.connection import Database
from tagger.database.tables import contents, landmarks, photos, roots, tags, verdicts
from tagger.errors import PhotoNotFound, RootUnavailable
from tagger.jobs.processing.chunk_runner import StoredBatch
from tagger.photos import files
from tagger.photos.files import MountState
from tagger.photos.paths import path_from_text, path_text
from tagger.roots import count_root_photos, ensure_root, find_root, forget_path, list_roots
from tagger.roots.availability import unavailable_below, unavailable_folders
from tagger.tags.settlement import settle
from tagger.transfer import check_database


def ensure(database: Database, folder: Path, root_paths: dict[str, Path] | None = None) -> roots_module.Root:
    with database.write() as connection:
        return ensure_root(connection, folder, root_paths or {})


def add(database: Database, root: roots_module.Root, *names: str | bytes) -> None:
    with database.write() as connection:
        for name in names:
            text, raw = path_text(os.fsdecode(name))
            row = {"root_id": root.id, "path": text, "path_bytes": raw, "size_bytes": 1, "mtime_ns": 1}
            connection.execute(insert(photos).values(row))


def stored_paths(database: Database) -> set[str]:
    with database.read() as connection:
        by_id = {root.id: root for root in list_roots(connection, {})}
        return {
            str(by_id[row.root_id].path_of(row.path, row.path_bytes))
            for row in connection.execute(select(photos))
        }


def test_a_folder_inside_a_root_belongs_to_it(database, tmp_path):
    root = ensure(database, tmp_path / "photos")
    assert ensure(database, tmp_path / "photos" / "2019") == root
    assert ensure(database, tmp_path / "photos") == root
    other = ensure(database, tmp_path / "photos-2")
    assert (root.name, other.name) == ("photos", "photos-2")
    assert other.id != root.id


def test_roots_with_the_same_name_are_numbered(database, tmp_path):
    names = [ensure(database, tmp_path / str(number) / "photos").name for number in range(3)]
    assert names == ["photos", "photos-2", "photos-3"]
    assert ensure(database, Path("/")).name == "root"


def test_a_new_root_does_not_take_a_name_from_the_settings(database, tmp_path):
    root_paths = {"photos": tmp_path / "mnt" / "photos"}
    assert ensure(database, tmp_path / "home" / "photos", root_paths).name == "photos-2"
    assert ensure(database, tmp_path / "mnt" / "photos", root_paths).name == "photos"


@pytest.mark.parametrize("page", [2, *(pytest.param(page, marks=pytest.mark.slow) for page in (1, 1000))])
def test_a_new_root_absorbs_the_roots_inside_it(database, tmp_path, monkeypatch, page):
    monkeypatch.setattr(roots_module, "PAGE", page)
    odd = tmp_path / os.fsdecode(b"odd\xfe")
    add(database, ensure(database, tmp_path / "a" / "b"), "1.jpg", b"\xff.jpg", "sub/2.jpg", b"sub\xfd/3.jpg")
    add(database, ensure(database, odd), "4.jpg", b"\xfc.jpg", "%d/5.jpg")
    add(database, ensure(database, tmp_path / "c'%s"), "6.jpg")
    add(database, ensure(database, tmp_path.parent / "elsewhere"), "7.jpg")
    before = stored_paths(database)
    assert len(before) == 9
    parent = ensure(database, tmp_path)
    assert stored_paths(database) == before
    with database.read() as connection:
        assert len(list_roots(connection, {})) == 2
        assert count_root_photos(connection, parent) == 8
        rows = connection.execute(select(photos).where(photos.c.root_id == parent.id)).all()
    for row in rows:
        path = path_from_text(row.path, row.path_bytes)
        assert path_text(path) == (row.path, row.path_bytes)


def test_settings_map_roots_whose_folder_is_missing_or_empty(database, tmp_path):
    root = ensure(database, tmp_path / "server" / "library")
    root_paths = {"library": tmp_path / "mnt" / "library"}
    with database.read() as connection:
        (by_id,) = list_roots(connection, root_paths)
        assert by_id.folder == root_paths["library"]
        root_here = find_root(connection, root_paths["library"] / "a.jpg", root_paths)
        assert root_here.id == root.id
        assert find_root(connection, tmp_path / "server" / "library" / "a.jpg", root_paths) is None
    assert ensure(database, root_paths["library"] / "sub", root_paths).id == root.id
    root = ensure(database, tmp_path / "photos")

    def is_unavailable() -> bool:
        with database.read() as connection:
            return [each.folder for each in unavailable_folders(connection, [root])] == [root.folder]

    assert is_unavailable()
    root.folder.mkdir()
    assert not is_unavailable()
    add(database, root, "share/a.jpg")
    assert is_unavailable()
    (root.folder / "other.txt").touch()
    (root.folder / "share").mkdir()
    assert not is_unavailable()
    with database.read() as connection:
        assert unavailable_below(connection, root, root.folder) == []
        with pytest.raises(RootUnavailable, match="share is empty or missing"):
            unavailable_below(connection, root, root.folder / "share")
        assert count_root_photos(connection, root, root.folder / "share") == 1
        assert count_root_photos(connection, root, root.folder / "shar") == 0


def test_a_share_that_is_mounted_again_is_found_although_the_first_check_still_hangs(tmp_path, monkeypatch):
    dead, answers, list_folder = {tmp_path}, threading.Event(), os.scandir

    def scandir(folder: Path) -> object:
        if folder in dead:
            answers.wait()
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(files, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(files, "RETRY_S", 0.3)
    assert files.check_mount(tmp_path).state is MountState.SILENT
    dead.clear()
    time.sleep(0.3)
    monkeypatch.setattr(files, "TIMEOUT_S", 60.0)
    assert files.check_mount(tmp_path).state is MountState.EMPTY
    answers.set()


@pytest.mark.postgresql
def test_a_parent_and_its_children_added_concurrently_become_one_root(database, tmp_path):
    for number in range(5):
        base = tmp_path / str(number)
        folders = [base, base / "a", base / "a" / "b", base / "c", base]
        in_threads([lambda folder=folder: ensure(database, folder) for folder in folders])
        locations = read_scalars(database, select(roots.c.location))
        assert [path for path in locations if Path(path).is_relative_to(base)] == [str(base)]


def forget(folder: TaggedFolder, path: Path, *, dry_run: bool = False) -> int:
    return forget_path(folder.database, path, {}, dry_run=dry_run)


def confirm(folder: TaggedFolder, name: str) -> None:
    with folder.database.write() as connection:
        landmark = connection.scalar(select(landmarks.c.id).limit(1))
        content_id = connection.scalar(select(photos.c.content_id).where(photos.c.path == name))
        row = {"content_id": content_id, "landmark_id": landmark, "verdict": "confirmed"}
        connection.execute(insert(verdicts).values(**row, given_at=datetime.now(UTC)))
        settle(connection, [content_id or 0])


def test_photos_and_their_contents_are_removed_but_not_those_with_verdicts(folder):
    folder.draw("a.jpg", 0)
    folder.draw("sub/b.jpg", 1)
    folder.draw("sub/confirmed.jpg", 2)
    shutil.copy(folder.folder / "a.jpg", folder.folder / "sub" / "copy.jpg")
    folder.tag()
    confirm(folder, "sub/confirmed.jpg")
    assert forget(folder, folder.folder / "sub", dry_run=True) == 3
    assert folder.count(photos) == 4
    assert forget(folder, folder.folder / "sub") == 3
    assert (folder.count(photos), folder.count(contents), folder.count(verdicts)) == (1, 2, 1)
    assert forget(folder, folder.folder / "a.jpg") == 1
    assert (folder.count(photos), folder.count(contents), folder.count(tags)) == (0, 1, 3)
    assert folder.count(roots) == 0
    assert (folder.folder / "sub" / "confirmed.jpg").exists()
    assert set(folder.tag().values()) == {"tagged"}
    assert folder.count(verdicts) == 1


def test_roots_inside_the_folder_are_removed(folder, monkeypatch):
    monkeypatch.setattr(roots_module, "PAGE", 2)
    for name in ("one/a.jpg", "one/b.jpg", "one/c.jpg", "two/d.jpg"):
        folder.draw(name, shade=ord(name[4]) - 97)
    folder.tag(folder.folder / "one")
    folder.tag(folder.folder / "two")
    assert forget(folder, folder.folder) == 4
    assert (folder.count(photos), folder.count(roots), folder.count(contents)) == (0, 0, 0)


def test_a_root_whose_removal_was_killed_is_removed_the_next_time(folder, monkeypatch):
    folder.draw("a.jpg")
    folder.tag()
    remove_page = roots_module._remove_page

    def remove_page_or_end(*arguments: Any) -> int:
        return remove_page(*arguments) or sys.exit()

    with monkeypatch.context() as killed:
        killed.setattr(roots_module, "_remove_page", remove_page_or_end)
        with pytest.raises(SystemExit):
            forget(folder, folder.folder)
    assert (folder.count(photos), folder.count(roots)) == (0, 1)
    assert forget(folder, folder.folder) == 0
    assert folder.count(roots) == 0
    with pytest.raises(PhotoNotFound):
        forget(folder, folder.folder)


@pytest.mark.postgresql
def test_only_photos_below_the_folder_are_removed(folder):
    for name in ("a/x.jpg", "a b/x.jpg", "a-b.jpg", "a0/x.jpg", "a.jpg"):
        folder.draw(name)
    folder.tag()
    assert forget(folder, folder.folder / "a") == 1
    left = sorted(read_scalars(folder.database, select(photos.c.path)))
    assert left == ["a b/x.jpg", "a-b.jpg", "a.jpg", "a0/x.jpg"]


@pytest.mark.postgresql
def test_a_non_utf8_name_is_distinct_from_its_escaped_form(folder):
    path = folder.draw("x\\xff.jpg")
    odd = folder.folder / os.fsdecode(b"x\xff.jpg")
    shutil.copy(path, odd)
    folder.tag(path)
    folder.tag(odd)
    assert folder.count(photos) == 2
    assert forget(folder, odd) == 1
    assert read_scalars(folder.database, select(photos.c.path_bytes)) == [b""]


def test_unknown_paths_raise_an_error(folder):
    folder.draw("a.jpg")
    folder.tag()
    for path in (folder.folder / "b.jpg", folder.folder.with_name("other"), folder.folder / "empty" / "sub"):
        with pytest.raises(PhotoNotFound):
            forget(folder, path)


def test_missing_files_can_be_removed(folder):
    folder.draw("sub/a.jpg")
    folder.draw("b.jpg", shade=1)
    folder.tag()
    shutil.rmtree(folder.folder / "sub")
    assert forget(folder, folder.folder / "sub") == 1
    shutil.rmtree(folder.folder)
    assert forget(folder, folder.folder) == 1


def test_items_of_removed_photos_are_skipped(folder):
    folder.draw("a.jpg")
    folder.draw("sub/b.jpg", shade=1)
    job = folder.record()
    forget(folder, folder.folder / "sub")
    progress = folder.run(job)
    assert (progress.state, progress.tagged, progress.skipped) == (JobState.FINISHED, 1, 1)


@pytest.mark.postgresql
def test_photos_that_are_removed_while_they_are_classified_leave_no_image(folder, monkeypatch):
    monkeypatch.setattr("tagger.jobs.processing.classification.STORE_PHOTOS", 8)
    folder.draw_many(24)
    job = folder.record()

    def forget_all(_stored: StoredBatch) -> None:
        with suppress(PhotoNotFound):
            forget(folder, folder.folder)

    progress = folder.run(job, forget_all)
    assert (progress.state, progress.tagged + progress.skipped) == (JobState.FINISHED, 24)
    assert progress.skipped >= 8
    assert folder.count(contents) == 0
    assert list(check_database(folder.database)) == []


@pytest.mark.postgresql
def test_an_image_that_is_stored_while_its_photo_is_removed_goes_too(folder):
    folder.draw("a.jpg")
    folder.record()
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with ThreadPoolExecutor() as pool:
        with folder.database.write() as connection:
            image = connection.scalar(insert(contents).values(digest="1-a").returning(contents.c.id))
            connection.execute(update(photos).values(content_id=image))
            removed = pool.submit(forget, folder, folder.folder)
            while not folder.database.is_sqlite and not connection.scalar(waiting):
                time.sleep(0.01)
        assert removed.result() == 1
    assert folder.count(contents) == 0


@pytest.mark.postgresql
def test_concurrent_removal_tagging_and_scanning(folder, monkeypatch):
    monkeypatch.setattr(roots_module, "PAGE", 7)
    monkeypatch.setattr("tagger.jobs.enqueue.selection.PAGE", 10)
    first = folder.draw("a.jpg")
    for number in range(15):
        if number % 3:
            folder.draw(f"sub/{number:02}.jpg", shade=number)
        else:
            (folder.folder / "sub").mkdir(exist_ok=True)
            shutil.copy(first, folder.folder / "sub" / f"{number:02}.jpg")
    folder.record()

    def tag() -> None:
        for _ in range(3):
            job = folder.record(reprocess=True)
            progress = folder.run(job)
            assert progress.state is JobState.FINISHED
            assert progress.failed == 0

    def forget_often() -> None:
        for _ in range(12):
            with suppress(PhotoNotFound):
                forget(folder, folder.folder / "sub")

    in_threads([tag, forget_often])
    folder.tag()
    outcomes = folder.tag()
    assert len(outcomes) == 16
    assert set(outcomes.values()) == {"skipped"}
