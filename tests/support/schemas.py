"""Databases with the schema of 1.1, in libraries that 1.0 made."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from rig.released_library import LIBRARIES, unpack_library
from sqlalchemy import Connection, Engine

from tagger.database.engine import create_database_engine
from tagger.database.schema import migrations_folder

BEFORE = "1007"
"""The schema of 1.1."""


def library_of_1_1(
    kind: str, folder: Path, request: pytest.FixtureRequest, revision: str = BEFORE
) -> tuple[str, Engine]:
    """The address of a library of 1.0 that 1.1 has upgraded, or one with another schema, and an engine for it."""
    file = next(file for file in LIBRARIES if file.name.startswith("1.0") and kind in file.name)
    terminal = unpack_library(file, folder, lambda: str(request.getfixturevalue("empty_postgres_url")))
    url = terminal.environment.get("TAGGER_DATABASE_URL") or f"sqlite:///{terminal.data}/tagger.sqlite"
    engine = create_database_engine(url)
    with engine.begin() as connection:
        migrate(connection, revision)
    return url, engine


def migrate(connection: Connection, revision: str) -> None:
    """Upgrade the schema to a revision."""
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
