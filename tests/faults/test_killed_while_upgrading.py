"""An upgrade from 2.0 or 2.1 is killed before a commit: the next one leads to what one alone leads to."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest
from rig.released_library import LIBRARIES, unpack_library
from sqlalchemy import Table, select
from support.commands import Terminal

from tagger.database.engine import create_database_engine
from tagger.database.schema import SCHEMA_REVISION, schema_revision
from tagger.database.tables import (
    changed_days,
    classifiers,
    contents,
    dismissals,
    effective_tags,
    favourites,
    ledgers,
    metadata_writes,
    positions,
    trip_edits,
    trips,
    verdicts,
)
from tagger.tags.settlement import unsettled

SMALL_PAGES = "tagger.tags.settlement.PAGE=10"
UPGRADE = ("db", "upgrade")
FACTS: dict[Table, tuple[str, ...]] = {
    contents: ("id", "outcome"),
    effective_tags: tuple(effective_tags.columns.keys()),
    changed_days: ("step", "content_id", "photo_id"),
    trips: ("first_at", "last_at", "summary"),
    classifiers: ("model_id", "landmark_id"),
    **{
        table: tuple(table.columns.keys())
        for table in (verdicts, dismissals, favourites, positions, trip_edits, metadata_writes)
    },
}


class Release:
    def __init__(self, unpack: Callable[[], Terminal]) -> None:
        self._unpack = unpack

    def undisturbed(self) -> dict[str, list[str]]:
        self.terminal = self._unpack()
        return self.upgrade()

    def is_killed(self, commit: int) -> bool:
        """Upgrade a new library, and kill the command before this commit. False if it made fewer."""
        self.terminal = self._unpack()
        self.terminal.inject(values=SMALL_PAGES)
        return self.terminal.is_killed(*UPGRADE, commit=commit)

    def settled_images(self) -> int:
        """The number of images that a killed upgrade has settled, wholly."""
        url = self.terminal.environment.get("TAGGER_DATABASE_URL")
        engine = create_database_engine(url or f"sqlite:///{self.terminal.data}/tagger.sqlite")
        with ExitStack() as stack:
            stack.callback(engine.dispose)
            connection = stack.enter_context(engine.connect())
            if schema_revision(engine) != SCHEMA_REVISION:
                return 0  # the tables are those of 2.0
            last = connection.scalar(select(ledgers.c.settled_to))
            is_settled = contents.c.id <= last if last is not None else contents.c.id > 0
            settled = set(connection.scalars(select(contents.c.id).where(is_settled)))
            assert settled.isdisjoint(unsettled(connection))
        return len(settled)

    def upgrade(self) -> dict[str, list[str]]:
        self.terminal.run(*UPGRADE)
        self.terminal.run("db", "check")
        with self.terminal.database() as database, database.read() as connection:
            return {
                table.name: sorted(map(repr, connection.execute(select(*(table.c[name] for name in names)))))
                for table, names in FACTS.items()
            }


@pytest.fixture
def release(request, tmp_path) -> Iterator[Release]:
    (file,) = (file for file in LIBRARIES if file.name.startswith(request.param))
    numbers = count()
    with ExitStack() as databases:

        def empty_url() -> str:
            return databases.enter_context(request.getfixturevalue("postgres_databases").empty())

        yield Release(lambda: unpack_library(file, tmp_path / str(next(numbers)), empty_url))


@pytest.mark.parametrize(
    "release",
    ["2.0.0-sqlite", pytest.param("2.0.0-postgresql", marks=pytest.mark.slow)],
    indirect=True,
)
def test_an_upgrade_that_was_killed_is_continued(release):
    undisturbed = release.undisturbed()
    assert any(release.is_killed(commit) and release.settled_images() for commit in range(2, 24))
    assert release.settled_images() in {10, 20}
    assert release.upgrade() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("release", "numbers_of_settled"),
    [
        *((f"2.0.0-{kind}", {0, 10, 20, 30, 40, 50}) for kind in ("sqlite", "postgresql")),
        *((f"2.1.0-{kind}", {0, 50}) for kind in ("sqlite", "postgresql")),
    ],
    indirect=["release"],
)
def test_an_upgrade_that_was_killed_before_any_commit_is_continued(release, numbers_of_settled):
    undisturbed = release.undisturbed()
    settled: list[int] = []
    for commit in count(1):
        if not release.is_killed(commit):
            break
        settled.append(release.settled_images())
        assert release.upgrade() == undisturbed, f"killed with {settled[-1]} images settled"
    assert set(settled) == numbers_of_settled
