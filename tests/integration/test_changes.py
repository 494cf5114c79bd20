"""No transaction changes what decides about images without deciding, and no verdict without learning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from support.library_photos import EIFFEL
from support.schemas import downgrade
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.statements import insert_page
from tagger.database.tables import contents, dismissals, effective_tags, photos, tags, taught_tags, verdicts
from tagger.landmarks.removal import merge_landmark
from tagger.tags.settlement import begin_change, settle, unsettled
from tagger.transfer.upgrade import upgrade_database
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


@pytest.mark.postgresql
def test_an_upgrade_keeps_scores_and_odds_and_forgets_what_followed_from_them(
    library: StoredPhotos, database_url: str
) -> None:
    """Refused by a position and by a speed, raised by a position, and of a damaged image."""
    odds: list[tuple[bool, float | None, str | None]] = [
        (True, 0.002, "position"),
        (True, 0.002, "speed"),
        (False, 5.0, "position"),
        (True, None, None),
    ]
    for number, (enough, factor, reason) in enumerate(odds, start=2):
        library.photo(f"{number}.jpg", (EIFFEL, 0.9 if enough else 0.6, enough))
        library.taught(number, GATE, 0.95 if enough else 0.6)
        with library.database.write() as connection:
            begin_change(connection, [number])
            turned = {"position_odds": factor, "distance_m": factor and 7.0, "odds_reason": reason}
            for table in (tags, taught_tags):
                connection.execute(update(table).where(table.c.content_id == number).values(turned))
            if factor is None:
                connection.execute(update(contents).where(contents.c.id == number).values(damaged=True))

    def rows() -> list[set[Any]]:
        with library.database.read() as connection:
            tables = (tags, taught_tags, effective_tags)
            return [set(map(tuple, connection.execute(select(table)))) for table in tables]

    before = rows()
    engine = downgrade(database_url, "1013")
    query = "SELECT accepted, doubtful FROM {} WHERE content_id > 1 ORDER BY content_id"
    found = [(False, "position"), (False, "speed"), (True, None)]
    with engine.connect() as connection:
        for name, damaged in (("tags", (False, "damaged")), ("taught_tags", (True, None))):
            earlier = connection.execute(text(query.format(name))).all()
            assert [(bool(accepted), doubtful) for accepted, doubtful in earlier] == [*found, damaged]
    engine.dispose()
    upgrade_database(database_url)
    assert rows() == before
    with library.database.read() as connection:
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
