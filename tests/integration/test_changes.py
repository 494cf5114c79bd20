"""No transaction changes what decides about images without deciding about them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from support.library_photos import EIFFEL
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.statements import insert_page
from tagger.database.tables import contents, dismissals, effective_tags, photos, tags, taught_tags, verdicts
from tagger.landmarks.removal import merge_landmark
from tagger.tags.settlement import begin_change, settle, unsettled
from tagger.verdicts.service import give_examples, give_verdicts, withdraw_verdicts
from tagger.verdicts.store import dismiss_photos, restore_photos, star_photos

GATE = "brandenburg-gate"


@pytest.fixture
def library(database: Database, tmp_path: Path) -> StoredPhotos:
    library = StoredPhotos.with_tiny_model(database, tmp_path)
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    return library


@pytest.mark.parametrize(
    "statement",
    [
        update(tags).values(score=0.1),
        delete(taught_tags),
        delete(verdicts),
        insert(dismissals).from_select(
            ("content_id", "given_at"), select(contents.c.id, contents.c.classified_at)
        ),
        text("\n  delete  from verdicts"),
        text("WITH few AS (SELECT 1) UPDATE Tags SET score = 0"),
        text("INSERT INTO dismissals (content_id) SELECT id FROM contents"),
        delete(tags).where(tags.c.content_id.in_(select(photos.c.content_id).cte("few").select())),
    ],
)
@pytest.mark.postgresql
def test_a_change_that_was_not_begun_fails(library: StoredPhotos, statement: Any) -> None:
    with pytest.raises(RuntimeError, match="begin_change"), library.database.write() as connection:
        connection.execute(statement)
    with pytest.raises(RuntimeError, match="begin_change"), library.database.write() as connection:
        insert_page(connection, tags, ("content_id", "rank"), [(1, 9)])
    with pytest.raises(RuntimeError, match="begin_change"):
        _change_after_settling(library.database, statement)
    with library.database.write() as connection:
        connection.execute(update(photos).values(size_bytes=7))


def _change_after_settling(database: Database, statement: Any) -> None:
    with database.write() as connection:
        begin_change(connection, [1])
        settle(connection, [1])
        connection.execute(statement)


@pytest.mark.parametrize("statement", ["REPLACE INTO main.tags", 'insert or ignore into "tags"'])
def test_a_change_in_the_words_of_sqlite_that_was_not_begun_fails(
    library: StoredPhotos, statement: str
) -> None:
    with pytest.raises(RuntimeError, match="begin_change"), library.database.write() as connection:
        connection.execute(text(f"{statement} (content_id) VALUES (1)"))


@pytest.mark.postgresql
def test_what_was_begun_is_settled_at_the_commit(library: StoredPhotos) -> None:
    database = library.database
    with database.write() as connection:
        begin_change(connection, [1])
        connection.execute(delete(tags))
        assert connection.scalar(select(effective_tags.c.accepted))
    with database.read() as connection:
        assert connection.execute(select(effective_tags)).all() == []
        assert connection.scalar(select(contents.c.outcome)) == "unknown"
    with database.rehearsal() as rehearsed:
        dismiss_photos(rehearsed, [1], "ada")
        with rehearsed.read() as connection:
            assert list(unsettled(connection)) == []


def test_whoever_opened_the_database_hears_of_each_decision_of_people(library: StoredPhotos) -> None:
    database, heard = library.database, list[str]()
    database.after_decisions = lambda: heard.append("decisions")
    change = [1], GATE, VerdictKind.CONFIRMED
    give_verdicts(database, *change, "ada", {}, dry_run=True)
    star_photos(database, [1], "ada", starred=True)
    library.photo("b.jpg", (EIFFEL, 0.9, True))
    assert heard == []
    decisions: tuple[Callable[[], object], ...] = (
        lambda: give_verdicts(database, *change, "ada", {}),
        lambda: withdraw_verdicts(database.acting_as(database.actor), *change, {}),
        lambda: give_examples(database, GATE, [1], [2], "ada"),
        lambda: dismiss_photos(database, [2], "ada"),
        lambda: restore_photos(database, [2]),
    )
    for number, decide in enumerate(decisions, start=1):
        decide()
        assert len(heard) == number
    library.landmark("gate", "Gate")
    with database.write() as connection:
        merge_landmark(connection, "gate", GATE)
    assert len(heard) == len(decisions) + 1
