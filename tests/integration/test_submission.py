"""Requests become jobs: their options, photos and notes; backfills select the right photos."""

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
from sqlalchemy import insert, select, update
from support.artifacts import tiny_artifact
from support.colour_folders import GATE, TaggedFolder
from support.databases import execute, read_row, read_scalar
from support.written_folder import EMBED

from tagger.database import JobState, Outcome, Priority, Runner, Target
from tagger.database.tables import cameras, job_items, jobs, landmarks, photos, positions, verdicts
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
from tagger.jobs.enqueue.metadata_jobs import Undo, Write
from tagger.jobs.enqueue.selection import ScanReport, Selection, select_paths
from tagger.jobs.enqueue.submission import (
    MOST_PATHS,
    Backfill,
    BackfillScope,
    JobRequest,
    MetadataOptions,
    Retry,
    Tagging,
    backfill_from_options,
    backfill_options,
    count_photos,
    submit,
)
from tagger.ledger import job_control
from tagger.ledger.items import FailureFilter
from tagger.ledger.job_control import cancel, list_jobs, pause, tag_job_paths
from tagger.photos.paths import ObjectPath
from tagger.query import BoundingBox
from tagger.query.details import photo_details
from tagger.query.options import PhotoQuery
from tagger.registry import add_model, use_models
from tagger.settings import Settings
from tagger.tags.settlement import settle

NOT_UTF8 = pytest.mark.skipif(
    sys.platform == "darwin", reason="its file systems refuse names that are not UTF-8"
)


@pytest.fixture
def tiny_settings(folder) -> Settings:
    return Settings(data_folder=folder.folder.parent / "data", model=str(folder.model.file), top_k=2)


def test_tag_job_has_the_options_of_the_settings_and_the_photos_of_its_paths(folder, tiny_settings):
    inside, single = folder.draw("2024/a.jpg"), folder.draw("b.jpg", 1)
    write = MetadataOptions(Target.SIDECAR)
    request = Tagging(select_paths([inside.parent, single]), reprocess=True, write=write)
    job, report = submit(folder.database, tiny_settings, request, Priority.INTERACTIVE)
    row = read_row(folder.database, select(jobs).where(jobs.c.id == job))
    of_settings = (row.model_id, row.top_k, row.reprocess, row.runner, row.priority)
    assert of_settings == (folder.model.id, 2, True, "workers", "interactive")
    assert row.options == {"paths": [str(inside.parent), str(single)], **write.to_job_options()}
    progress = folder.progress(job)
    assert (report.found, progress.total, progress.note) == (2, 2, None)


@NOT_UTF8
def test_tag_job_stores_a_path_that_is_not_utf8_as_plain_json(folder, tiny_settings):
    odd = folder.folder / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    (folder.draw("a.jpg")).rename(odd / "a.jpg")
    job, _ = submit(folder.database, tiny_settings, Tagging(select_paths([odd])), local=True)
    options = read_scalar(folder.database, select(jobs.c.options).where(jobs.c.id == job))
    json.dumps(options, ensure_ascii=False).encode()  # raises if a name is not UTF-8
    assert options == {"paths": [{"text": str(folder.folder) + "/caf\\xe9", "bytes": os.fsencode(odd).hex()}]}
    assert tag_job_paths(options) == [odd]


@NOT_UTF8
def test_backfill_options_keep_a_path_that_is_not_utf8():
    odd = Path(os.fsdecode(b"/photos/caf\xe9"))
    backfill = Backfill(BackfillScope.ALL, PhotoQuery(under=(odd,)), scan=(odd, Path("/photos/2024")))
    stored = json.dumps(backfill_options(backfill), ensure_ascii=False).encode()
    assert backfill_from_options("all", json.loads(stored)) == backfill


