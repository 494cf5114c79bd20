"""Exports a database as lines of JSON: a header, one line per row, and an end with counts and a checksum.

Rows come page by page from one snapshot; other processes may write meanwhile. The tables say which of their rows and columns
are exported.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import IO, Any

from sqlalchemy import Column, Connection, Select, Table, case, func, select

from tagger.database.connection import Database
from tagger.database.diagnostics import stored_rows
from tagger.database.schema import SCHEMA_REVISION
from tagger.database.tables import chunks, metadata, photos

PROGRESS_ROWS = 2000
Progress = Callable[[int, int], None]
"""Called with the number of rows done, and of all rows."""


def export_database(
    database: Database, out: IO[bytes], program: str, progress: Progress = lambda _done, _total: None
) -> dict[str, int]:
    """Write every row to `out`, in constant memory; returns the number of rows by table. `program` is the version of this program."""
    hasher = hashlib.sha256()

    def write(line: bytes) -> None:
        hasher.update(line)
        out.write(line)

    with database.snapshot() as connection:
        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in exported_tables()
        }
        header = {
            "file": TITLE,
            "format": FORMAT,
            "schema": SCHEMA_REVISION,
            "program": program,
            "ledger": database.ledger_id,
            "written_at": datetime.now(UTC).isoformat(),
            "counts": counts,
        }
        write(encode_line(header))
        written = dict.fromkeys(counts, 0)
        for table in exported_tables():
            for line in _lines(connection, table):
                write(line)
                written[table.name] += 1
                if not written[table.name] % PROGRESS_ROWS:
                    progress(sum(written.values()), sum(counts.values()))
    out.write(encode_line({"end": {"counts": written, "sha256": hasher.hexdigest()}}))
    return written


FORMAT = 1
TITLE = "landmark-tagger database"


def exported_tables() -> list[Table]:
    """The tables, each after those that its foreign keys refer to."""
    return [table for table in metadata.sorted_tables if _is_exported(table)]


def exported_columns(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if _is_exported(column)]


def row_counts_text(counts: Mapping[str, int]) -> str:
    """The tables that have rows, in words: `1 root, 2 job items`."""
    nouns = ((count, name.replace("_", " ").removesuffix("s")) for name, count in counts.items() if count)
    return ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in nouns)


def encode_line(document: object) -> bytes:
    """A document as one line of the file. Bytes are base64 in it, and times are ISO 8601."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False, default=_text).encode() + b"\n"


def _text(value: bytes | datetime) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value.isoformat()


def _lines(connection: Connection, table: Table) -> Iterator[bytes]:
    for row in chain.from_iterable(stored_rows(connection, table, query) for query in _selects(table)):
        yield encode_line({"table": table.name, "row": row._asdict()})


def _selects(table: Table) -> Iterator[Select[Any]]:
    """The queries that together read the table, each in the order of its keys."""
    # An active claim is exported like a released chunk: it counts no attempt.
    claimed = chunks.c.done.is_(False) & chunks.c.lease_until.is_not(None)
    attempts = case((claimed, chunks.c.attempts - 1), else_=chunks.c.attempts).label("attempts")
    query = select(*(attempts if each is chunks.c.attempts else each for each in exported_columns(table)))
    if table is photos:  # the rows to which others refer come first
        yield query.where(photos.c.primary_id.is_(None))
        query = query.where(photos.c.primary_id.is_not(None))
    yield query


def _is_exported(item: Table | Column[Any]) -> bool:
    """Whether it moves with a database, which its `info` says.

    An imported file grants no access, does not tell who did what here, and sends nothing. Claims, ticks and selected
    backends belong to one place.
    """
    return bool(item.info.get("exported", True))
