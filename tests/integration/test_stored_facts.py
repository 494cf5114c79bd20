"""What tagging stores of camera facts, which changes it records, and a fact and a format that are declared once."""

import csv
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, delete, func, insert, or_, select, update
from support.databases import execute, read_rows
from support.ledgers import LedgerBuilder
from support.threads import in_threads

from tagger.database.connection import Database
from tagger.database.tables import cameras, changed_days, contents, photos
from tagger.errors import FailureKind, PhotoFailure
from tagger.jobs.processing.storage import open_items, store_results
from tagger.ledger.chunks import Claim
from tagger.photos import FIRST_FACTS, PHOTO_FACTS, CameraFacts, PhotoOrigin
from tagger.photos.files import PhotoVersion
from tagger.pipeline import AlreadyClassified, Classified, Failed, ModelResult, Result
from tagger.roots import ensure_root
from tagger.teaching.comparison import TaughtCache

VERSION = PhotoVersion(1, 1)
PHONE = CameraFacts(
    taken_at=datetime(2019, 7, 14, 21, 58, 3),  # noqa: DTZ001
    latitude=48.8584,
    longitude=2.2945,
    gps_error_m=12.5,
    utc_offset_s=7200,
    make="Apple",
    model="iPhone 7",
)
CAMERA = CameraFacts(make="NIKON CORPORATION", model="NIKON D90", serial="6715715")


