"""The backends that were selected for models. What one machine measured, the others of its kind need not measure again."""

import logging
import socket
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from tagger.database.connection import Database
from tagger.database.tables import backend_selections
from tagger.model.backends.protocol import BackendChoice, SelectionKey

log = logging.getLogger(__name__)

_CHOICE = TypeAdapter(BackendChoice)


@dataclass(frozen=True)
class StoredSelection:
    """A selection, and the machine that measured it."""

    choice: BackendChoice
    selected_at: datetime
    selected_by: str


class StoredSelections:
    """The selections in a database (see model.backends.protocol.SelectionStore)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, key: SelectionKey) -> BackendChoice | None:
        """None if there is none, or an invalid one."""
        stored = find_selection(self._database, key)
        return None if stored is None else stored.choice

    def store(self, key: SelectionKey, choice: BackendChoice) -> None:
        """Store the choice. An error of the database is logged: it only makes the next start slower."""
        row = {
            "key": str(key),
            "model_digest": key.model,
            "device": key.device,
            "hardware": key.hardware,
            "engines": list(key.engines),
            "backend": choice.backend,
            "batch_size": choice.batch_size,
            "selected_at": datetime.now(UTC),
            "selected_by": socket.gethostname(),
        }
        try:
            with self._database.write() as connection:
                connection.execute(delete(backend_selections).where(backend_selections.c.key == str(key)))
                connection.execute(insert(backend_selections).values(row))
        except SQLAlchemyError as error:
            log.info("the selected backend could not be stored: %s", error)


def find_selection(database: Database, key: SelectionKey) -> StoredSelection | None:
    """The selection that a machine of this kind made; None if there is none, or an invalid one."""
    query = select(backend_selections).where(backend_selections.c.key == str(key))
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return None
    values = {"backend": row.backend, "batch_size": row.batch_size}
    try:
        choice = _CHOICE.validate_python(values)
    except ValidationError:
        return None
    return StoredSelection(choice, row.selected_at, row.selected_by)
