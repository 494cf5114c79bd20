"""A page of a large sorted result on PostgreSQL: its index is read until the page is full, and nothing is sorted or joined whole."""
# ruff: noqa: DTZ001 - cameras know no time zone

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest
from rig.large_library import make_library
from rig.postgres_databases import PostgresDatabases
from sqlalchemy import Connection
from support.page_statements import page_statements

from tagger.database.connection import Database
from tagger.library.query import sorted_scan
from tagger.library.query.find import find_tagged_page
from tagger.library.query.options import PhotoQuery

PHOTOS = 12_000
FREQUENT = "alai-darwaza"
"""The landmark with the most photos."""
YEARS = {"taken_after": datetime(2000, 1, 1), "taken_before": datetime(2015, 1, 1)}


@pytest.fixture(scope="module")
def library(postgres_databases: PostgresDatabases) -> Iterator[Database]:
    with postgres_databases.migrated() as url, closing(make_library(url, PHOTOS)) as database:
        yield database


@pytest.mark.parametrize(
    "query",
    [
        PhotoQuery(sort="newest", distinct=True),
        PhotoQuery(sort="newest", distinct=True, **YEARS),
        PhotoQuery(sort="oldest", landmark=(FREQUENT,), **YEARS),
        PhotoQuery(sort="name"),
        PhotoQuery(sort="score", unknown=True, distinct=True),
    ],
)
def test_a_page_reads_few_rows(library: Database, monkeypatch: pytest.MonkeyPatch, query: PhotoQuery) -> None:
    monkeypatch.setattr(sorted_scan, "FEWEST_TO_WALK", 0)
    with page_statements(library) as statements:
        page = find_tagged_page(library, query, {}, None, 60)
    assert len(page.photos) == 60
    assert statements
    with library.read() as connection:
        for statement, parameters in statements:
            assert most_rows(connection, statement, parameters) < 5_000


def most_rows(connection: Connection, statement: str, parameters: Any) -> float:
    """The most rows that a node of the statement's plan passes on."""
    ((plan,),) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
    nodes, most = [plan[0]["Plan"]], 0.0
    while nodes:
        node = nodes.pop()
        most = max(most, node["Actual Rows"] * node["Actual Loops"])
        nodes += node.get("Plans", ())
    return most
