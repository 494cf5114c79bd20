"""Upgrades a database: its schema, then what this version derives from the rows of an earlier one."""

from collections.abc import Callable
from contextlib import closing

from tagger.database.connection import open_database
from tagger.database.schema import SCHEMA_REVISION, read_revision, upgrade_schema
from tagger.errors import SchemaOutdated
from tagger.kept.update import update_kept
from tagger.positions.update import name_sights
from tagger.tags.settlement import settle_after_upgrade


def upgrade_database(
    url: str, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> str:
    """Upgrade the database at `url`. Returns the previous revision of its schema ("" for an empty database).

    If it is interrupted, the next one continues. `on_progress` gets the number of images done, and of all.

    Raises:
        DatabaseUnavailable: the database does not answer or cannot be opened.
        Unavailable: another transaction does not end.
    """
    before = upgrade_schema(url)
    with closing(open_database(url, is_upgrade=True)) as database:
        name_sights(database)
        settle_after_upgrade(database, on_progress)
        update_kept(database, only_days=True)
    return before


def is_upgraded(url: str) -> bool:
    """Whether the database at `url` has this version's schema, and no upgrade was interrupted after that."""
    if read_revision(url) != SCHEMA_REVISION:
        return False
    try:
        open_database(url).close()
    except SchemaOutdated:
        return False
    return True