class Library:
    """Photos of one root whose results are stored in jobs of one chunk."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ledger = LedgerBuilder(database)

    def photos(self, *paths: str) -> list[int]:
        ids = self.ledger.photos(len(paths))
        with self.database.write() as connection:
            for photo_id, path in zip(ids, paths, strict=True):
                connection.execute(update(photos).where(photos.c.id == photo_id).values(path=path))
        return ids

    def store(self, photo_ids: list[int], results: Sequence[Result]) -> None:
        claim = self.ledger.claim(self.ledger.job(0, photo_ids=photo_ids))
        items = open_items(self.database, claim)
        for item, result in zip(items, results, strict=True):
            item.result = result
        store_results(self.database, claim, items, {claim.model_id: TaughtCache(claim.model_id)})

    def rows(self) -> list[Row[object]]:
        query = (
            select(photos, cameras.c.key.label("camera_key"), cameras.c.name.label("camera"))
            .outerjoin(cameras, cameras.c.id == photos.c.camera_id)
            .order_by(photos.c.id)
        )
        return list(read_rows(self.database, query))

    def take_changes(self) -> list[int]:
        """The ids of the photos whose evidence has changed since the last call."""
        of_photo = or_(
            changed_days.c.photo_id == photos.c.id, changed_days.c.content_id == photos.c.content_id
        )
        with self.database.write() as connection:
            query = select(photos.c.id).join(changed_days, of_photo).distinct().order_by(photos.c.id)
            query = query.where(changed_days.c.step == "positions")
            found = list(connection.scalars(query))
            connection.execute(delete(changed_days))
        return found


@pytest.fixture
def library(database) -> Library:
    return Library(database)


def classified(digest: str, facts: CameraFacts) -> Classified:
    return Classified(digest, VERSION, facts, 4, 3, {1: ModelResult((), None)})


def test_all_camera_facts_are_stored(library):
    library.store(library.photos("a.jpg"), [classified("1-a", replace(PHONE, origin=PhotoOrigin.EDITED))])
    (row,) = library.rows()
    assert (row.taken_at, row.latitude, row.longitude) == (PHONE.taken_at, 48.8584, 2.2945)
    assert (row.gps_error_m, row.utc_offset_s, row.origin) == (12.5, 7200, "edited")
    assert (row.camera_key, row.camera) == ("camera|apple|iphone 7|", "Apple iPhone 7")
    assert library.take_changes() == [row.id]


def test_facts_of_a_photo_that_cannot_be_decoded_are_stored(library):
    failure = PhotoFailure(FailureKind.CORRUPT, "It is damaged.")
    ids = library.photos("a.jpg", "gone.jpg")
    gone = Failed(PhotoFailure(FailureKind.GONE, "There is no such file."))
    library.store(ids, [Failed(failure, "1-a", VERSION, PHONE), gone])
    first, second = library.rows()
    assert (first.taken_at, first.latitude, first.camera) == (PHONE.taken_at, 48.8584, "Apple iPhone 7")
    assert library.take_changes() == ids[:1]
    assert (second.taken_at, second.camera_id) == (None, None)


@pytest.mark.parametrize("column", [*PHOTO_FACTS, *FIRST_FACTS])
def test_each_fact_has_a_column_and_is_described(column):
    described = Path(__file__).parents[2] / "docs" / "reference" / "camera-facts.md"
    assert photos.c[column].doc
    assert f"`{column}`" in described.read_text()


def test_photos_of_one_camera_share_it_wherever_they_are(library):
    shouting = replace(CAMERA, make="Nikon Corporation")
    ids = library.photos("a.jpg", "2019/a.jpg", "b.jpg")
    library.store(ids, [classified("1-a", CAMERA), classified("1-b", shouting), classified("1-c", PHONE)])
    first, second, third = library.rows()
    assert first.camera_id == second.camera_id != third.camera_id
    assert first.camera == "NIKON D90 (6715715)"


def test_photos_that_name_no_camera_have_that_of_their_folder(library):
    ids = library.photos("a.jpg", "b.jpg", "x/a.jpg", "x/y/a.jpg")
    nameless = [CameraFacts(), CameraFacts(make="a maker"), CameraFacts(), CameraFacts()]
    library.store(ids, [classified(f"1-{n}", facts) for n, facts in enumerate(nameless)])
    rows = library.rows()
    assert [row.camera for row in rows] == ["r", "r", "r/x", "r/x/y"]
    assert rows[0].camera_id == rows[1].camera_id


def test_cameras_of_folders_move_with_their_root(library, tmp_path):
    inner = tmp_path / "photos" / "2019_%"
    with library.database.write() as connection:
        root = ensure_root(connection, inner, {})
    ids = library.photos("a.jpg", "x/a.jpg")
    execute(library.database, update(photos).values(root_id=root.id))
    library.store(ids, [classified("1-a", CameraFacts()), classified("1-b", CameraFacts())])
    with library.database.write() as connection:
        outer = ensure_root(connection, tmp_path, {})
    before = [(row.camera_id, row.camera) for row in library.rows()]
    assert [name for _, name in before] == [
        f"{outer.name}/photos/2019_%",
        f"{outer.name}/photos/2019_%/x",
    ]
    # Later photos of the folder get the same camera.
    library.store(ids, [classified("1-a", CameraFacts()), classified("1-b", CameraFacts())])
    assert [(row.camera_id, row.camera) for row in library.rows()] == before


@pytest.mark.postgresql
def test_photos_are_recorded_whose_facts_have_changed(library):
    ids = library.photos(*(f"{number}.jpg" for number in range(8)))
    results = [classified(f"1-{number}", PHONE) for number in range(8)]
    library.store(ids, results)
    assert library.take_changes() == ids
    library.store(ids, [AlreadyClassified(result.digest, VERSION, PHONE) for result in results])
    assert library.take_changes() == []
    changes = [
        PHONE,
        replace(PHONE, taken_at=None),
        replace(PHONE, latitude=48.0),
        replace(PHONE, gps_error_m=None),
        replace(PHONE, utc_offset_s=3600),
        replace(PHONE, origin=PhotoOrigin.SCREENSHOT),
        replace(PHONE, model="iPhone 8"),
        CameraFacts(),
    ]
    library.store(
        ids,
        [
            AlreadyClassified(each.digest, VERSION, facts)
            for each, facts in zip(results, changes, strict=True)
        ],
    )
    assert library.take_changes() == ids[1:]


def test_copies_of_a_photo_are_recorded_with_it(library):
    ids = library.photos("a.jpg", "copy.jpg", "other.jpg")
    library.store(ids[:1], [classified("1-a", PHONE)])
    library.store(ids[1:], [AlreadyClassified("1-a", VERSION, PHONE), classified("1-b", PHONE)])
    library.take_changes()
    for change in (
        AlreadyClassified("1-a", VERSION, replace(PHONE, latitude=48.0)),
        classified("1-a", replace(PHONE, latitude=48.0)),
    ):
        library.store(ids[:1], [change])
        assert library.take_changes() == ids[:2]


def test_the_camera_and_time_before_the_change_are_recorded(library):
    ids = library.photos("a.jpg")
    library.store(ids, [classified("1-a", PHONE)])
    library.take_changes()
    (before,) = library.rows()
    library.store(ids, [AlreadyClassified("1-a", VERSION, CAMERA)])
    with library.database.read() as connection:
        of_positions = changed_days.c.step == "positions"
        (change,) = connection.execute(select(changed_days).where(of_positions)).all()
    assert (change.photo_id, change.camera_id, change.taken_at) == (ids[0], before.camera_id, PHONE.taken_at)


def test_a_photo_with_another_image_is_recorded(library):
    ids = library.photos("a.jpg", "b.jpg")
    library.store(ids, [classified("1-a", PHONE), classified("1-b", PHONE)])
    library.take_changes()
    library.store(ids[:1], [AlreadyClassified("1-b", VERSION, PHONE)])
    assert library.take_changes() == ids[:1]


@pytest.mark.postgresql
def test_chunks_with_the_same_new_cameras_are_stored_at_once(library):
    ids = library.photos(*(f"{number}.jpg" for number in range(64)))
    job = library.ledger.job(0, photo_ids=ids)
    models = [replace(CAMERA, serial=str(number + 1)) for number in range(32)]
    claims = [library.ledger.claim(job, number) for number in range(2)]
    barrier = threading.Barrier(2)

    def store(number: int) -> None:
        claim = claims[number]
        items = open_items(library.database, claim)
        facts = models if number else models[::-1]
        for item, each in zip(items, facts, strict=True):
            item.result = classified(f"1-{item.photo_id}", each)
        barrier.wait()
        # Not the last item, as finishing a chunk locks the job first.
        store_results(library.database, claim, items[:-1], {claim.model_id: TaughtCache(claim.model_id)})

    in_threads([lambda: store(0), lambda: store(1)])
    assert len({row.camera_id for row in library.rows() if row.camera_id is not None}) == 32


@pytest.mark.postgresql
def test_copies_of_one_failing_picture_stored_at_once_do_not_lock_each_other_out(ledger, database):
    classification = {"model_id": ledger.model_id, "top_k": 5, "threshold": 0.5, "outcome": "tagged"}
    with database.write() as connection:
        content = insert(contents).values(digest="1-c", **classification).returning(contents.c.id)
        content_id = connection.execute(content).scalar_one()
    ids = ledger.photos(64)
    for _ in range(10):
        with database.write() as connection:
            failing = {"content_id": content_id, "failure_kind": "corrupt", "failure_text": "x"}
            connection.execute(update(photos).values(**failing, failure_attempts=1))
        job = ledger.job(0, photo_ids=ids)
        barrier = threading.Barrier(2)

        def store(claimed: Claim, barrier: threading.Barrier = barrier) -> None:
            result = AlreadyClassified("1-c", PhotoVersion(1, 1), CameraFacts())
            items = open_items(database, claimed)
            for item in items:
                item.result = result
            barrier.wait()
            # Not the last item, as finishing a chunk locks the job first.
            store_results(database, claimed, items[:-1], {claimed.model_id: TaughtCache(claimed.model_id)})

        one, other = ledger.claim(job, 0), ledger.claim(job, 1)
        in_threads([partial(store, one), partial(store, other)])
        assert ledger.progress(job).skipped == 62
        with database.read() as connection:
            failure_conditions = select(func.count()).where(photos.c.failure_kind.is_not(None))
            assert connection.scalar(failure_conditions) == 0


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, Any]:
    """What a program that declares a rating and QOI has of a photo, a JPEG with its RAW file, and a QOI file."""
    command = [sys.executable, "-m", "support.added_declarations", str(tmp_path_factory.mktemp("photos"))]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    return dict(json.loads(output))


def test_a_fact_has_the_same_sources_and_results_wherever_it_is_shown(found):
    others = [["a.jpg", 5, "camera"], ["b.CR3", None, "camera"]]
    assert found["rows"] == [*others, ["b.jpg", 2, "sidecar"], ["c.qoi", 5, "camera"]]
    assert found["changed"] == [*others, ["b.jpg", 1, "sidecar"], ["c.qoi", 5, "camera"]]
    assert found["separated"][1] == ["b.CR3", 1, "sidecar"]
    assert found["json"] == {"a.jpg": 5, "b.jpg": 2, "c.qoi": 5}
    assert next(row["rating"] for row in csv.DictReader(found["csv"].splitlines())) == "5"
    assert "<dt>Rating</dt><dd>5</dd>" in found["page"]
    assert re.search("^rating: +5$", found["show"], re.MULTILINE)


def test_a_photo_of_the_format_is_digested_tagged_and_shown(found):
    assert found["is same image"]
    assert found["tags"]["c.qoi"] == ["eiffel-tower"]
    assert found["size"] == [480, 320]
    assert found["image"] == ["image/x-qoi", True]
    assert found["fields"].endswith("\nXMP:xmp:Rating\t5\n")
