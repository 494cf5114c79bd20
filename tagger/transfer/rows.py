"""The rows of each exported table: what a value of every column may be, and what the columns of a row say about each other.

Rows come from an export as JSON, or from the database. Documents are parsed as the program parses them: a row that passes never
breaks the page or the command that reads it. What the schema itself enforces is not repeated: values of enumerations with a
constraint. What refers to other rows is checked in SQL (see integrity).
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal

import numpy as np
from cronsim import CronSimError
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NaiveDatetime,
    Strict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    create_model,
)
from sqlalchemy import JSON, Boolean, Column, DateTime, Integer, LargeBinary, Table, Text
from sqlalchemy.types import TypeEngine

from tagger.database.enums import JobKind, Note, NoteCode, Outcome
from tagger.database.tables import UtcDateTime
from tagger.errors import FailureKind, LandmarkInvalid, ScheduleInvalid
from tagger.jobs.enqueue.schedules import backfill_from_schedule, check_time_of_day, explain_cron, next_due
from tagger.jobs.enqueue.submission import check_job_options
from tagger.library.teaching.classifiers import BOUNDS_BYTES, restore
from tagger.metadata.splices import unpacked_inverse
from tagger.model.artifact import Extent, Language, Manifest
from tagger.photos.formats import PhotoOrigin
from tagger.photos.paths import is_object_address, path_from_json, path_from_text, path_text, path_to_json
from tagger.photos.side_files import side_files_from_text
from tagger.system.names import MAX_MERGED_ALIASES, SLUG_PATTERN, clean_facts
from tagger.transfer.exporter import exported_columns

Row = Mapping[str, Any]
_MOST = 10**9
"""Sums and differences of counts have to fit PostgreSQL's 32-bit integers."""
LONGEST_CRON = 200
_ROUNDING_S = 0.001
"""Times are stored in microseconds."""


@cache
def row_validator(table: Table) -> TypeAdapter[BaseModel]:
    """The validator of the table's rows: `validate_python` for stored ones, `validate_json` for exported ones."""
    fields: dict[str, Any] = {
        column.name: (column_type(column), column.info.get("imported_default", ...))
        for column in exported_columns(table)
    }

    def validate(row: BaseModel) -> BaseModel:
        for names in TOGETHER.get(table.name, ()):
            if len({getattr(row, name) is None for name in names}) > 1:
                raise ValueError(f"{', '.join(names)} are neither all null nor all set")
        if table.name in RULES:
            RULES[table.name](vars(row))
        return row

    checked: Any = Annotated[create_model(table.name, __base__=_Row, **fields), AfterValidator(validate)]
    return TypeAdapter(checked)


class _Row(BaseModel):
    """Every column and no other, of exactly its type."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def column_type(column: Column[Any]) -> Any:
    """What a value of the column may be."""
    kind = COLUMN_TYPES.get(f"{column.table.name}.{column.name}") or COLUMN_TYPES.get(column.name)
    if kind is None and isinstance(column.type, Integer):
        kind = Id if column.name == "id" or column.name.endswith("_id") else Count
    kind = kind or next(each for known, each in _TYPES_IN_SQL.items() if isinstance(column.type, known))
    return kind | None if column.nullable else kind


def describe_error(error: ValidationError) -> str:
    """The first error in a row: the column and what is wrong with it."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    column = ".".join(str(part) for part in first["loc"])[:100]
    reason = first["msg"].removeprefix("Value error, ")
    return f"{column}: {reason}" if column else reason


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text has no null character")
    return text


def _storable_document(document: dict[str, Any]) -> dict[str, Any]:
    """PostgreSQL stores neither NaN nor the null character."""
    if "\\u0000" in json.dumps(document, allow_nan=False):
        raise ValueError("a text has no null character")
    return document


def _manifest(kind: type[BaseModel]) -> Any:
    """The type of a document that `kind` can parse."""

    def check(document: dict[str, Any]) -> dict[str, Any]:
        try:
            kind.model_validate_json(json.dumps(document))
        except ValidationError as error:
            raise ValueError(describe_error(error)) from error
        return document

    return Annotated[Document, AfterValidator(check)]


def _side_files(text: str) -> str:
    """The side files of a photo: names that lead nowhere else."""
    side_files_from_text(text)
    return text


