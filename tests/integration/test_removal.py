"""Removing photos from the database: verdicts and files stay."""

import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update
from support.colour_folders import TaggedFolder
from support.threads import in_threads

from tagger.database.enums import JobState
from tagger.database.tables import contents, landmarks, photos, roots, tags, verdicts
from tagger.errors import PhotoNotFound
from tagger.jobs.processing.chunk_runner import StoredBatch
from tagger.roots import roots as roots_module
from tagger.roots.roots import forget_path
from tagger.tags.settlement import settle
from tagger.transfer import check_database


def forget(folder: TaggedFolder, path: Path, *, dry_run: bool = False) -> int:
    return forget_path(folder.database, path, {}, dry_run=dry_run)


def confirm(folder: TaggedFolder, name: str) -> None:
    with folder.database.write() as connection:
        landmark = connection.scalar(select(landmarks.c.id).limit(1))
        content_id = connection.scalar(select(photos.c.content_id).where(photos.c.path == name))
        row = {"content_id": content_id, "landmark_id": landmark, "verdict": "confirmed"}
        connection.execute(insert(verdicts).values(**row, given_at=datetime.now(UTC)))
        settle(connection, [content_id or 0])


def test_photos_and_their_contents_are_removed_but_not_those_with_verdicts(folder: TaggedFolder) -> None:
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


def test_roots_inside_the_folder_are_removed(folder: TaggedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots_module, "PAGE", 2)
    for name in ("one/a.jpg", "one/b.jpg", "one/c.jpg", "two/d.jpg"):
        folder.draw(name, shade=ord(name[4]) - 97)
    folder.tag(folder.folder / "one")
    folder.tag(folder.folder / "two")
    assert forget(folder, folder.folder) == 4
    assert (folder.count(photos), folder.count(roots), folder.count(contents)) == (0, 0, 0)


def test_a_root_whose_removal_was_killed_is_removed_the_next_time(
    folder: TaggedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_only_photos_below_the_folder_are_removed(folder: TaggedFolder) -> None:
    for name in ("a/x.jpg", "a b/x.jpg", "a-b.jpg", "a0/x.jpg", "a.jpg"):
        folder.draw(name)
    folder.tag()
    assert forget(folder, folder.folder / "a") == 1
    with folder.database.read() as connection:
        assert sorted(connection.scalars(select(photos.c.path))) == [
            "a b/x.jpg",
            "a-b.jpg",
            "a.jpg",
            "a0/x.jpg",
        ]


@pytest.mark.postgresql
def test_a_non_utf8_name_is_distinct_from_its_escaped_form(folder: TaggedFolder) -> None:
    path = folder.draw("x\\xff.jpg")
    odd = folder.folder / os.fsdecode(b"x\xff.jpg")
    shutil.copy(path, odd)
    folder.tag(path)
    folder.tag(odd)
    assert folder.count(photos) == 2
    assert forget(folder, odd) == 1
    with folder.database.read() as connection:
        assert connection.scalars(select(photos.c.path_bytes)).all() == [b""]


def test_unknown_paths_raise_an_error(folder: TaggedFolder) -> None:
    folder.draw("a.jpg")
    folder.tag()
    for path in (folder.folder / "b.jpg", folder.folder.with_name("other"), folder.folder / "empty" / "sub"):
        with pytest.raises(PhotoNotFound):
            forget(folder, path)


def test_missing_files_can_be_removed(folder: TaggedFolder) -> None:
    folder.draw("sub/a.jpg")
    folder.draw("b.jpg", shade=1)
    folder.tag()
    shutil.rmtree(folder.folder / "sub")
    assert forget(folder, folder.folder / "sub") == 1
    shutil.rmtree(folder.folder)
    assert forget(folder, folder.folder) == 1


def test_items_of_removed_photos_are_skipped(folder: TaggedFolder) -> None:
    folder.draw("a.jpg")
    folder.draw("sub/b.jpg", shade=1)
    job = folder.record()
    forget(folder, folder.folder / "sub")
    progress = folder.run(job)
    assert (progress.state, progress.tagged, progress.skipped) == (JobState.FINISHED, 1, 1)


@pytest.mark.postgresql
def test_photos_that_are_removed_while_they_are_classified_leave_no_image(
    folder: TaggedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagger.jobs.processing.classification.STORE_PHOTOS", 8)
    for number in range(24):
        folder.draw(f"{number:02}.jpg", shade=number)
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
def test_an_image_that_is_stored_while_its_photo_is_removed_goes_too(folder: TaggedFolder) -> None:
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
def test_concurrent_removal_tagging_and_scanning(
    folder: TaggedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots_module, "PAGE", 7)
    monkeypatch.setattr("tagger.jobs.enqueue.scan.PAGE", 10)
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
