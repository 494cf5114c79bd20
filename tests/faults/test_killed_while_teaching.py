"""A command that changes tags is killed before a commit, and completed by the same command."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from rig.ledger_invariants import library_violations
from rig.postgres_databases import PostgresDatabases
from sqlalchemy import Table, select
from support.command_line import run_command
from support.commands import Terminal
from support.teaching import draw_place, teachable_artifact

from tagger.cli.main import main
from tagger.database.tables import (
    classifiers,
    contents,
    effective_tags,
    landmarks,
    models,
    photos,
    positions,
    tags,
    taught_tags,
    verdicts,
)

CHURCH, BRIDGE = 0, 1
NOISE = 0.2  # Photos of the church that count as different ones
AT = ("--at", "51.05,13.74")
# What a command leads to, without times, numbers that each attempt raises, and digests of ids.
FACTS = {
    landmarks: ("slug", "name", "aliases"),
    verdicts: ("content_id", "landmark_id", "verdict", "given_by"),
    classifiers: ("landmark_id", "model_id", "examples", "rejected", "data", "applied"),
    taught_tags: ("content_id", "model_id", "landmark_id", "score"),
    tags: ("content_id", "model_id", "landmark_id", "score", "rank", "enough", "odds_reason", "counts"),
    effective_tags: ("content_id", "landmark_id", "state", "reason", "score", "source"),
    positions: ("photo_id", "latitude", "longitude", "source"),
    photos: ("path", "content_id", "failure_kind"),
    contents: ("digest", "outcome"),
}
# What stands for the ids of rows, which an attempt that is killed can use up.
KEYS = {
    "landmark_id": landmarks.c.slug,
    "content_id": contents.c.digest,
    "photo_id": photos.c.path,
    "model_id": models.c.name,
}


class Library:
    """Tagged photos of a church and a bridge, and two untagged ones. `url`: None for SQLite."""

    def __init__(self, folder: Path, databases: PostgresDatabases | None, url: str | None) -> None:
        settings = {"TAGGER_MODEL": str(folder / "teachable.pt")}
        self.terminal = Terminal(folder, settings | ({} if url is None else {"TAGGER_DATABASE_URL": url}))
        self._databases, self._url = databases, url
        self._copies = ExitStack()
        teachable_artifact(folder / "teachable.pt")
        photo = folder / "photos"
        self.church = [
            draw_place(photo / f"church-{seed}.jpg", CHURCH, seed=seed, noise=NOISE) for seed in range(6)
        ]
        self.bridges = [draw_place(photo / f"bridge-{seed}.jpg", BRIDGE, seed=seed) for seed in range(3)]
        self.new = [
            draw_place(folder / "new" / f"church-{seed}.jpg", CHURCH, seed=10 + seed) for seed in range(2)
        ]
        self.terminal.run("tag", "photos")
        self._before = folder / "before"

    def keep(self) -> None:
        self.terminal.data.mkdir(exist_ok=True)  # with PostgreSQL, nothing may be in it
        shutil.copytree(self.terminal.data, self._before)

    def start_again(self) -> None:
        shutil.rmtree(self.terminal.data)
        shutil.copytree(self._before, self.terminal.data)
        if self._databases is not None and self._url is not None:
            self._copies.close()
            self.terminal.environment["TAGGER_DATABASE_URL"] = self._copies.enter_context(
                self._databases.copy(self._url)
            )

    def close(self) -> None:
        self._copies.close()

    def facts(self) -> dict[str, list[str]]:
        with self.terminal.database() as database, database.read() as connection:
            keys = {
                name: {row[0]: row[1] for row in connection.execute(select(key.table.c.id, key))}
                for name, key in KEYS.items()
            }

            def rows(table: Table, names: tuple[str, ...]) -> Iterator[str]:
                for row in connection.execute(select(*(table.c[name] for name in names))):
                    values = zip(names, row, strict=True)
                    yield repr([keys[name][value] if name in keys else value for name, value in values])

            return {table.name: sorted(rows(table, names)) for table, names in FACTS.items()}

    def assert_consistent(self) -> None:
        self.terminal.run("db", "check")
        with self.terminal.database() as database:
            assert library_violations(database) == []


@pytest.fixture(params=["sqlite", "postgresql"])
def library(request, tmp_path) -> Iterator[Library]:
    databases = url = None
    if request.param == "postgresql":
        databases, url = (request.getfixturevalue(name) for name in ("postgres_databases", "postgres_url"))
    library = Library(tmp_path / "terminal", databases, url)
    yield library
    library.close()


def teach(library: Library) -> tuple[str | Path, ...]:
    return ("teach", "Our church", *library.church[:2], *library.new, "--not", *library.bridges[:2], *AT)


def merge(library: Library) -> tuple[str | Path, ...]:
    library.terminal.run("teach", "Our church", *library.church[:2], *AT)
    library.terminal.run("teach", "Chapel", *library.church[2:4])
    return ("landmark", "merge", "chapel", "--into", "our-church")


def decide(library: Library) -> tuple[str | Path, ...]:
    library.terminal.run("teach", "Our church", *library.church[:2], *AT)
    return ("reject", "our-church", *library.church[2:])


def tag_again(library: Library) -> tuple[str | Path, ...]:
    library.terminal.run("teach", "Our church", *library.church[:2], *AT)
    library.terminal.environment["TAGGER_BATCH_SIZE"] = "2"
    return ("tag", "photos", "new", "--again")


def use_two_models(library: Library) -> tuple[str | Path, ...]:
    library.terminal.run("teach", "Our church", *library.church[:2], *AT)
    second = library.terminal.folder / "second.pt"
    teachable_artifact(second, seed=1, name="second")
    library.terminal.run("model", "add", second)
    del library.terminal.environment["TAGGER_MODEL"]
    return ("model", "use", "second", "teachable")


def classify_with_the_second(library: Library) -> tuple[str | Path, ...]:
    library.terminal.run(*use_two_models(library))
    return ("backfill", "outdated", "--local")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "commits"),
    [
        (teach, 20),
        (merge, 3),
        (decide, 1),
        (tag_again, 5),
        (use_two_models, 2),
        (classify_with_the_second, 5),
    ],
)
def test_a_command_that_was_killed_before_any_commit_is_completed_by_the_same_command(
    library, prepare, commits
):
    command = prepare(library)
    library.keep()
    library.start_again()
    library.terminal.run(*command)
    undisturbed = library.facts()
    for commit in count(1):
        library.start_again()
        if not library.terminal.is_killed(*command, commit=commit):
            assert commit > commits, (
                "the command commits less often than expected; does the test still see it?"
            )
            break
        library.assert_consistent()
        again = run_command(
            main, *command, environment=library.terminal.environment, folder=library.terminal.folder
        )
        # 1 and 2: nothing was left to do but what follows from it; merged landmarks are one.
        assert again.code in {0, 1, 2}, again.err
        if prepare is merge:  # what it changed is learned apart, as `tagger doctor` says
            library.terminal.run("backfill", "taught", "--local")
        assert library.facts() == undisturbed, f"killed before commit {commit}"
        library.assert_consistent()
