"""Requests become jobs: their options, their photos, their notes; what is not possible becomes none."""

import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from support.colour_folders import TaggedFolder
from support.written_folder import EMBED, WrittenFolder

from tagger.database.connection import Database
from tagger.database.enums import JobState, Priority, Runner, Target
from tagger.database.tables import job_items, jobs, photos
from tagger.errors import (
    EmbeddingsMissing,
    JobNotFound,
    JobNotRetriable,
    LandmarkNotFound,
    ObjectUnsupported,
    PathNotFound,
    RootUnavailable,
    TaggerError,
)
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope, backfill_from_options, backfill_options
from tagger.jobs.enqueue.metadata_jobs import Undo, Write
from tagger.jobs.enqueue.scan import ScanReport, Selection, select_paths
from tagger.jobs.enqueue.submission import MOST_PATHS, JobRequest, MetadataOptions, Retry, Tagging, submit
from tagger.ledger.items import FailureFilter
from tagger.ledger.job_control import cancel, list_jobs, pause, tag_job_paths
from tagger.photos.paths import ObjectPath
from tagger.query.options import PhotoQuery
from tagger.settings import Settings

NOT_UTF8 = pytest.mark.skipif(
    sys.platform == "darwin", reason="its file systems refuse names that are not UTF-8"
)


@pytest.fixture
def settings(folder: TaggedFolder) -> Settings:
    return Settings(data_folder=folder.folder.parent / "data", model=str(folder.model.file), top_k=2)


def stored_options(database: Database, job: int) -> dict[str, object]:
    with database.read() as connection:
        options: dict[str, object] = connection.execute(
            select(jobs.c.options).where(jobs.c.id == job)
        ).scalar_one()
    return options


def test_tag_job_has_the_options_of_the_settings_and_the_photos_of_its_paths(
    folder: TaggedFolder, settings: Settings
) -> None:
    inside, single = folder.draw("2024/a.jpg"), folder.draw("b.jpg", 1)
    write = MetadataOptions(Target.SIDECAR)
    request = Tagging(select_paths([inside.parent, single]), reprocess=True, write=write)
    job, report = submit(folder.database, settings, request, Runner.WORKERS, Priority.INTERACTIVE)
    with folder.database.read() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == job)).one()
    assert (row.model_id, row.top_k, row.reprocess, row.runner, row.priority) == (
        folder.model.id,
        2,
        True,
        "workers",
        "interactive",
    )
    assert row.options == {"paths": [str(inside.parent), str(single)], **write.to_job_options()}
    progress = folder.progress(job)
    assert (report.found, progress.total, progress.note) == (2, 2, None)


@NOT_UTF8
def test_tag_job_stores_a_path_that_is_not_utf8_as_plain_json(
    folder: TaggedFolder, settings: Settings
) -> None:
    odd = folder.folder / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    (folder.draw("a.jpg")).rename(odd / "a.jpg")
    job, _ = submit(folder.database, settings, Tagging(select_paths([odd])), Runner.LOCAL)
    options = stored_options(folder.database, job)
    json.dumps(options, ensure_ascii=False).encode()  # raises if a name is not UTF-8
    assert options == {"paths": [{"text": str(folder.folder) + "/caf\\xe9", "bytes": os.fsencode(odd).hex()}]}
    assert tag_job_paths(options) == [odd]


@NOT_UTF8
def test_backfill_options_keep_a_path_that_is_not_utf8() -> None:
    odd = Path(os.fsdecode(b"/photos/caf\xe9"))
    backfill = Backfill(BackfillScope.ALL, PhotoQuery(under=(odd,)), scan=(odd, Path("/photos/2024")))
    assert backfill_from_options("all", stored(backfill)) == backfill


def stored(backfill: Backfill) -> dict[str, Any]:
    options: dict[str, Any] = json.loads(json.dumps(backfill_options(backfill), ensure_ascii=False).encode())
    return options


@pytest.mark.parametrize(
    "options",
    [{"unknown": True}, {"share": 1}, {"landmark": 1}, {"landmark": [1]}, {"year": ["May"]}, {"job": True},
     {"job": 0},
     {"near": "north"}, {"taken_after": "2019-01-01T00:00Z"}, {"under": {}}, {"min_score": 2},
     {"scan": "/photos"}],
)  # fmt: skip
def test_options_that_no_backfill_stores_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        backfill_from_options("all", options)


def test_tag_job_records_only_its_first_paths(folder: TaggedFolder, settings: Settings) -> None:
    selection = Selection((), tuple(folder.folder / f"{number}.jpg" for number in range(MOST_PATHS + 1)))
    options = Tagging(selection).new_job(folder.database, settings).options or {}
    assert tag_job_paths(options) == list(selection.files[:MOST_PATHS])


def test_tag_job_notes_that_there_are_no_photos(folder: TaggedFolder, settings: Settings) -> None:
    job, _ = submit(folder.database, settings, Tagging(select_paths([folder.folder])), Runner.LOCAL)
    assert folder.progress(job).note == "no photos were found there"