@pytest.mark.parametrize(
    "options",
    [{"unknown": True}, {"share": 1}, {"landmark": 1}, {"landmark": [1]}, {"year": ["May"]}, {"job": True},
     {"job": 0},
     {"near": "north"}, {"taken_after": "2019-01-01T00:00Z"}, {"under": {}}, {"min_score": 2},
     {"scan": "/photos"}],
)  # fmt: skip
def test_options_that_no_backfill_stores_are_refused(options):
    with pytest.raises(ValueError):
        backfill_from_options("all", options)


def test_a_job_records_its_first_paths_and_notes_what_it_leaves_to_others(folder, tiny_settings):
    selection = Selection((), tuple(folder.folder / f"{number}.jpg" for number in range(MOST_PATHS + 1)))
    options = Tagging(selection).new_job(folder.database, tiny_settings).options or {}
    assert tag_job_paths(options) == list(selection.files[:MOST_PATHS])
    job, _ = submit(folder.database, tiny_settings, Tagging(select_paths([folder.folder])), local=True)
    assert folder.progress(job).note == "no photos were found there"


UNTAGGED = Backfill(BackfillScope.UNTAGGED)


@pytest.mark.postgresql
def test_jobs_that_start_at_once_take_each_photo_once(folder, tiny_settings):
    folder.draw_many(30)
    first = folder.record(runner=Runner.WORKERS, top_k=2)
    cancel(folder.database, first)
    barrier = threading.Barrier(3)

    def start(request: JobRequest) -> tuple[int, ScanReport]:
        barrier.wait()
        return submit(folder.database, tiny_settings, request)

    requests = (UNTAGGED, UNTAGGED, Tagging(select_paths([folder.folder])))
    with ThreadPoolExecutor(3) as pool:
        started = list(pool.map(start, requests))
    with folder.database.read() as connection:
        query = select(job_items.c.photo_id).where(job_items.c.outcome.is_(None))
        assert sorted(connection.scalars(query)) == list(range(1, 31))
    for job, report in started:
        assert folder.progress(job).total + report.in_other_jobs.total() == 30


def test_photos_of_another_job_are_noted_and_changed_ones_taken(folder, tiny_settings):
    folder.draw("a.jpg")
    other = folder.record(runner=Runner.WORKERS, top_k=2)
    job, _ = submit(folder.database, tiny_settings, Tagging(select_paths([folder.folder])))
    progress = folder.progress(job)
    assert (progress.state, progress.note) == (JobState.FINISHED, f"1 photo is in job {other} already")
    photo = folder.draw("a.jpg")
    folder.record(runner=Runner.WORKERS, top_k=2)
    os.utime(photo, (0, 0))
    job, report = submit(folder.database, tiny_settings, Tagging(select_paths([photo])))
    assert (folder.progress(job).total, report.in_other_jobs) == (1, {})


@pytest.mark.parametrize(
    ("change", "is_left"),
    [
        ({}, True),
        ({"request": Retry(FailureFilter())}, True),
        ({"priority": Priority.INTERACTIVE}, False),
        ({"local": True}, False),
        ({"top_k": 3}, False),
        ({"request": Backfill(BackfillScope.ALL)}, False),
        ({"request": Backfill(BackfillScope.UNTAGGED, write=EMBED)}, False),
        ({"is_paused": True}, False),
    ],
)
def test_a_job_leaves_photos_to_another_one_that_does_the_same(folder, tiny_settings, change, is_left):
    folder.draw("a.jpg")
    other = folder.record(runner=Runner.WORKERS, top_k=2)
    change = dict(change)  # of both databases
    if change.pop("is_paused", False):
        pause(folder.database, other)
    failure = {"failure_kind": "unreadable", "retry_at": datetime.now(UTC)}
    execute(folder.database, update(photos).values(failure))
    tiny_settings = tiny_settings.model_copy(update={"top_k": change.pop("top_k", 2)})
    options = {"request": UNTAGGED, "priority": Priority.BULK} | change
    job, report = submit(folder.database, tiny_settings, **options)
    assert report.in_other_jobs == ({other: 1} if is_left else {})
    note = f"1 photo is in job {other} already" if is_left else None
    assert (folder.progress(job).total, folder.progress(job).note) == (0 if is_left else 1, note)


