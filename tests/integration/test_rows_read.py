"""How many rows the pages of a large library read, and while its first photos are classified."""
# ruff: noqa: DTZ001 - cameras know no time zone

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rig.large_library import ROOT, make_library
from sqlalchemy import Connection
from support.databases import query_plans, statements
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.database.statements import insert_page
from tagger.database.tables import contents, photos
from tagger.query import sorted_scan
from tagger.query.counts import find_covers
from tagger.query.find import find_tagged, find_tagged_page
from tagger.query.options import Alternatives, PhotoQuery
from tagger.teaching.learning import find_evidence

pytestmark = pytest.mark.slow

CLASSIFIED, WAITING = 12_000, 8_000
FREQUENT = "alai-darwaza"  # The landmark with the most photos
YEARS = {"taken_after": datetime(2000, 1, 1), "taken_before": datetime(2015, 1, 1)}


@pytest.fixture
def library(database, tmp_path) -> StoredPhotos:
    """Photos that were classified and have a date; then those that nothing has read, of which some have changed and have one."""
    library = StoredPhotos.with_tiny_model(database, tmp_path)
    numbers = range(1, CLASSIFIED + 1)
    with database.write() as connection:
        images = ((n, f"digest {n}", library.model.id, 5, 0.5, "unknown") for n in numbers)
        insert_page(
            connection, contents, ("id", "digest", "model_id", "top_k", "threshold", "outcome"), images
        )
        names = ("root_id", "path", "path_bytes", "size_bytes", "mtime_ns", "taken_at", "content_id")
        versions = ("classified_size_bytes", "classified_mtime_ns")
        first = datetime(2020, 1, 1)
        read = (
            (library.root_id, f"a{n:05}.jpg", b"", 9, 1, first + timedelta(minutes=n), n, 9, 1)
            for n in numbers
        )
        insert_page(connection, photos, (*names, *versions), read)
        found = (
            (library.root_id, f"b{n:05}.jpg", b"", 9, 1, datetime(2001, 1, 1) if n < 3 else None, None)
            for n in range(WAITING)
        )
        insert_page(connection, photos, names, found)
    with database.write() as connection:
        connection.exec_driver_sql("ANALYZE")
    return library


@pytest.mark.postgresql
def test_photos_that_wait_are_read_in_order_of_time_along_their_own_index(library, monkeypatch):
    monkeypatch.setattr(sorted_scan, "FEWEST_TO_WALK", 0)
    words = "EXPLAIN QUERY PLAN" if library.database.is_sqlite else "EXPLAIN"
    orders: tuple[tuple[Any, list[int]], ...] = (("newest", [2, 1, 0, 3, 4]), ("oldest", [0, 1, 2, 3, 4]))
    for sort, names in orders:
        query = PhotoQuery(untagged=True, sort=sort)
        with statements(library.database, "photos.path") as seen:
            page = find_tagged_page(library.database, query, {}, None, 5)
        assert [photo.path for photo in page.photos] == [str(library.root / f"b{n:05}.jpg") for n in names]
        assert len(seen) == 2  # those with a date, then the others
        with library.database.read() as connection:
            for statement, parameters in seen:
                plan = str(connection.exec_driver_sql(f"{words} {statement}", parameters).all())
                assert "ix_photos_untagged" in plan
                assert not re.search(r"Seq Scan on photos|TEMP B-TREE", plan)


def test_covers_read_the_stars_and_not_the_tags_of_each_landmark(database):
    with query_plans(database, "favourites.given_at") as plans:
        find_covers(database)
    assert len(plans) == 1
    assert not database.is_sqlite or "SCAN favourites" in plans[0]


@pytest.fixture(scope="module")
def large_library(postgres_databases) -> Iterator[Database]:
    with postgres_databases.migrated() as url, closing(make_library(url, 12_000)) as database:
        yield database


@pytest.mark.parametrize(
    "query",
    [
        PhotoQuery(sort="newest", distinct=True),
        PhotoQuery(sort="newest", distinct=True, **YEARS),
        PhotoQuery(sort="oldest", landmark=(FREQUENT,), **YEARS),
        PhotoQuery(sort="newest", any_of=(Alternatives.parse(f"landmark={FREQUENT}|year=2012", ""),)),
        PhotoQuery(sort="newest", without=(Alternatives.parse(f"landmark={FREQUENT}|country=France", ""),)),
        PhotoQuery(sort="name"),
        PhotoQuery(sort="score", unknown=True, distinct=True),
        PhotoQuery(sort="score"),
    ],
)
def test_a_page_reads_few_rows(large_library, monkeypatch, query):
    monkeypatch.setattr(sorted_scan, "FEWEST_TO_WALK", 0)
    with statements(large_library, "photos.path") as seen:
        page = find_tagged_page(large_library, query, {}, None, 60)
    assert len(page.photos) == 60
    assert seen
    with large_library.read() as connection:
        for statement, parameters in seen:
            assert most_rows(connection, statement, parameters) < 5_000


