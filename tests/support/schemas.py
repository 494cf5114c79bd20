"""Libraries that releases made, with their schema."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from rig.released_library import LIBRARIES, unpack_library
from sqlalchemy import Engine

from tagger.database.engine import create_database_engine
from tagger.database.schema import migrations_folder

BEFORE = "1014"  # The schema of 2.0


def released_library(
    version: str, kind: str, folder: Path, request: pytest.FixtureRequest
) -> tuple[str, Engine]:
    """The address of a library that a release made, and an engine for it."""
    file = next(file for file in LIBRARIES if file.name.startswith(version) and kind in file.name)
    terminal = unpack_library(file, folder, lambda: str(request.getfixturevalue("empty_postgres_url")))
    url = terminal.environment.get("TAGGER_DATABASE_URL") or f"sqlite:///{terminal.data}/tagger.sqlite"
    return url, create_database_engine(url)


def migrate(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