IMPOSSIBLE: tuple[tuple[Callable[[Path], JobRequest], type[TaggerError]], ...] = (
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
)  # fmt: skip


def test_a_request_that_is_not_possible_records_no_job(folder, tiny_settings):
    photo = folder.draw("a.jpg")
    folder.tag()
    folder.write()
    photo.unlink()  # the folder is empty, as if its disk was not mounted
    for request_of, error in IMPOSSIBLE:
        with pytest.raises(error):
            submit(folder.database, tiny_settings, request_of(folder.folder))
    assert [job.job for job in list_jobs(folder.database)] == [2, 1]


VERSAILLES = "chateau-de-versailles"


def job_photos(folder: TaggedFolder, settings: Settings, backfill: Backfill) -> set[str]:
    """The photos of a backfill's job. Checks that `count_photos` has the same number."""
    new = backfill.new_job(folder.database, settings)
    counted = count_photos(folder.database, backfill, new, {})
    job, _ = submit(folder.database, settings, backfill)
    names = set(folder.outcomes(job))
    if not folder.progress(job).is_over:
        job_control.cancel(folder.database, job)  # it keeps its photos from the next one
    if not backfill.scan:
        assert counted == len(names)
    return names


@pytest.mark.postgresql
def test_each_scope_selects_its_photos(folder, settings):
    folder.draw("old.jpg", 0)
    folder.draw("fresh.jpg", 1)
    (folder.folder / "broken.jpg").write_bytes(b"not a picture")
    folder.tag()
    folder.record()  # a scan does not read new photos
    folder.draw("new.jpg", 2)
    folder.record()
    assert job_photos(folder, settings, Backfill(BackfillScope.UNTAGGED)) == {"new.jpg"}
    assert job_photos(folder, settings, Backfill(BackfillScope.FAILED)) == {"broken.jpg"}
    assert job_photos(folder, settings, Backfill(BackfillScope.OUTDATED)) == set()
    every = {"old.jpg", "fresh.jpg", "new.jpg", "broken.jpg"}
    assert job_photos(folder, settings, Backfill(BackfillScope.ALL)) == every


def test_new_model_in_use_makes_photos_outdated_and_jobs_keep_their_model(folder, database):
    folder.draw("a.jpg", 0)
    folder.tag()
    in_use = Settings(data_folder=folder.folder.parent / "data")
    use_models(database, [folder.model.name])
    begun = Backfill(BackfillScope.ALL).new_job(database, in_use)
    tiny_artifact(folder.folder.parent / "next.pt", seed=1, name="next")
    following = add_model(database, folder.folder.parent / "next.pt")
    assert job_photos(folder, in_use, Backfill(BackfillScope.OUTDATED)) == set()
    use_models(database, ["next"])
    assert job_photos(folder, in_use, Backfill(BackfillScope.OUTDATED)) == {"a.jpg"}
    assert begun.model_id == folder.model.id != following.id


