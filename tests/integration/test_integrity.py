"""`tagger db check` names rows that cannot be used."""

from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from support.artifacts import tiny_artifact
from support.colour_folders import TaggedFolder
from support.stored_photos import StoredPhotos

from tagger.database.connection import open_database
from tagger.registry.registered_models import add_model
from tagger.transfer.integrity import check_database, connection_problems


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE photos SET gone_since = 'soon'", "photos: a row cannot be read"),
        ("UPDATE landmarks SET aliases = 'no list'", "landmarks: a row cannot be read"),
        ("UPDATE models SET manifest = '{}'", "model tiny: its manifest cannot be used"),
        (
            "DELETE FROM model_labels WHERE position = 1",
            "model tiny: its labels are not those of its manifest",
        ),
        (
            "UPDATE contents SET outcome = 'unknown'",
            f"image 1-{'b2' * 32}: its effective tags or its outcome",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, change: str, problem: str) -> None:
    tiny_artifact(tmp_path / "tiny.pt")
    with closing(open_database(f"sqlite:///{tmp_path}/library.sqlite")) as database:
        library = StoredPhotos(database, tmp_path / "photos", add_model(database, tmp_path / "tiny.pt"))
        library.photo("a.jpg", ("eiffel-tower", 0.9, True), digest=f"1-{'b2' * 32}")
        with database.read() as connection, connection.begin() as transaction:
            assert list(connection_problems(connection)) == []
            connection.execute(text(change))
            found = list(connection_problems(connection))
            transaction.rollback()
    assert any(line.startswith(problem) for line in found), found


@pytest.mark.postgresql
def test_a_database_in_use_is_checked_in_one_state(folder: TaggedFolder) -> None:
    folder.draw("a.jpg")
    folder.tag()
    with folder.database.write() as connection:
        connection.execute(text("UPDATE jobs SET total = 2"))
        connection.execute(text("UPDATE contents SET outcome = 'unknown'"))
    problems = check_database(folder.database)
    assert next(problems).startswith("job 1:")
    with folder.database.write() as connection:
        connection.execute(text("UPDATE contents SET outcome = 'tagged'"))
    assert [line.partition(" ")[0] for line in problems] == ["image"]
    assert [line.partition(" ")[0] for line in check_database(folder.database)] == ["job"]