def test_the_photos_of_a_folder_are_looked_up_once(large_library):
    query = PhotoQuery(under=(ROOT / "y2006" / "m10",))
    with statements(large_library, "photos.path") as seen:
        find_tagged_page(large_library, query, {}, None, 60)
    assert seen
    with large_library.read() as connection:
        for statement, parameters in seen:
            assert most_rows(connection, statement, parameters) < 500


def test_a_limited_result_reads_only_the_pages_that_it_needs(large_library, monkeypatch):
    monkeypatch.setattr(sorted_scan, "FEWEST_TO_WALK", 0)
    monkeypatch.setattr(sorted_scan, "MOST_CANDIDATES", 200)
    with statements(large_library, "FROM photos") as seen:
        found = list(find_tagged(large_library, PhotoQuery(sort="newest", min_score=0.9, limit=30)))
    assert len(found) == 30
    with large_library.read() as connection:
        assert sum(most_rows(connection, *each) for each in seen) < 6_000


def most_rows(connection: Connection, statement: str, parameters: Any) -> float:
    """The most rows that a node of the statement's plan passes on."""
    ((plan,),) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
    nodes, most = [plan[0]["Plan"]], 0.0
    while nodes:
        node = nodes.pop()
        most = max(most, node["Actual Rows"] * node["Actual Loops"])
        nodes += node.get("Plans", ())
    return most


@pytest.mark.postgresql
def test_the_last_photos_of_an_order_are_found_by_few_statements(library, monkeypatch):
    monkeypatch.setattr(sorted_scan, "FEWEST_TO_WALK", 0)
    monkeypatch.setattr(sorted_scan, "MOST_CANDIDATES", 100)
    first = datetime(2020, 1, 1) + timedelta(minutes=CLASSIFIED - 300.5)
    for sort in (None, "name", "oldest"):
        query = PhotoQuery(
            any_rank=True, sort=sort, taken_after=first, without=(Alternatives.parse("year=2021", ""),)
        )
        with statements(library.database, "FROM photos") as seen:
            found = list(find_tagged(library.database, query))
        assert [Path(photo.path).stem for photo in found] == [
            f"a{n:05}" for n in range(CLASSIFIED - 300, CLASSIFIED + 1)
        ]
        assert len(seen) < 10


def test_scores_are_read_along_their_index(database, tmp_path, monkeypatch):
    StoredPhotos.with_tiny_model(database, tmp_path)
    monkeypatch.setattr(sorted_scan, "FEWEST_TO_WALK", 0)
    for landmark, index in (((), "accepted_score"), (("eiffel-tower",), "accepted_landmark")):
        with query_plans(database, "photos.path") as plans:
            find_tagged_page(database, PhotoQuery(sort="score", landmark=landmark), {}, None, 5)
        assert not database.is_sqlite or f"SEARCH best_tag USING INDEX ix_effective_tags_{index}" in plans[0]


def test_what_a_landmark_is_learned_from_is_found_by_its_own_verdicts(database):
    with query_plans(database, "FROM verdicts") as plans, database.read() as connection:
        find_evidence(connection, 1, [5])
    assert len(plans) == 1
    assert (
        not database.is_sqlite or "SEARCH verdicts USING INDEX ix_verdicts_landmark_id_content_id" in plans[0]
    )


def test_predictions_of_photos_with_a_tag_are_read_only_if_they_are_returned(database, tmp_path):
    library = StoredPhotos.with_tiny_model(database, tmp_path)
    library.photo("a.jpg", ("eiffel-tower", 0.9, True), ("brandenburg-gate", 0.05, False))
    for any_rank, number in ((False, 1), (True, 2)):
        with statements(database, "FROM tags") as seen:
            (photo,) = find_tagged(database, PhotoQuery(any_rank=any_rank))
        assert (len(photo.tags), len(seen)) == (number, number - 1)
