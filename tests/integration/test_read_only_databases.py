"""An SQLite file in a folder of another user, who lets this one read it."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from support.privileges import without_root_privileges

from tagger.database.connection import open_database, upgrade_database


@pytest.fixture
def file() -> Iterator[Path]:
    with TemporaryDirectory() as name:  # not in tmp_path, which only its user may enter
        folder = Path(name)
        file = folder / "tagger.sqlite"
        upgrade_database(f"sqlite:///{file}")
        file.chmod(0o444)
        folder.chmod(0o555)
        yield file
        folder.chmod(0o755)


def test_a_database_in_a_folder_of_another_user_is_read_and_not_changed(file: Path) -> None:
    before = file.read_bytes()
    with without_root_privileges():
        database = open_database(f"sqlite:///{file}")
        with database.read() as connection:
            assert connection.scalar(text("SELECT count(*) FROM photos")) == 0
        with pytest.raises(OperationalError, match="readonly"), database.write() as connection:
            connection.execute(text("DELETE FROM photos"))
        database.close()
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    assert file.read_bytes() == before