def _note_message(message: dict[str, Any]) -> dict[str, Any]:
    """A message that gives a text."""
    try:
        str(Note(NoteCode(message["code"]), message["values"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("not the message of a note") from error
    return message


def _bytes(value: object) -> object:
    """Bytes are base64 in an export."""
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def _undoable(inverse: bytes) -> bytes:
    unpacked_inverse(inverse)
    return inverse


def _finite(values: bytes) -> bytes:
    if len(values) % 4 or not np.isfinite(np.frombuffer(values, "<f4")).all():
        raise ValueError("not finite numbers of 32 bits")
    return values


def _embedding(data: bytes) -> bytes:
    _finite(data[:BOUNDS_BYTES])
    if len(data) <= BOUNDS_BYTES:
        raise ValueError("an embedding has dimensions")
    with np.errstate(over="ignore", invalid="ignore"):
        (values,) = restore([data], 2 * (len(data) - BOUNDS_BYTES))
        if not np.isfinite(np.vdot(values, values)):
            raise ValueError("its values are too large to be compared")
    return data


def _track_points(data: bytes) -> bytes:
    """Seconds, latitude and longitude of each point."""
    if not data or len(data) % 24 or not np.isfinite(np.frombuffer(data, "<f8")).all():
        raise ValueError("not points of three finite numbers of 64 bits")
    seconds, *position = np.frombuffer(data, "<f8").reshape(-1, 3).T
    if (np.diff(seconds) <= 0).any():
        raise ValueError("the points are not in order of time")
    if (np.abs(position) > [[90], [180]]).any():
        raise ValueError("a point is not on Earth")
    return data


Id = Annotated[int, Field(ge=1, le=2**53)]
"""Every number of JSON is exact up to here."""
Count = Annotated[int, Field(ge=0, le=_MOST)]
Number = Annotated[int, Field(ge=1, le=_MOST)]
Size = Annotated[int, Field(ge=0, lt=2**63)]
Nanoseconds = Annotated[int, Field(ge=-(2**63), lt=2**63)]
ClockOffset = Annotated[int, Field(ge=-_MOST, le=_MOST)]
"""Seconds. A camera whose clock was never set is decades off."""
Score = Annotated[float, Field(ge=0, le=1.001)]
"""Scores of models are rounded to 32 bits."""
Metres = Annotated[float, Field(ge=0, le=1e8)]
Time = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC)),
]
"""With room for every time zone."""
StorableText = Annotated[str, AfterValidator(_storable)]
Name = Annotated[str, StringConstraints(min_length=1), AfterValidator(_storable)]
Slug = Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]
FileDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ImageDigest = Annotated[str, StringConstraints(pattern=r"^[0-9]+-[0-9a-f]{64}$")]
Bytes = Annotated[bytes, BeforeValidator(_bytes)]
Document = Annotated[dict[str, Any], AfterValidator(_storable_document)]

COLUMN_TYPES: Mapping[str, Any] = {
    "ledgers.id": Literal[1],
    "ledger_id": Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{36}$")],
    "digest": FileDigest,
    "contents.digest": ImageDigest,
    "classifiers.evidence": FileDigest,
    "written_digest": FileDigest,
    "base_digest": FileDigest,
    "image_digest": ImageDigest | Literal[""],
    # Texts that are not empty, and those of one form.
    "key": Name,
    "name": Name,
    "label": Name,
    "location": Name,
    "path": Name,
    "metadata_writes.file": Name,
    "slug": Slug,
    "endpoint": Annotated[str, StringConstraints(pattern=r"^https?://[^\s@/?#]+$")],  # without credentials
    "extent": Extent,
    "origin": Annotated[PhotoOrigin, Strict(False)],
    "side_files": Annotated[StorableText, AfterValidator(_side_files)],
    "failure_kind": Annotated[FailureKind, Strict(False)],
    "contents.outcome": Literal["tagged", "unknown"],
    # Numbers that are no counts.
    "width": Number,
    "height": Number,
    "top_k": Number,
    "rank": Number,
    "size_bytes": Size,
    "classified_size_bytes": Size,
    "mtime_ns": Nanoseconds,
    "classified_mtime_ns": Nanoseconds,
    "clock_offset_s": ClockOffset,
    "utc_offset_s": ClockOffset,
    "threshold": Score,
    "score": Score,
    "position_odds": Annotated[float, Field(gt=0, le=1e6)],
    "ledgers.position_odds": bool,
    "distance_m": Metres,
    "error_m": Metres,
    "gps_error_m": Metres,
    "latitude": Annotated[float, Field(ge=-90, le=90)],
    "longitude": Annotated[float, Field(ge=-180, le=180)],
    "owner_lease_until": Annotated[float, Field(ge=0, le=1e11)],
    # Documents and bytes.
    "models.manifest": _manifest(Manifest),
    "names": dict[Language, Name],
    "aliases": list[Name],
    "edited": list[
        Literal["name", "names", "aliases", "country", "region", "city", "latitude", "longitude", "extent"]
    ],
    "merged_slugs": list[Slug],
    "landmarks": list[Slug],
    "classifiers.data": Annotated[Bytes, AfterValidator(_finite)],
    "embeddings.data": Annotated[Bytes, AfterValidator(_embedding)],
    "track_parts.data": Annotated[Bytes, AfterValidator(_track_points)],
    "undo": Annotated[Bytes, AfterValidator(_undoable)],
    "note_message": Annotated[Document, AfterValidator(_note_message)],
}
"""The types of columns whose type in SQL allows more than the program stores, by `table.column` or by `column` of all other tables."""

