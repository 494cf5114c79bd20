"""Failures that can pass are tried again by themselves, after growing pauses and at most so often."""

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from support.clocks import clock_ahead
from support.colour_folders import TaggedFolder

from tagger.database.connection import Database
from tagger.database.enums import Priority
from tagger.database.tables import photos
from tagger.errors import RETRY_PAUSES, FailureKind
from tagger.jobs.enqueue.submission import Backfill, BackfillScope, count_photos, submit
from tagger.ledger.jobs import InferenceOptions
from tagger.photos import files

Fail = Callable[[int], None]


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> TaggedFolder:
    return TaggedFolder(database, tmp_path)


@pytest.fixture
def fail_reads(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Let photos fail with this error when they are opened; with 0 no more."""

    def fail(number: int) -> None:
        def refuse(path: Path, _root: Path) -> int:
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.undo() if not number else monkeypatch.setattr(files, "open_photo", refuse)

    return fail


class Nights:
    """Runs the line that the docs give for every night."""

    def __init__(self, folder: TaggedFolder) -> None:
        self.folder = folder

    def run(self) -> dict[str, str]:
        """Returns the outcome of each photo that was processed."""
        folder = self.folder
        request = Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,))
        job, _ = submit(folder.database, folder.page_settings, request, Priority.BULK, local=True)
        folder.run(job)
        return folder.outcomes(job)

    def count(self) -> int:
        inference = InferenceOptions(self.folder.model.id, 5, 0.5)
        return count_photos(self.folder.database, Backfill(BackfillScope.UNTAGGED), inference, {})

    def pass_time(self, pause: timedelta) -> None:
        """Let the next try of all photos come nearer."""
        for failing in self.folder.failing():
            retry_at = self.folder.photo(failing.path).retry_at
            with self.folder.database.write() as connection:
                earlier = None if retry_at is None else retry_at - pause
                connection.execute(update(photos).values(retry_at=earlier))


@pytest.mark.postgresql
def test_a_photo_that_could_not_be_reached_is_tagged_in_the_next_night(
    folder: TaggedFolder, fail_reads: Fail
) -> None:
    folder.draw("a.jpg")
    nights = Nights(folder)
    fail_reads(errno.ESTALE)
    assert nights.run() == {"a.jpg": "failed"}
    (failing,) = folder.failing()
    assert failing.kind == FailureKind.UNREACHABLE
    fail_reads(0)
    assert nights.count() == 1
    assert nights.run() == {"a.jpg": "tagged"}
    assert folder.failing() == []
    photo = folder.photo("a.jpg")
    assert (photo.retry_at, photo.failure_attempts) == (None, None)


def test_the_clock_of_a_machine_does_not_decide_when_a_photo_is_tried_again(
    folder: TaggedFolder, fail_reads: Fail
) -> None:
    folder.draw("a.jpg")
    nights = Nights(folder)
    fail_reads(errno.EIO)
    with clock_ahead(timedelta(days=9)):
        nights.run()
        nights.run()
        assert nights.count() == 0
    retry_at = folder.photo("a.jpg").retry_at
    assert abs(retry_at - datetime.now(UTC) - RETRY_PAUSES[1]) < timedelta(minutes=1)


def test_pauses_grow_and_at_last_the_failure_is_final(folder: TaggedFolder, fail_reads: Fail) -> None:
    folder.draw("a.jpg")
    nights = Nights(folder)
    fail_reads(errno.EIO)
    for pause in (*RETRY_PAUSES, None):
        assert nights.run() == {"a.jpg": "failed"}
        retry_at = folder.photo("a.jpg").retry_at
        if pause is None:
            assert retry_at is None
        else:
            assert abs(retry_at - datetime.now(UTC) - pause) < timedelta(minutes=1)
            nights.pass_time(pause - timedelta(minutes=1))
            assert nights.run() == {} or pause < timedelta(minutes=1)
            nights.pass_time(timedelta(minutes=1))
    nights.pass_time(timedelta(days=1000))
    assert nights.run() == {}
    fail_reads(0)
    assert folder.tag() == {"a.jpg": "tagged"}, "where somebody asks, it is tried"


def test_a_failure_that_cannot_pass_is_tried_again_when_the_file_changes(folder: TaggedFolder) -> None:
    """A copy that broke off, and is complete the next night."""
    complete = folder.draw("a.jpg").read_bytes()
    (folder.folder / "a.jpg").write_bytes(complete[:20])
    nights = Nights(folder)
    assert nights.run() == {"a.jpg": "failed"}
    assert nights.run() == {}
    (folder.folder / "a.jpg").write_bytes(complete)
    assert nights.run() == {"a.jpg": "tagged"}


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ESTALE, FailureKind.UNREACHABLE, "share or server does not answer"),
        (errno.EIO, FailureKind.UNREACHABLE, "Its disk fails"),
        (errno.ENOTCONN, FailureKind.UNREACHABLE, "share or server does not answer"),
        (errno.EHOSTDOWN, FailureKind.UNREACHABLE, "share or server does not answer"),
        (errno.ETIMEDOUT, FailureKind.UNREACHABLE, "share or server does not answer"),
        (errno.ENODEV, FailureKind.UNREACHABLE, "mount it again"),
        (errno.EBUSY, FailureKind.UNREACHABLE, "Another program uses it"),
        (errno.EMFILE, FailureKind.UNREACHABLE, "the system is short of"),
        (errno.EACCES, FailureKind.UNREADABLE, "Give this user the right"),
    ],
)
def test_an_error_of_the_system_says_what_it_is(
    folder: TaggedFolder, fail_reads: Fail, number: int, kind: FailureKind, remedy: str
) -> None:
    folder.draw("a.jpg")
    fail_reads(number)
    folder.tag()
    (failing,) = folder.failing()
    assert failing.kind == kind
    assert remedy in failing.text
