"""Creates the schema in an empty database: the tables with their indexes, and the views."""

from datetime import UTC, datetime
from uuid import uuid4

from sqlalchemy import Connection, insert, text

from tagger.database.tables import ledgers, metadata
from tagger.database.views import view_statements


def create_schema(connection: Connection) -> None:
    """Create all that the database of a new ledger has, and the row of its identity."""
    is_sqlite = connection.dialect.name == "sqlite"
    for table in metadata.tables.values():
        for index in table.indexes:
            if "where" in index.info:
                index.dialect_options[connection.dialect.name]["where"] = index.info["where"]
    metadata.create_all(connection, checkfirst=False)
    for name, query in view_statements(is_sqlite=is_sqlite).items():
        connection.execute(text(f"CREATE VIEW {name} AS {query}"))
    connection.execute(insert(ledgers).values(id=1, ledger_id=str(uuid4()), created_at=datetime.now(UTC)))
