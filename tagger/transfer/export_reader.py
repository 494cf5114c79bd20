"""Reads an exported database line by line, and refuses a file that is damaged, incomplete or of another version.

Every row is checked by what it means (see rows). Memory is bounded: by the length of a line, the number of values
in it, and the size of a page.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from pydantic import ValidationError
from pydantic_core import from_json
from sqlalchemy import Table
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, StatementError

from tagger.database.schema import SCHEMA_REVISION
from tagger.database.tables import classifications, job_models, packs, trip_edits
from tagger.errors import ImportRefused
from tagger.transfer.exporter import FORMAT, TITLE, Progress, exported_tables
from tagger.transfer.rows import describe_error, row_validator

PAGE = 1000
PAGE_BYTES = 1 << 22
LONGEST_LINE = 24 * 2**20
"""Room for the undo record of the largest sidecar."""
MOST_VALUES = 500_000
"""The limit on the values in a line. Each takes tens of bytes of memory, and only one or two in the file."""

_SCHEMAS = (SCHEMA_REVISION, "0033")
"""The exported tables have the same columns in both, except those with an `imported_default` in their `info`; and 0.2 had not all tables."""
MISSING_TABLES = {table.name: 0 for table in (packs, classifications, job_models, trip_edits)}
_SMALL_LINE = 1 << 16
_ROW = re.compile(rb'\{\s*"table"\s*:\s*"([a-z_]+)"\s*,\s*"row"\s*:\s*')
_END = re.compile(rb'\{\s*"end"\s*:')
_EXPORT_AGAIN = "export the database again, and let it finish"
_CORRECT = "run `tagger db check` on the exported database, correct what it reports, and export again"


class ExportReader:
    """Reads rows, and checks the header, every row, the counts and the checksum.

    Raises:
        ImportRefused: the file is damaged, incomplete, of another version, or not an exported database.
    """

    def __init__(self, source: IO[bytes], name: str, progress: Progress) -> None:
        self._source, self._name, self._progress = source, name, progress
        self._hasher, self._last_line = hashlib.sha256(), b""
        self._line_number = 0
        self._tables = {table.name: table for table in exported_tables()}
        self.counts: dict[str, int] = dict.fromkeys(self._tables, 0)
        """The number of rows read so far, by table."""
        self._expected = self._read_header()

    def pages(self) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
        """Yield rows of one table at a time, ready to insert. The last page follows after the end was checked."""
        page: list[dict[str, Any]] = []
        current: Table | None = None
        page_bytes, total = 0, sum(self._expected.values())
        while not _END.match(line := self._read_line()):
            table, values = self._parse_row(line)
            if current is not None and (table is not current or len(page) == PAGE or page_bytes > PAGE_BYTES):
                yield current, page
                page, page_bytes = [], 0
                self._progress(sum(self.counts.values()), total)
            current = table
            page.append(values)
            page_bytes += len(line)
            self.counts[table.name] += 1
            if self.counts[table.name] > self._expected[table.name]:
                raise self.refusal(f"there are more rows of {table.name} than line 1 counts")
        self._check_end(self._parse_document(line)["end"])
        if current is not None:
            yield current, page

    @contextmanager
    def refuse_on_error(self) -> Iterator[None]:
        """Refuse the file if storing its rows fails."""
        try:
            yield
        except IntegrityError as error:
            raise self.refusal(
                f"near line {self._line_number} a row is duplicated, or refers to a missing row"
            ) from error
        except (DataError, StatementError) as error:
            if isinstance(error, OperationalError):
                raise
            raise self.refusal(f"near line {self._line_number} a value cannot be stored") from error

    def refusal(self, reason: str, remedy: str = _EXPORT_AGAIN) -> ImportRefused:
        """The error that refuses this file."""
        return ImportRefused(file=self._name, reason=reason, remedy=remedy)

    def refuse_content(self, problem: str) -> ImportRefused:
        """The error that refuses what the exported database holds."""
        return self.refusal(problem, _CORRECT)

    def _read_header(self) -> Mapping[str, int]:
        """Check the header, and return the number of rows of each table."""
        header = self._parse_document(self._read_line())
        if header.get("file") != TITLE:
            raise self.refusal("it is not an exported database", "name a file that `tagger db export` wrote")
        if header.get("format") != FORMAT or header.get("schema") not in _SCHEMAS:
            written = {name: str(header.get(name))[:40] for name in ("format", "schema", "program")}
            raise self.refusal(
                f"it has format {written['format']} and schema {written['schema']}, written by tagger "
                f"{written['program']}; this version reads format {FORMAT} and schema {SCHEMA_REVISION}",
                "install the same version on both sides (then `tagger db upgrade`), and export again",
            )
        counts = header.get("counts")
        if not (
            isinstance(counts, dict)
            and (counts := MISSING_TABLES | counts).keys() == self._tables.keys()
            and all(type(count) is int and count >= 0 for count in counts.values())
            and counts["ledgers"] == 1
        ):
            raise self.refusal("line 1 does not count the rows of each table")
        return counts

    def _read_line(self) -> bytes:
        with self._refuse_on_read_error():
            line = self._source.readline(LONGEST_LINE)
        if len(line) == LONGEST_LINE:
            raise self.refusal(f"line {self._line_number + 1} is longer than any row")
        if not line.endswith(b"\n"):
            raise self.refusal(f"it ends early, after {self._line_number} lines")
        self._hasher.update(self._last_line)  # the checksum in the last line covers all lines before it
        self._line_number, self._last_line = self._line_number + 1, line
        if len(line) > _SMALL_LINE and sum(map(line.count, (b",", b"[", b"{"))) > MOST_VALUES:
            raise self.refusal(f"line {self._line_number} has more values than any row")
        return line

    def _parse_document(self, line: bytes) -> dict[str, Any]:
        try:
            document = from_json(line, allow_inf_nan=False)
        except ValueError as error:
            raise self._not_a_row() from error
        if not isinstance(document, dict):
            raise self._not_a_row()
        return document

    def _parse_row(self, line: bytes) -> tuple[Table, dict[str, Any]]:
        start = _ROW.match(line)
        table = self._tables.get(start[1].decode()) if start else None
        if start is None or table is None or not line.endswith(b"}\n"):
            raise self._not_a_row()
        try:
            row = row_validator(table).validate_json(line[start.end() : -2])
        except ValidationError as error:
            reason = f"line {self._line_number} is not a row of {table.name}: {describe_error(error)}"
            raise self.refuse_content(reason) from error
        return table, vars(row)

    def _check_end(self, end: object) -> None:
        with self._refuse_on_read_error():
            more = self._source.read(1)  # a compressed file also checks its own end here
        if not isinstance(end, dict) or end.get("sha256") != self._hasher.hexdigest():
            raise self.refusal("its checksum is wrong: it was changed or damaged")
        if more:
            raise self.refusal("data follows its end")
        if MISSING_TABLES | end.get("counts", {}) != self.counts or self._expected != self.counts:
            raise self.refusal("rows are missing")

    @contextmanager
    def _refuse_on_read_error(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError, zlib.error) as error:  # a compressed file that is truncated or damaged
            raise self.refusal(f"it cannot be read after line {self._line_number}: {error}") from error

    def _not_a_row(self) -> ImportRefused:
        return self.refusal(f"line {self._line_number} is not a row of a database")
