"""Log formats of the worker: lines of text, or one JSON document per line, without paths of photos.

The text of an unexpected error may contain one, so it is left out too.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from tagger.photos.paths import printable_path

# The optional fields of a log record.
FIELDS = ("job", "chunk", "photo", "kind")


def set_up_logging(log_format: Literal["text", "json"], level: int | str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Celery warns at each lost connection. The monitor of Redis does that once a minute.
    logging.getLogger("celery.worker.consumer.consumer").setLevel(logging.ERROR)
    # Celery warns, with a traceback, at each message that is returned while the database does not answer.
    logging.getLogger("celery.app.trace").setLevel(logging.ERROR)


class _Lines(logging.Formatter):
    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        return {
            name: getattr(record, name)
            for name in FIELDS
            if getattr(record, name, None) is not None
        }

    def formatException(  # noqa: N802 - logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        kind, _, trace = ei
        return "".join(traceback.format_tb(trace)) + getattr(kind, "__name__", "")


class TextLines(_Lines):
    """`2026-01-31 12:00:00 WARNING message (job 7, photo 2)`."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).astimezone()
        fields = ", ".join(
            f"{name} {value}"
            for name, value in self.fields(record).items()
            if name != "chunk"
        )
        line = f"{when:%Y-%m-%d %H:%M:%S} {record.levelname} {record.getMessage()}"
        line += f" ({fields})" if fields else ""
        # A name of a photo could look like another line, or command the terminal.
        line = printable_path(line)
        return (
            f"{line}\n{self.formatException(record.exc_info)}"
            if record.exc_info
            else line
        )


class JsonLines(_Lines):
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
