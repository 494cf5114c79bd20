"""Backfills choose the right photos, keep what was known until something better is, and record them quickly."""

import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from artifacts import tiny_artifact
from folders import EIFFEL, GATE, TaggedFolder
from sqlalchemy import insert, select, update

from tagger.backfill import Backfill, What, count_photos, new_job, record_backfill
from tagger.database import Database
from tagger.errors import FolderNotFound, LandmarkNotFound
from tagger.ledger import filling
from tagger.registry import add_model, use_model
from tagger.settings import Settings
from tagger.tables import JobState, Priority, chunks, job_items, landmarks, photos, verdicts


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> TaggedFolder:
    return TaggedFolder(database, tmp_path)


@pytest.fixture
def settings(folder: TaggedFolder) -> Settings:
    return Settings(data_folder=folder.folder.parent / "data", model=str(folder.model.file))


def chosen(folder: TaggedFolder, settings: Settings, backfill: Backfill) -> set[str]:
    """The photos of a backfill's job, which are as many as were counted before."""
    new = new_job(folder.database, settings, backfill, Priority.BULK)
    counted = count_photos(folder.database, backfill, new.model_id, {})
    job, _ = record_backfill(folder.database, backfill, new, {})
    names = set(folder.outcomes(job))
    if not backfill.scan:
        assert counted == len(names)
    return names


def test_each_kind_of_backfill_takes_its_photos(folder: TaggedFolder, settings: Settings) -> None:
    folder.draw("old.jpg", 0)
    folder.draw("fresh.jpg", 1)
    (folder.folder / "broken.jpg").write_bytes(b"not a picture")
    folder.tag()
    folder.record()  # finds what is new without looking at it
    folder.draw("new.jpg", 2)
    folder.record()
    assert chosen(folder, settings, Backfill(What.UNTAGGED)) == {"new.jpg"}
    assert chosen(folder, settings, Backfill(What.FAILED)) == {"broken.jpg"}
    assert chosen(folder, settings, Backfill(What.OUTDATED)) == set()
    assert chosen(folder, settings, Backfill(What.ALL)) == {"old.jpg", "fresh.jpg", "new.jpg", "broken.jpg"}


def test_a_model_put_in_use_makes_the_others_outdated_and_a_job_keeps_its_own(
    folder: TaggedFolder, database: Database
) -> None:
    folder.draw("a.jpg", 0)
    folder.tag()
    in_use = Settings(data_folder=folder.folder.parent / "data")
    use_model(database, folder.model.name)
    begun = new_job(database, in_use, Backfill(What.ALL), Priority.BULK)
    tiny_artifact(folder.folder.parent / "next.pt", seed=1, name="next")
    following = add_model(database, folder.folder.parent / "next.pt")
    assert chosen(folder, in_use, Backfill(What.OUTDATED)) == set()
    use_model(database, "next")
    assert chosen(folder, in_use, Backfill(What.OUTDATED)) == {"a.jpg"}
    assert begun.model_id == folder.model.id != following.id


def test_a_scan_first_finds_what_is_new_changed_moved_and_gone(
    folder: TaggedFolder, settings: Settings
) -> None:
    for name in ("stays.jpg", "changes.jpg", "moves.jpg", "goes.jpg"):
        folder.draw(name, 0, shade=len(name))
    folder.tag()
    folder.draw("changes.jpg", 1, shade=99)
    (folder.folder / "moves.jpg").rename(folder.folder / "moved.jpg")
    (folder.folder / "goes.jpg").unlink()
    folder.draw("new.jpg", 1)
    wanted = Backfill(What.UNTAGGED, scan=(folder.folder,))
    new = new_job(folder.database, settings, wanted, Priority.BULK)
    job, report = record_backfill(folder.database, wanted, new, {})
    assert (report.found, report.new, report.changed, report.gone) == (4, 2, 1, 2)
    assert set(folder.outcomes(job)) == {"changes.jpg", "moved.jpg", "new.jpg"}


