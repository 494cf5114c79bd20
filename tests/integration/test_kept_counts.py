"""The kept numbers of photos of each landmark and month: equal to a full count at each moment, whoever writes."""

import re
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, text, update
from support.counted_rows import (
    IMAGES,
    LANDMARKS,
    NOW,
    OPERATIONS,
    PHOTOS,
    assert_exact,
    decide,
    fill,
    marked_blocks,
    tag,
)
from support.examples import examples
from support.query_plans import query_plans
from support.threads import in_threads

from tagger.database.connection import Database, open_database
from tagger.database.tables import (
    contents,
    landmark_block_counts,
    month_block_counts,
    photos,
    tags,
)
from tagger.library.catalog.kept_counts import (
    BLOCK,
    count_changed_blocks,
    count_some_blocks,
    kept_photos_by_landmark,
    kept_photos_by_month,
    mark_all_blocks,
    recount_all,
)
from tagger.transfer.integrity import WRONG_COUNTS, count_problems


@pytest.fixture
def rows(database: Database) -> Database:
    """A database with images of three blocks, and landmarks."""
    fill(database)
    return database


@pytest.mark.hypothesis
@pytest.mark.postgresql
def test_kept_counts_are_those_of_all_rows_after_any_statements(rows: Database) -> None:
    operation = st.tuples(
        st.sampled_from(sorted(OPERATIONS)),
        st.sampled_from(IMAGES),
        st.sampled_from(LANDMARKS),
        st.sampled_from(PHOTOS),
        st.booleans(),
    )
    steps = st.one_of(st.lists(operation, min_size=1, max_size=4), st.none())

    @examples(10)
    @given(st.lists(steps, min_size=1, max_size=12))
    def check(transactions: list[list[tuple[Any, ...]] | None]) -> None:
        for operations in transactions:
            if operations is None:
                count_some_blocks(rows)
            else:
                with rows.write() as connection:
                    for name, *values in operations:
                        OPERATIONS[name](connection, *values)
            assert_exact(rows)

    check()


@pytest.mark.postgresql
def test_kept_counts_are_exact_while_others_write_and_count(rows: Database) -> None:
    """Each writer changes images of its own, and all of them the same blocks."""
    writers = 3
    ended: list[int] = []
    names = sorted(OPERATIONS.keys() - {"merge_tags", "move_tag", "turn_taught", "forget_taught"})

    def write(number: int) -> None:
        steps = Random(number)
        for _ in range(25):
            with rows.write() as connection:
                for _ in range(steps.randint(1, 3)):
                    image = steps.choice(IMAGES[number::writers])
                    photo = steps.choice(PHOTOS[number::writers])
                    values = (image, steps.choice(LANDMARKS), photo, steps.random() < 0.5)
                    OPERATIONS[steps.choice(names)](connection, *values)
        ended.append(number)

    def until_writers_end(step: Callable[[], object]) -> None:
        until_s = time.monotonic() + 60
        while len(ended) < writers and time.monotonic() < until_s:
            step()

    count = partial(until_writers_end, partial(count_some_blocks, rows))
    read = partial(until_writers_end, partial(assert_exact, rows))
    in_threads([*(partial(write, number) for number in range(writers)), count, count, read])
    assert len(ended) == writers
    count_changed_blocks(rows, 60)
    assert_exact(rows)
    assert list(count_problems(rows)) == []


@pytest.mark.parametrize("change", ["tag", "date"])
def test_a_change_that_is_stored_while_its_block_is_counted_is_counted_next(
    postgres_url: str, change: str
) -> None:
    """The transaction of a writer is open while the marks of another one are counted and deleted."""
    with closing(open_database(postgres_url)) as database:
        fill(database)
        with database.write() as writer:
            OPERATIONS[change](writer, IMAGES[0], 3, 1, True)
            with database.write() as other:
                tag(other, IMAGES[1], 3, 2, True)
            count_changed_blocks(database, 60)
            assert marked_blocks(database) == []
        assert marked_blocks(database) == [0]
        assert_exact(database)
        count_changed_blocks(database, 60)
        assert_exact(database)


@pytest.mark.postgresql
def test_one_process_counts_at_a_time(postgres_url: str) -> None:
    with closing(open_database(postgres_url)) as database:
        fill(database)
        with database.write() as connection:
            mark_all_blocks(connection)  # holds the lock of those that count
            assert count_some_blocks(database) == 0
        assert count_some_blocks(database) == 3


