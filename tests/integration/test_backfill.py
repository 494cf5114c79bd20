"""Backfills select the right photos, keep old results until new ones are stored, in pages."""

import os
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from support.artifacts import tiny_artifact
from support.colour_folders import GATE, TaggedFolder

from tagger.database.connection import Database
from tagger.database.enums import Outcome, Runner
from tagger.database.tables import cameras, landmarks, photos, positions, verdicts
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope, count_photos
from tagger.jobs.enqueue.submission import submit
from tagger.ledger import job_control
from tagger.query.details import photo_details
from tagger.query.option_values import BoundingBox
from tagger.query.options import PhotoQuery
from tagger.registry.registered_models import add_model, use_models
from tagger.settings import Settings
from tagger.tags.settlement import settle

VERSAILLES = "chateau-de-versailles"


def job_photos(folder: TaggedFolder, settings: Settings, backfill: Backfill) -> set[str]:
    """The photos of a backfill's job. Checks that `count_photos` has the same number."""
    new = backfill.new_job(folder.database, settings)
    counted = count_photos(folder.database, backfill, new, {})
    job, _ = submit(folder.database, settings, backfill, Runner.WORKERS)
    names = set(folder.outcomes(job))
    if not folder.progress(job).is_over:
        job_control.cancel(folder.database, job)  # it keeps its photos from the next one
    if not backfill.scan:
        assert counted == len(names)
    return names


@pytest.mark.postgresql
def test_each_scope_selects_its_photos(folder: TaggedFolder, settings: Settings) -> None:
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
    assert job_photos(folder, settings, Backfill(BackfillScope.ALL)) == {
        "old.jpg",
        "fresh.jpg",
        "new.jpg",
        "broken.jpg",
    }


def test_new_model_in_use_makes_photos_outdated_and_jobs_keep_their_model(
    folder: TaggedFolder, database: Database
) -> None:
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


def test_backfill_with_scan_finds_new_changed_moved_and_gone_photos(
    folder: TaggedFolder, settings: Settings
) -> None:
    for name in ("stays.jpg", "changes.jpg", "moves.jpg", "goes.jpg"):
        folder.draw(name, 0, shade=len(name))
    folder.tag()
    folder.draw("changes.jpg", 1, shade=99)
    (folder.folder / "moves.jpg").rename(folder.folder / "moved.jpg")
    (folder.folder / "goes.jpg").unlink()
    folder.draw("new.jpg", 1)
    backfill = Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,))
    job, report = submit(folder.database, settings, backfill, Runner.WORKERS)
    assert (report.found, report.new, report.changed, report.gone) == (4, 2, 1, 2)
    assert set(folder.outcomes(job)) == {"changes.jpg", "moved.jpg", "new.jpg"}


@pytest.mark.postgresql
def test_conditions_leave_out_no_photo_without_tags(
    folder: TaggedFolder, settings: Settings, database: Database
) -> None:
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


def test_a_photos_job_is_the_last_that_processed_it(folder: TaggedFolder) -> None:
    folder.draw("a.jpg", 0)
    folder.tag()
    folder.tag()  # it skips the photo
    cancelled = folder.record(reprocess=True, runner=Runner.WORKERS)
    job_control.cancel(folder.database, cancelled)
    job = photo_details(folder.database, folder.folder / "a.jpg").job
    assert job is not None
    assert (job.job, job.outcome) == (1, Outcome.TAGGED)


def test_changed_file_is_untagged_until_it_is_classified(folder: TaggedFolder, settings: Settings) -> None:
    path = folder.draw("a.jpg")
    folder.tag()
    os.utime(path, ns=(1, 1))
    assert job_photos(folder, settings, Backfill(BackfillScope.UNTAGGED)) == set()
    assert job_photos(folder, settings, Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,))) == {"a.jpg"}
    folder.tag()
    assert job_photos(folder, settings, Backfill(BackfillScope.UNTAGGED)) == set()