def test_conditions_hold_together(folder: TaggedFolder, settings: Settings, database: Database) -> None:
    for number, name in enumerate(("x/a.jpg", "x/b.jpg", "y/a.jpg", "y/b.jpg")):
        folder.draw(name, number % 2, shade=number)
    folder.tag()
    with database.write() as connection:
        for year, name in ((2019, "x/a.jpg"), (2020, "x/b.jpg"), (2021, "y/a.jpg")):
            taken = (
                update(photos)
                .where(photos.c.path == name)
                .values(taken_at=datetime.fromisoformat(f"{year}-05-01"))
            )
            connection.execute(taken)
    everything = What.ALL
    assert chosen(folder, settings, Backfill(everything, under=(folder.folder / "x",))) == {
        "x/a.jpg",
        "x/b.jpg",
    }
    assert chosen(folder, settings, Backfill(everything, landmark="Eiffel tower")) == {"x/a.jpg", "y/a.jpg"}
    assert chosen(
        folder, settings, Backfill(everything, taken_after=datetime.fromisoformat("2020-01-01"))
    ) == {
        "x/b.jpg",
        "y/a.jpg",
    }
    between = Backfill(
        everything,
        taken_after=datetime.fromisoformat("2019-05-01"),
        taken_before=datetime.fromisoformat("2021-05-01"),
    )
    assert chosen(folder, settings, between) == {"x/a.jpg", "x/b.jpg"}
    both = Backfill(everything, under=(folder.folder / "x",), landmark=EIFFEL)
    assert chosen(folder, settings, both) == {"x/a.jpg"}
    assert chosen(folder, settings, Backfill(everything, under=(folder.folder.parent / "nowhere",))) == set()


def test_a_rejected_landmark_is_not_one_the_photo_has(folder: TaggedFolder, settings: Settings) -> None:
    folder.draw("a.jpg", 0)
    folder.tag()
    with folder.database.write() as connection:
        content = connection.scalar(select(photos.c.content_id))
        row = {"content_id": content, "given_at": datetime.fromisoformat("2026-01-01").astimezone()}
        for slug, verdict in ((EIFFEL, "rejected"), (GATE, "confirmed")):
            landmark = connection.scalar(select(landmarks.c.id).where(landmarks.c.slug == slug))
            connection.execute(insert(verdicts).values(row | {"landmark_id": landmark, "verdict": verdict}))
    assert chosen(folder, settings, Backfill(What.ALL, landmark=EIFFEL)) == set()
    assert chosen(folder, settings, Backfill(What.ALL, landmark=GATE)) == {"a.jpg"}


def test_what_cannot_be_meant_makes_no_job(folder: TaggedFolder, settings: Settings) -> None:
    new = new_job(folder.database, settings, Backfill(What.ALL), Priority.BULK)
    with pytest.raises(LandmarkNotFound):
        record_backfill(folder.database, Backfill(What.ALL, landmark="atlantis"), new, {})
    with pytest.raises(FolderNotFound):
        record_backfill(folder.database, Backfill(What.ALL, scan=(folder.folder / "no",)), new, {})
    assert folder.count(job_items) == 0


def test_many_photos_go_in_by_pages_dense_and_by_root(
    folder: TaggedFolder, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "PAGE", 50)
    other = folder.folder.with_name("other root")
    for number in range(60):
        folder.draw(f"{number:03}.jpg", shade=number)
    shutil.copytree(folder.folder, other)
    folder.record()
    folder.record(other)
    wanted = Backfill(What.UNTAGGED)
    job, _ = record_backfill(database, wanted, new_job(database, settings, wanted, Priority.BULK), {})
    with database.read() as connection:
        items = connection.execute(
            select(job_items.c.position, photos.c.root_id, photos.c.id)
            .join(photos, photos.c.id == job_items.c.photo_id)
            .where(job_items.c.job_id == job)
            .order_by(job_items.c.position)
        ).all()
        spans = connection.execute(
            select(chunks.c.first, chunks.c.last).where(chunks.c.job_id == job).order_by(chunks.c.chunk)
        ).all()
    assert [item.position for item in items] == list(range(120))
    assert len({item.id for item in items}) == 120
    assert [position for span in spans for position in range(span.first, span.last + 1)] == list(range(120))
    assert all(len({item.root_id for item in items[span.first : span.last + 1]}) == 1 for span in spans)


def test_a_backfill_of_nothing_is_finished_at_once(folder: TaggedFolder, settings: Settings) -> None:
    wanted = Backfill(What.FAILED)
    job, _ = record_backfill(
        folder.database, wanted, new_job(folder.database, settings, wanted, Priority.BULK), {}
    )
    assert (folder.progress(job).state, folder.progress(job).total) == (JobState.FINISHED, 0)


def test_a_touched_file_is_untagged_until_it_was_read(folder: TaggedFolder, settings: Settings) -> None:
    path = folder.draw("a.jpg")
    folder.tag()
    os.utime(path, ns=(1, 1))
    assert chosen(folder, settings, Backfill(What.UNTAGGED)) == set()
    assert chosen(folder, settings, Backfill(What.UNTAGGED, scan=(folder.folder,))) == {"a.jpg"}
    folder.tag()
    assert chosen(folder, settings, Backfill(What.UNTAGGED)) == set()