@pytest.mark.postgresql
def test_conditions_leave_out_no_photo_without_tags(folder, settings, database):
    folder.draw("tagged.jpg", 0)
    folder.draw("rejected.jpg", 1)
    folder.tag()
    folder.draw("in/new.jpg", 2)
    (folder.folder / "broken.jpg").write_bytes(b"not a picture")
    job_control.cancel(database, folder.record())
    every = {"tagged.jpg", "rejected.jpg", "in/new.jpg", "broken.jpg"}
    with database.write() as connection:
        camera = connection.scalar(
            insert(cameras).values(key="camera|canon|eos|", name="Canon EOS").returning(cameras.c.id)
        )
        values = {"taken_at": datetime.fromisoformat("2019-05-01"), "camera_id": camera}
        connection.execute(update(photos).values(values))
        place = {
            "latitude": 52.516,
            "longitude": 13.378,
            "country": "Germany",
            "error_m": 30.0,
            "source": "camera",
            "evidence": {},
        }
        new = connection.scalar(select(photos.c.id).where(photos.c.path == "in/new.jpg"))
        connection.execute(insert(positions).values(photo_id=new, **place))
        ids = {row.slug: row.id for row in connection.execute(select(landmarks.c.slug, landmarks.c.id))}
        content_id = folder.photo("rejected.jpg").content_id
        row = {"content_id": content_id, "given_by": "ada", "given_at": datetime.now(UTC)}
        for slug, verdict in ((GATE, "rejected"), (VERSAILLES, "confirmed")):
            connection.execute(insert(verdicts).values(row | {"landmark_id": ids[slug], "verdict": verdict}))
        settle(connection, [content_id])
    conditions: tuple[tuple[dict[str, Any], set[str]], ...] = (
        ({"year": (2018, 2019)}, every),
        ({"camera": ("canon eos",), "position": "none"}, {"broken.jpg"}),
        ({"country": ("germany",)}, {"in/new.jpg", "rejected.jpg"}),
        ({"country": ("France", "Germany")}, {"tagged.jpg", "rejected.jpg", "in/new.jpg"}),
        ({"landmark": ("Eiffel tower",)}, {"tagged.jpg"}),
        ({"landmark": (GATE,)}, set()),
        ({"landmark": (VERSAILLES,), "country": ("France",)}, {"rejected.jpg"}),
        ({"under": (folder.folder / "in",)}, {"in/new.jpg"}),
        ({"under": (folder.folder.parent / "nowhere",)}, set()),
        ({"taken_after": datetime.fromisoformat("2019-05-01")}, every),
        ({"taken_before": datetime.fromisoformat("2019-05-01")}, set()),
        ({"near": (52.5, 13.4), "radius_km": 10.0}, {"in/new.jpg", "rejected.jpg"}),
        ({"box": BoundingBox(52, 13, 53, 14), "year": (2018,)}, set()),
        ({"verdict": "rejected"}, {"rejected.jpg"}),
        ({"verdict": "none"}, every - {"rejected.jpg"}),
        ({"job": 1}, {"tagged.jpg", "rejected.jpg"}),
        ({"min_score": 0.1}, {"tagged.jpg", "rejected.jpg"}),
    )
    for options, expected in conditions:
        backfill = Backfill(BackfillScope.ALL, PhotoQuery(**options))
        assert job_photos(folder, settings, backfill) == expected, options
    in_2019 = PhotoQuery(year=(2019,), country=("Germany",))
    assert job_photos(folder, settings, Backfill(BackfillScope.UNTAGGED, in_2019)) == {"in/new.jpg"}
    assert job_photos(folder, settings, Backfill(BackfillScope.OUTDATED, in_2019)) == set()


def test_a_photos_job_is_the_last_that_processed_it(folder):
    folder.draw("a.jpg", 0)
    folder.tag()
    folder.tag()  # it skips the photo
    cancelled = folder.record(reprocess=True, runner=Runner.WORKERS)
    job_control.cancel(folder.database, cancelled)
    job = photo_details(folder.database, folder.folder / "a.jpg").job
    assert (job.job, job.outcome) == (1, Outcome.TAGGED)


def test_changed_file_is_untagged_until_it_is_classified(folder, settings):
    path = folder.draw("a.jpg")
    folder.tag()
    os.utime(path, ns=(1, 1))
    assert job_photos(folder, settings, Backfill(BackfillScope.UNTAGGED)) == set()
    assert job_photos(folder, settings, Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,))) == {"a.jpg"}
    folder.tag()
    assert job_photos(folder, settings, Backfill(BackfillScope.UNTAGGED)) == set()
