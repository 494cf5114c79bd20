"""Which images are known is asked for all readers of a chunk at once, and never keeps a photo from the model."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert, text
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.statements import PreparedQuery
from tagger.database.tables import contents
from tagger.jobs.processing.known_images import KnownImages

pytestmark = pytest.mark.postgresql


@pytest.fixture
def known(ledger: LedgerBuilder) -> Iterator[KnownImages]:
    """Asks for the only model of a ledger, which has classified `a`, and `b` with another top-k."""
    row = {"outcome": Outcome.UNKNOWN, "model_id": ledger.model_id, "threshold": 0.5}
    with ledger.database.write() as connection:
        for digest, top_k in (("a", 5), ("b", 3)):
            at = datetime.now(UTC)
            connection.execute(insert(contents).values(**row, digest=digest, top_k=top_k, classified_at=at))
    with closing(KnownImages(ledger.database, ledger.claim(ledger.job(1)))) as images:
        yield images


def test_an_image_that_was_classified_with_the_same_options_lacks_no_model(
    known: KnownImages, ledger: LedgerBuilder
) -> None:
    assert known.lacking_models("a") == ()
    assert known.lacking_models("b") == known.lacking_models("c") == (ledger.model_id,)


def test_what_is_stored_meanwhile_is_known(known: KnownImages, ledger: LedgerBuilder) -> None:
    assert known.lacking_models("b")
    with ledger.database.write() as connection:
        connection.execute(contents.update().values(top_k=5))
    assert known.lacking_models("b") == ()


def test_questions_that_wait_are_one_statement(
    known: KnownImages, ledger: LedgerBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert known.lacking_models("c")  # connects
    asked: list[list[str]] = []
    may_answer, rows = threading.Event(), PreparedQuery.rows

    def slow_rows(query: PreparedQuery, parameters: dict[str, Any]) -> Any:
        asked.append(parameters["digests"])
        assert may_answer.wait(30)
        return rows(query, parameters)

    monkeypatch.setattr(PreparedQuery, "rows", slow_rows)
    with ThreadPoolExecutor(9) as readers:
        first = readers.submit(known.lacking_models, "a")
        while not asked:
            pass
        others = [readers.submit(known.lacking_models, digest) for digest in "abcdefgh"]
        while len(known._waiting) < len(others):
            pass
        may_answer.set()
        assert first.result() == ()
        assert [other.result() for other in others] == [()] + 7 * [(ledger.model_id,)]
    assert len(asked) == 2


def test_a_connection_that_breaks_is_replaced(known: KnownImages, ledger: LedgerBuilder) -> None:
    assert known.lacking_models("a") == ()
    if ledger.database.is_sqlite:
        assert known._connection is not None
        known._connection.connection.dbapi_connection.close()  # type: ignore[union-attr]
    else:
        _end_other_connections(ledger.database)
    assert known.lacking_models("a") == (ledger.model_id,)
    assert known.lacking_models("a") == ()


def test_readers_that_come_too_late_get_all_models(known: KnownImages, ledger: LedgerBuilder) -> None:
    known.close()
    assert known.lacking_models("a") == (ledger.model_id,)


def _end_other_connections(database: Database) -> None:
    others = "pid <> pg_backend_pid() AND datname = current_database()"
    with database.read() as connection:
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))