UNTAGGED = Backfill(BackfillScope.UNTAGGED)


@pytest.mark.postgresql
def test_jobs_that_start_at_once_take_each_photo_once(folder: TaggedFolder, settings: Settings) -> None:
    for number in range(30):
        folder.draw(f"{number}.jpg", shade=number)
    first = folder.record(runner=Runner.WORKERS, top_k=2)
    cancel(folder.database, first)
    barrier = threading.Barrier(3)

    def start(request: JobRequest) -> tuple[int, ScanReport]:
        barrier.wait()
        return submit(folder.database, settings, request, Runner.WORKERS)

    requests = (UNTAGGED, UNTAGGED, Tagging(select_paths([folder.folder])))
    with ThreadPoolExecutor(3) as pool:
        started = list(pool.map(start, requests))
    with folder.database.read() as connection:
        query = select(job_items.c.photo_id).where(job_items.c.outcome.is_(None))
        assert sorted(connection.scalars(query)) == list(range(1, 31))
    for job, report in started:
        assert folder.progress(job).total + report.in_other_jobs.total() == 30


def test_a_job_notes_which_other_one_has_its_photos(folder: TaggedFolder, settings: Settings) -> None:
    folder.draw("a.jpg")
    other = folder.record(runner=Runner.WORKERS, top_k=2)
    job, _ = submit(folder.database, settings, Tagging(select_paths([folder.folder])), Runner.WORKERS)
    progress = folder.progress(job)
    assert (progress.state, progress.note) == (JobState.FINISHED, f"1 photo is in job {other} already")


@pytest.mark.parametrize(
    ("change", "is_left"),
    [
        ({}, True),
        ({"request": Retry(FailureFilter())}, True),
        ({"priority": Priority.INTERACTIVE}, False),
        ({"runner": Runner.LOCAL}, False),
        ({"top_k": 3}, False),
        ({"request": Backfill(BackfillScope.ALL)}, False),
        ({"request": Backfill(BackfillScope.UNTAGGED, write=EMBED)}, False),
        ({"is_paused": True}, False),
    ],
)
def test_a_job_leaves_photos_to_another_one_that_does_the_same(
    folder: TaggedFolder, settings: Settings, change: dict[str, Any], is_left: bool
) -> None:
    folder.draw("a.jpg")
    other = folder.record(runner=Runner.WORKERS, top_k=2)
    if change.pop("is_paused", False):
        pause(folder.database, other)
    with folder.database.write() as connection:
        connection.execute(update(photos).values(failure_kind="unreadable", retry_at=datetime.now(UTC)))
    settings = settings.model_copy(update={"top_k": change.pop("top_k", 2)})
    options = {"request": UNTAGGED, "runner": Runner.WORKERS, "priority": Priority.BULK} | change
    job, report = submit(folder.database, settings, **options)
    assert report.in_other_jobs == ({other: 1} if is_left else {})
    assert folder.progress(job).total == (0 if is_left else 1)


def test_a_changed_photo_is_in_a_new_job_too(folder: TaggedFolder, settings: Settings) -> None:
    photo = folder.draw("a.jpg")
    folder.record(runner=Runner.WORKERS, top_k=2)
    os.utime(photo, (0, 0))
    job, report = submit(folder.database, settings, Tagging(select_paths([photo])), Runner.WORKERS)
    assert (folder.progress(job).total, report.in_other_jobs) == (1, {})


@pytest.mark.parametrize(
    ("request_of", "error"),
    [
        (lambda folder: Tagging(select_paths([folder])), RootUnavailable),
        (lambda folder: Tagging(Selection((ObjectPath("s3://bucket/p"),), ()), write=EMBED), ObjectUnsupported),
        (lambda folder: Backfill(BackfillScope.ALL, scan=(folder / "no",)), PathNotFound),
        (lambda folder: Backfill(BackfillScope.ALL, scan=(folder,)), RootUnavailable),
        (lambda folder: Backfill(BackfillScope.ALL, PhotoQuery(landmark=("atlantis",))), LandmarkNotFound),
        (lambda folder: Backfill(BackfillScope.TAUGHT), EmbeddingsMissing),
        (lambda folder: Write(EMBED, PhotoQuery(landmark=("atlantis",))), LandmarkNotFound),
        (lambda folder: Undo(99), JobNotFound),
        (lambda folder: Retry(FailureFilter(99)), JobNotFound),
        (lambda folder: Retry(FailureFilter(2)), JobNotRetriable),
    ],
)  # fmt: skip
def test_a_request_that_is_not_possible_records_no_job(
    folder: WrittenFolder,
    settings: Settings,
    request_of: Callable[[Path], JobRequest],
    error: type[TaggerError],
) -> None:
    photo = folder.draw("a.jpg")
    folder.tag()
    folder.write()
    photo.unlink()  # the folder is empty, as if its disk was not mounted
    with pytest.raises(error):
        submit(folder.database, settings, request_of(folder.folder), Runner.WORKERS)
    assert [job.job for job in list_jobs(folder.database)] == [2, 1]
