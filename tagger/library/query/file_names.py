"""Photos by the start of their file's name, along an index; reads only."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from tagger.database.connection import Database
from tagger.database.path_parts import name_of
from tagger.database.tables import photos

_ROWS = 100
"""Rows of the index to read. If the files of all of them are gone, none is found."""
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True)
class NamedFile:
    """A file and its photo; `path` is relative to its root."""

    photo_id: int
    name: str
    path: str


def files_by_name(database: Database, start: str, limit: int) -> Sequence[NamedFile]:
    """Photos whose file's name starts with a text, in order of the names. The case of ASCII letters does not matter."""
    low = _in_lower_case(start)
    name = name_of(photos.c.path)
    query = (
        select(photos.c.id, photos.c.path, photos.c.gone_since, photos.c.primary_id)
        .where(name >= low, name < low + _LAST_CHARACTER)
        .order_by(name)
        .limit(_ROWS)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    present = [row for row in rows if row.gone_since is None]
    return [
        NamedFile(row.primary_id or row.id, row.path.rpartition("/")[2], row.path) for row in present[:limit]
    ]


def _in_lower_case(text: str) -> str:
    """As `name_of` on both databases."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)