def test_changes_without_effect_mark_nothing(rows: Database) -> None:
    """Candidates of models are most of the tags, and scans change photos that are not classified."""
    with rows.write() as connection:
        tag(connection, IMAGES[0], 3, 1, False)
    count_changed_blocks(rows, 60)
    with rows.write() as connection:
        tag(connection, IMAGES[0], 3, 1, False)
        connection.execute(update(tags).values(position_odds=2.0, accepted=tags.c.accepted))
        connection.execute(update(photos).values(size_bytes=7, gone_since=photos.c.gone_since, taken_at=None))
        connection.execute(update(contents).values(outcome="tagged", width=4, height=3, threshold=0.5))
        values = {"root_id": 1, "path": "new.jpg", "path_bytes": b"", "size_bytes": 1, "mtime_ns": 1}
        connection.execute(insert(photos).values(values | {"id": 1000}))
        dated = {"gone_since": NOW, "taken_at": datetime(2024, 1, 1)}  # noqa: DTZ001 - local time
        connection.execute(update(photos).where(photos.c.path == "new.jpg").values(dated))
        connection.execute(delete(photos).where(photos.c.path == "new.jpg"))
    assert marked_blocks(rows) == []


def test_wrong_numbers_are_found_and_counted_again(rows: Database) -> None:
    count_changed_blocks(rows, 60)
    assert list(count_problems(rows)) == []
    for change in (
        update(landmark_block_counts).values(photos=9),
        delete(landmark_block_counts),
        update(month_block_counts).values(classified_aspects=month_block_counts.c.classified_aspects + 1),
        insert(landmark_block_counts).values(block=77, landmark_id=1, photos=2),
        update(month_block_counts).values(tagged=9),
        delete(month_block_counts),
    ):
        with rows.write() as connection:
            connection.execute(change)
        assert list(count_problems(rows)) == [WRONG_COUNTS]
        assert recount_all(rows) == 3
        assert list(count_problems(rows)) == []
        assert_exact(rows)


def test_a_recount_ends_while_others_store(rows: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagger.library.catalog.kept_counts.COUNTED_AT_ONCE", 1)
    steps: list[int] = []

    def store(done: int, total: int) -> None:
        steps.append(done)
        assert len(steps) <= total
        with rows.write() as connection:
            tag(connection, IMAGES[0], 3, 1, bool(done % 2))

    assert recount_all(rows, store) == 3
    assert steps == [1, 2, 3]
    assert set(marked_blocks(rows)) == {0}
    assert_exact(rows)


def test_readers_read_marked_blocks_alone(rows: Database) -> None:
    """Not the whole of a table or of an index, which grow with the library."""
    bulk = range(10 * BLOCK, 30 * BLOCK, 16)
    _insert_many(rows, bulk)
    recount_all(rows)
    with rows.write() as connection:
        connection.execute(text("ANALYZE"))
    with rows.write() as connection:
        for image in (bulk[1], bulk[-1]):
            decide(connection, image, 2, 1, False)
    with query_plans(rows, "photos", "EXISTS") as plans, rows.snapshot() as connection:
        kept_photos_by_landmark(connection)
        kept_photos_by_month(connection, "tagged")
    assert len(plans) == 3  # of tags, of taught tags, and of months
    scans = r"SCAN (photos|copies|contents|tags|taught_tags)|Seq Scan on (photos|contents|tags) "
    assert not re.search(scans, "\n".join(plans))
    assert "content_id>" in plans[0] or "content_id >=" in plans[0]


def _insert_many(database: Database, images: range) -> None:
    """Each image with a tag, a candidate and a photo."""
    tag_of = {"landmark_id": 1, "score": 0.7, "model_id": 1}
    photo = {"root_id": 1, "path_bytes": b"", "size_bytes": 1, "mtime_ns": 1}
    with database.write() as connection:
        connection.execute(insert(contents), [{"id": each, "digest": f"digest {each}"} for each in images])
        for rank in (1, 2):
            row = tag_of | {"rank": rank, "accepted": rank == 1}
            connection.execute(insert(tags), [row | {"content_id": each} for each in images])
        named = [photo | {"id": each, "path": f"{each}.jpg", "content_id": each} for each in images]
        connection.execute(insert(photos), named)


def test_every_trigger_exists_after_all_migrations(database: Database) -> None:
    """Alembic's batch mode replaces a table of SQLite by a new one without triggers."""
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        if database.is_sqlite
        else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'O'"
    )
    kinds = ("insert", "delete", "update", *(["move"] if database.is_sqlite else []))
    tables = ("tags", "taught_tags", "verdicts", "dismissals", "photos")
    with database.read() as connection:
        names = set(connection.scalars(text(query)))
    of_tables = {f"{table}_{kind}_changes_blocks" for table in tables for kind in kinds}
    assert names == of_tables | {"contents_update_changes_blocks"}
