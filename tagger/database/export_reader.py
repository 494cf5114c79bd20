"""Reads an exported database line by line, and refuses a file that is damaged, incomplete or of another version."""

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

from sqlalchemy import Table
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, StatementError

from tagger.database.export_format import (
    FORMAT,
    TITLE,
    Converter,
    exported_columns,
    exported_tables,
    from_json,
)
from tagger.database.exporter import Progress
from tagger.database.schema import SCHEMA_REVISION
from tagger.errors import ImportRefused

PAGE = 1000
LONGEST_LINE = 1 << 26

_EXPORT_AGAIN = "export the database again, and let it finish"
_PARSE_ERRORS = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


class ExportReader:
    """Reads rows, and checks the header, the counts and the checksum.

    Raises:
        ImportRefused: the file is damaged, incomplete, of another version, or not an exported database.
    """

    def __init__(self, source: IO[bytes], name: str, progress: Progress) -> None:
        self._source, self._name, self._progress = source, name, progress
        self._hasher, self._last_line = hashlib.sha256(), b""
        self._line_number = 0
        self._parsers = {table.name: _RowParser(table) for table in exported_tables()}
        self._header = self._read_header()
        self.ledger = str(self._header["ledger"])
        self.counts: dict[str, int] = dict.fromkeys(self._parsers, 0)
        """The number of rows read so far, by table."""

    def pages(self) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
        """Yield rows of one table at a time, ready to insert. The last page follows after the end was checked."""
        page: list[dict[str, Any]] = []
        current: _RowParser | None = None
        total = sum(self._header["counts"].values())
        while True:
            document = self._read_document()
            if "end" in document:
                self._check_end(document["end"])
                break
            with self.refuse_on_error():
                parser = self._parsers[document["table"]]
                values = parser.parse(document["row"])
            if current is not None and (parser is not current or len(page) == PAGE):
                yield current.table, page
                page = []
                self._progress(sum(self.counts.values()), total)
            current = parser
            page.append(values)
            self.counts[current.table.name] += 1
        if current is not None:
            yield current.table, page

    @contextmanager
    def refuse_on_error(self) -> Iterator[None]:
        """Refuse the file if parsing or storing its rows fails."""
        try:
            yield
        except IntegrityError as error:
            raise self._refusal(
                f"near line {self._line_number} a row is duplicated, or refers to a missing row"
            ) from error
        except (DataError, StatementError) as error:
            if isinstance(error, OperationalError):
                raise
            raise self._refusal(f"near line {self._line_number} a value cannot be stored") from error
        except _PARSE_ERRORS as error:
            raise self._refusal(f"line {self._line_number} is not a row of a database") from error

    def _read_header(self) -> Mapping[str, Any]:
        header = self._read_document()
        if header.get("file") != TITLE or not isinstance(header.get("counts"), dict):
            raise self._refusal("it is not an exported database", "name a file that `tagger export` wrote")
        if (header.get("format"), header.get("schema")) != (FORMAT, SCHEMA_REVISION):
            raise self._refusal(
                f"it has format {header.get('format')} and schema {header.get('schema')}, written by tagger "
                f"{header.get('program')}; this version reads format {FORMAT} and schema {SCHEMA_REVISION}",
                "install the same version on both sides (then `tagger db upgrade`), and export again",
            )
        return header

    def _read_document(self) -> Mapping[str, Any]:
        with self._refuse_on_read_error():
            line = self._source.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise self._refusal(f"it ends early, after {self._line_number} lines")
        self._hasher.update(self._last_line)  # the checksum in the last line covers all lines before it
        self._line_number, self._last_line = self._line_number + 1, line
        with self.refuse_on_error():
            document = json.loads(line)
        if not isinstance(document, dict):
            raise self._refusal(f"line {self._line_number} is not a row of a database")
        return document

    def _check_end(self, end: object) -> None:
        with self._refuse_on_read_error():
            more = self._source.read(1)  # a compressed file also checks its own end here
        if not isinstance(end, dict) or end.get("sha256") != self._hasher.hexdigest():
            raise self._refusal("its checksum is wrong: it was changed or damaged")
        if more:
            raise self._refusal("data follows its end")
        if end.get("counts") != self.counts or self._header["counts"] != self.counts:
            raise self._refusal("rows are missing, or there are too many")

    @contextmanager
    def _refuse_on_read_error(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError, zlib.error) as error:  # a compressed file that is truncated or damaged
            raise self._refusal(f"it cannot be read after line {self._line_number}: {error}") from error

    def _refusal(self, reason: str, remedy: str = _EXPORT_AGAIN) -> ImportRefused:
        return ImportRefused(file=self._name, reason=reason, remedy=remedy)


class _RowParser:
    """Converts rows of one table from JSON."""

    def __init__(self, table: Table) -> None:
        self.table = table
        columns = exported_columns(table)
        self._names = frozenset(column.name for column in columns)
        self._converters: Sequence[tuple[str, Converter]] = [
            (column.name, convert) for column in columns if (convert := from_json(column)) is not None
        ]

    def parse(self, row: dict[str, Any]) -> dict[str, Any]:
        """The values of a row.

        Raises:
            ValueError, TypeError: the document is not a row of this table.
        """
        if row.keys() != self._names:
            raise ValueError("not the columns of the table")
        for name, convert in self._converters:
            row[name] = convert(row[name])
        return row
