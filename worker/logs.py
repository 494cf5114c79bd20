"""Log formats of the worker: lines of text, or one JSON document per line.

Photos are identified by id. Their paths may be private, so they are logged only if TAGGER_LOG_PATHS is set. Without it,
the text of an unexpected error is left out too, since it may contain a path.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from tagger.photos.paths import printable_path

FIELDS = ("job", "chunk", "photo", "kind", "path")
"""The optional fields of a log record."""

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def set_up_logging(log_format: Literal["text", "json"], level: int, *, paths: bool) -> None:
    """Log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(paths=paths) if log_format == "json" else TextLines(paths=paths))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _Lines(logging.Formatter):
    def __init__(self, *, paths: bool) -> None:
        super().__init__()
        self._paths = paths

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        """The optional fields of the record, without the path unless paths are logged."""
        fields = {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}
        if not self._paths:
            fields.pop("path", None)
        return fields

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        kind, error, trace = ei
        if kind is None:
            return ""
        summary = f"{kind.__name__}: {error}" if self._paths else kind.__name__
        return "".join(traceback.format_tb(trace)) + printable_path(summary)


class TextLines(_Lines):
    """`2026-01-31 12:00:00 WARNING message (job 7, chunk 2)`."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).astimezone()
        fields = ", ".join(f"{name} {value}" for name, value in self.fields(record).items())
        line = f"{when:%Y-%m-%d %H:%M:%S} {record.levelname} {record.getMessage()}"
        line += f" ({fields})" if fields else ""
        line = printable_path(line)  # a name of a photo could look like another line, or command the terminal
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(_Lines):
    """One JSON object per line: time, level, logger, message, and the optional fields."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self.fields(record),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str, ensure_ascii=False)