_TYPES_IN_SQL: Mapping[type[TypeEngine[Any]], Any] = {
    Boolean: bool,
    UtcDateTime: Time,
    DateTime: NaiveDatetime,
    Text: StorableText,
    LargeBinary: Bytes,
    JSON: Document,
}
"""The types of all other columns but numbers."""

_ODDS = ("position_odds", "distance_m")
TOGETHER: Mapping[str, Sequence[tuple[str, ...]]] = {
    "contents": [
        ("width", "height"),
        ("model_id", "top_k", "threshold", "outcome", "classified_at"),
    ],
    "cameras": [("clock_offset_s", "clock_source")],
    "photos": [
        ("latitude", "longitude"),
        ("classified_size_bytes", "classified_mtime_ns"),
        ("failure_kind", "failure_text", "failure_job_id", "failure_attempts"),
    ],
    "tags": [_ODDS],
    "taught_tags": [_ODDS],
    "metadata_writes": [("base_digest", "undo")],
    "trip_edits": [("other_camera_id", "other_taken_at")],
}
"""Columns of which a row has all or none, by table."""


def _check_root(row: Row) -> None:
    location = _exact_path(row["location"], row["location_bytes"])
    if is_object_address(location):
        if path_to_json(path_from_json(location)) != location:
            raise ValueError("location is not the address of a bucket")
        return
    paths = (PurePosixPath(location), PureWindowsPath(location))
    if not any(path.is_absolute() and ".." not in path.parts for path in paths):
        raise ValueError("location is not an absolute path")


def _check_photo(row: Row) -> None:
    path = _exact_path(row["path"], row["path_bytes"])
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise ValueError("path does not stay inside its root")


def _exact_path(text: str, raw: bytes) -> str:
    """The path of two columns, if `path_text` makes these of it."""
    path = path_from_text(text, raw)
    if path_text(path) != (text, raw):
        raise ValueError("the exact bytes and the text are not the same path")
    return _storable(path)


def _check_landmark(row: dict[str, Any]) -> None:
    try:
        row.update(clean_facts(row, max_aliases=MAX_MERGED_ALIASES))
    except LandmarkInvalid as error:
        raise ValueError(error.values["reason"]) from error


def _check_tag(row: Row) -> None:
    if row["accepted"] and row["doubtful"] is not None:
        raise ValueError("it is both accepted and doubtful")


def _check_track_part(row: Row) -> None:
    first, last = np.frombuffer(row["data"], "<f8")[[0, -3]]
    if (
        abs(row["first_at"].timestamp() - first) > _ROUNDING_S
        or abs(row["last_at"].timestamp() - last) > _ROUNDING_S
    ):
        raise ValueError("first_at and last_at are not the times of its first and last point")


def _check_job(row: Row) -> None:
    row["options"].pop("traceparent", None)  # of 0.2, which could send traces
    check_job_options(JobKind(row["kind"]), row["options"])
    if row["parent_id"] is not None and row["parent_id"] >= row["id"]:
        raise ValueError("parent_id is not that of an earlier job")
    if row["items_removed"] > row["total"]:
        raise ValueError("items_removed is more than it has items")


def _check_item(row: Row) -> None:
    if row["outcome"] in {Outcome.FAILED, Outcome.REFUSED} and row["reason"] is None:
        raise ValueError("reason is missing for its outcome")


def _check_chunk(row: Row) -> None:
    size = row["last"] - row["first"] + 1
    if size < 1:
        raise ValueError("last is before first")
    if sum(row[outcome.value] for outcome in Outcome) > size:
        raise ValueError("it counts more outcomes than it has items")


def _check_metadata_write(row: Row) -> None:
    if "/" in row["file"] or row["file"] in {".", ".."}:
        raise ValueError("file is not the name of a file")


def _check_schedule(row: Row) -> None:
    backfill_from_schedule(row["selection"], row["options"])
    if len(row["cron"]) > LONGEST_CRON:
        raise ValueError("cron is too long")
    try:
        next_due(row["cron"], row["time_zone"], datetime.now(UTC))
        check_time_of_day(row["until"])
        explain_cron(row["cron"])
    except (ScheduleInvalid, CronSimError) as error:
        raise ValueError(str(error)) from error


RULES: Mapping[str, Callable[[dict[str, Any]], None]] = {
    "roots": _check_root,
    "photos": _check_photo,
    "landmarks": _check_landmark,
    "tags": _check_tag,
    "taught_tags": _check_tag,
    "track_parts": _check_track_part,
    "jobs": _check_job,
    "job_items": _check_item,
    "chunks": _check_chunk,
    "metadata_writes": _check_metadata_write,
    "schedules": _check_schedule,
}
"""What the columns of a row say about each other, by table. Each raises ValueError."""
