"""The views for people's own SQL say what the commands say, on both databases, by indexes."""

import re
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import select, text
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database, open_database
from tagger.database.diagnostics import database_stats
from tagger.database.enums import VerdictKind
from tagger.database.tables import photo_tags, photos_view
from tagger.query.details import photo_details
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.verdicts.verdicts import give_verdicts

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "sql.md"
STATEMENTS = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.postgresql


@pytest.fixture
def library(database: Database, tmp_path: Path) -> StoredPhotos:
    library = StoredPhotos.with_tiny_model(database, tmp_path)
    library.photo("both.jpg", (EIFFEL, 0.9, True), (GATE, 0.8, True), taken_at=datetime(2024, 6, 1, 12, 0))  # noqa: DTZ001
    library.photo("weak.jpg", (EIFFEL, 0.2, False))
    library.photo("rejected.jpg", (EIFFEL, 0.9, True))
    library.photo("confirmed.jpg", (EIFFEL, 0.1, False))
    library.photo("new.jpg", classified=False)
    library.photo("broken.jpg", classified=False, failure_kind="corrupt", failure_text="It is damaged.")
    library.position("both.jpg", 48.86, 2.29, source="landmark")
    for name, landmark, kind in (
        ("rejected.jpg", EIFFEL, VerdictKind.REJECTED),
        ("confirmed.jpg", VERSAILLES, VerdictKind.CONFIRMED),
    ):
        give_verdicts(database, [library.root / name], landmark, kind, "ada", {})
    return library


def test_photo_tags_are_the_accepted_tags_of_queries(library: StoredPhotos) -> None:
    with library.database.read() as connection:
        rows = connection.execute(select(photo_tags)).all()
    queried = {
        (photo.path, tag.landmark, tag.score, tag.source, tag.verdict, tag.model)
        for photo in find_tagged(library.database, PhotoQuery())
        for tag in photo.tags
    }
    assert {
        (row.path, row.landmark, row.score, row.source, row.verdict, row.model) for row in rows
    } == queried
    assert len(rows) == len(queried) == 3
    assert all(row.accepted for row in rows)
    located = next(row for row in rows if row.landmark == GATE)
    assert (located.latitude, located.position_source, located.taken_at.year) == (48.86, "landmark", 2024)


def test_a_confirmed_prediction_and_a_taught_tag_keep_score_and_model(library: StoredPhotos) -> None:
    library.taught(2, GATE, 0.95)
    give_verdicts(library.database, [library.root / "weak.jpg"], EIFFEL, VerdictKind.CONFIRMED, "ada", {})
    with library.database.read() as connection:
        query = select(photo_tags).where(photo_tags.c.path.like("%weak.jpg"))
        rows = {row.landmark: (row.score, row.source, row.verdict) for row in connection.execute(query)}
    assert rows == {EIFFEL: (0.2, "model", "confirmed")}


def test_photos_view_has_each_photo_once_with_its_outcome(library: StoredPhotos) -> None:
    with library.database.read() as connection:
        rows = {row.path: row for row in connection.execute(select(photos_view))}
    assert {Path(path).name: row.outcome for path, row in rows.items()} == {
        "both.jpg": "tagged",
        "weak.jpg": "unknown",
        "rejected.jpg": "unknown",
        "confirmed.jpg": "tagged",
        "new.jpg": "untagged",
        "broken.jpg": "failed",
    }
    assert {row.camera for row in rows.values()} == {None}  # a folder is no camera
    stats = database_stats(library.database)
    assert (stats.tagged, stats.unknown) == (2, 2)
    for path, row in rows.items():
        if row.outcome in {"tagged", "unknown"}:
            assert photo_details(library.database, Path(path)).photo.outcome == row.outcome


@pytest.mark.parametrize("statement", STATEMENTS, ids=range(1, len(STATEMENTS) + 1))
def test_statements_of_the_documentation_run(library: StoredPhotos, statement: str) -> None:
    assert len(STATEMENTS) == 8
    statement = statement.replace("alai-minar", EIFFEL).replace("India", "France")
    with library.database.read() as connection:
        assert connection.execute(text(statement)).all()


@pytest.mark.parametrize(
    ("question", "search"),
    [
        ("photo_tags WHERE landmark = 'eiffel-tower'", "(slug=?)"),
        ("photo_tags WHERE country = 'France'", "(country=?)"),
        (
            "photo_tags WHERE taken_at >= '2024-01-01' AND taken_at < '2025-01-01'",
            "(taken_at>? AND taken_at<?)",
        ),
        (
            "photo_tags WHERE latitude BETWEEN 48 AND 49 AND longitude BETWEEN 2 AND 3",
            "(latitude>? AND latitude<?)",
        ),
        ("photos_view WHERE country = 'France'", "(country=?)"),
        ("photos_view WHERE failure_kind IS NOT NULL", "ix_photos_failing"),
    ],
)
def test_frequent_questions_use_indexes(tmp_path: Path, question: str, search: str) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'library.sqlite'}")
    with database.read() as connection:
        plan = connection.execute(text(f"EXPLAIN QUERY PLAN SELECT path FROM {question}"))
        steps = [row[3] for row in plan]
    database.close()
    assert [step for step in steps if "USING" in step and search in step]
    scans = {step for step in steps if step.startswith("SCAN") and search not in step}
    assert scans <= {"SCAN photo_tags"}  # its result
