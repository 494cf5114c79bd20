"""Databases with the schema of an earlier version."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from tagger.database.engine import create_database_engine
from tagger.database.schema import migrations_folder


def downgrade(database_url: str, revision: str) -> Engine:
    """Give the database the schema of an earlier version."""
    engine = create_database_engine(database_url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(migrations_folder()))
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    return engine
