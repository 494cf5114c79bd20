"""What stored values may be, and what the columns of one row say about each other. Each rule raises ValueError.

Documents are parsed as the program parses them: a row that passes never breaks the page or the command that reads it.
"""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal

import numpy as np
from cronsim import CronSimError
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    Field,
    NaiveDatetime,
    Strict,
    StringConstraints,
    ValidationError,
)

from tagger.database.enums import (
    ClockSource,
    JobKind,
    JobState,
    Outcome,
    PositionSource,
    Priority,
    Runner,
    Target,
)
from tagger.errors import FailureKind, ScheduleInvalid
from tagger.jobs.enqueue.backfill import BackfillScope
from tagger.jobs.enqueue.schedules import backfill_from_schedule, check_time_of_day, explain_cron, next_due
from tagger.jobs.enqueue.tag_jobs import check_job_options
from tagger.library.teaching.embeddings import BOUNDS_BYTES, restore
from tagger.library.teaching.pack_file import PackManifest
from tagger.library.verdicts.store import VerdictKind
from tagger.metadata.splices import check_inverse
from tagger.model.artifact import Manifest
from tagger.photos.formats import PhotoOrigin
from tagger.photos.paths import is_object_address, path_from_json, path_from_text, path_text, path_to_json
from tagger.system.names import SLUG_PATTERN

_MOST = 10**9
"""Sums and differences of counts have to fit PostgreSQL's 32-bit integers."""


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text has no null character")
    return text


def _bytes(value: object) -> object:
    """Bytes are base64 in an export."""
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def _undoable(inverse: bytes) -> bytes:
    check_inverse(inverse)
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


LONGEST_CRON = 200
Id = Annotated[int, Field(ge=1, le=2**53)]
"""Every number of JSON is exact up to here."""
OnlyId = Literal[1]
Count = Annotated[int, Field(ge=0, le=_MOST)]
Size = Annotated[int, Field(ge=0, lt=2**63)]
Nanoseconds = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Pixels = Annotated[int, Field(ge=1, le=_MOST)]
TopK = Annotated[int, Field(ge=1, le=_MOST)]
Score = Annotated[float, Field(ge=0, le=1.001)]
"""Scores of models are rounded to 32 bits."""
Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Seconds = Annotated[float, Field(ge=0, le=1e11)]
Odds = Annotated[float, Field(gt=0, le=1e6)]
Metres = Annotated[float, Field(ge=0, le=1e8)]
ClockOffset = Annotated[int, Field(ge=-_MOST, le=_MOST)]
"""Seconds. A camera whose clock was never set is decades off."""
Text = Annotated[str, AfterValidator(_storable)]
Endpoint = Annotated[str, StringConstraints(pattern=r"^https?://[^\s@/?#]+$")]
"""The URL of a server, without credentials."""
Name = Annotated[str, StringConstraints(min_length=1), AfterValidator(_storable)]
Slug = Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]
FileDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ImageDigest = Annotated[str, StringConstraints(pattern=r"^[0-9]+-[0-9a-f]{64}$")]
LedgerId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{36}$")]
Empty = Literal[""]
Extent = Literal["point", "line", "area", "multi"]
EditableColumn = Literal[
    "name", "names", "aliases", "country", "region", "city", "latitude", "longitude", "extent"
]
Bytes = Annotated[bytes, BeforeValidator(_bytes)]
Weights = Annotated[bytes, BeforeValidator(_bytes), AfterValidator(_finite)]
Embedding = Annotated[bytes, BeforeValidator(_bytes), AfterValidator(_embedding)]
TrackPoints = Annotated[bytes, BeforeValidator(_bytes), AfterValidator(_track_points)]
Inverse = Annotated[bytes, BeforeValidator(_bytes), AfterValidator(_undoable)]
Time = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC)),
]
"""With room for every time zone."""
CameraTime = NaiveDatetime
KindOfJob = Annotated[JobKind, Strict(False)]
StateOfJob = Annotated[JobState, Strict(False)]
RunnerOfJob = Annotated[Runner, Strict(False)]
PriorityOfJob = Annotated[Priority, Strict(False)]
OutcomeOfItem = Annotated[Outcome, Strict(False)]
OutcomeOfImage = Literal["tagged", "unknown"]
TargetOfWrite = Annotated[Target, Strict(False)]
KindOfFailure = Annotated[FailureKind, Strict(False)]
OriginOfPhoto = Annotated[PhotoOrigin, Strict(False)]
SourceOfPosition = Annotated[PositionSource, Strict(False)]
DoubtOfTag = Literal["position", "speed", "damaged"]
SourceOfClock = Annotated[ClockSource, Strict(False)]
KindOfVerdict = Annotated[VerdictKind, Strict(False)]
Scope = Annotated[BackfillScope, Strict(False)]
Row = Mapping[str, Any]
_ROUNDING_S = 0.001
"""Times are stored in microseconds."""
_OUTCOMES = tuple(outcome.value for outcome in Outcome)


def check_root(row: Row) -> None:
    location = _exact_path(row["location"], row["location_bytes"])
    if is_object_address(location):
        if path_to_json(path_from_json(location)) != location:
            raise ValueError("location is not the address of a bucket")
        return
    paths = (PurePosixPath(location), PureWindowsPath(location))
    if not any(path.is_absolute() and ".." not in path.parts for path in paths):
        raise ValueError("location is not an absolute path")


def check_model(row: Row) -> None:
    _check_storable(row["manifest"])
    _check_document(Manifest, row["manifest"])


def _check_document(kind: type[BaseModel], manifest: object) -> None:
    try:
        kind.model_validate_json(json.dumps(manifest))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise ValueError(f"manifest: {where}: {first['msg']}") from error


def check_pack(row: Row) -> None:
    _check_storable(row["manifest"])
    _check_document(PackManifest, row["manifest"])


def check_content(row: Row) -> None:
    _require_together(row, "width", "height")
    _require_together(row, "model_id", "top_k", "threshold", "outcome", "classified_at")


def check_camera(row: Row) -> None:
    _require_together(row, "clock_offset_s", "clock_source")


def check_photo(row: Row) -> None:
    path = _exact_path(row["path"], row["path_bytes"])
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise ValueError("path does not stay inside its root")
    _require_together(row, "latitude", "longitude")
    _require_together(row, "classified_size_bytes", "classified_mtime_ns")
    _require_together(row, "failure_kind", "failure_text", "failure_job_id", "failure_attempts")


def check_tag(row: Row) -> None:
    _require_together(row, "position_odds", "distance_m")
    if row["accepted"] and row["doubtful"] is not None:
        raise ValueError("it is both accepted and doubtful")


def check_track_part(row: Row) -> None:
    first, last = np.frombuffer(row["data"], "<f8")[[0, -3]]
    if (
        abs(row["first_at"].timestamp() - first) > _ROUNDING_S
        or abs(row["last_at"].timestamp() - last) > _ROUNDING_S
    ):
        raise ValueError("first_at and last_at are not the times of its first and last point")


def check_position(row: Row) -> None:
    _check_storable(row["evidence"])


def check_job(row: Row) -> None:
    _check_storable(row["options"])
    row["options"].pop("traceparent", None)  # of 0.2, which could send traces
    check_job_options(JobKind(row["kind"]), row["options"])
    if row["parent_id"] is not None and row["parent_id"] >= row["id"]:
        raise ValueError("parent_id is not that of an earlier job")
    if row["items_removed"] > row["total"]:
        raise ValueError("items_removed is more than it has items")


def check_item(row: Row) -> None:
    if row["outcome"] in {Outcome.FAILED, Outcome.REFUSED} and row["reason"] is None:
        raise ValueError("reason is missing for its outcome")


def check_chunk(row: Row) -> None:
    size = row["last"] - row["first"] + 1
    if size < 1:
        raise ValueError("last is before first")
    if sum(row[outcome] for outcome in _OUTCOMES) > size:
        raise ValueError("it counts more outcomes than it has items")


def check_metadata_write(row: Row) -> None:
    if "/" in row["file"] or row["file"] in {".", ".."}:
        raise ValueError("file is not the name of a file")
    _require_together(row, "base_digest", "undo")


def check_schedule(row: Row) -> None:
    _check_storable(row["options"])
    backfill_from_schedule(row["selection"], row["options"])
    if len(row["cron"]) > LONGEST_CRON:
        raise ValueError("cron is too long")
    try:
        next_due(row["cron"], row["time_zone"], datetime.now(UTC))
        check_time_of_day(row["until"])
        explain_cron(row["cron"])
    except (ScheduleInvalid, CronSimError) as error:
        raise ValueError(str(error)) from error


def _exact_path(text: str, raw: bytes) -> str:
    """The path of two columns, if `path_text` makes these of it."""
    path = path_from_text(text, raw)
    if path_text(path) != (text, raw):
        raise ValueError("the exact bytes and the text are not the same path")
    if "\0" in path:
        raise ValueError("a path has no null character")
    return path


def _require_together(row: Row, *names: str) -> None:
    if len({row[name] is None for name in names}) > 1:
        raise ValueError(f"{', '.join(names)} are neither all null nor all set")


def _check_storable(document: object) -> None:
    """PostgreSQL stores neither NaN nor the null character."""
    if "\\u0000" in json.dumps(document, allow_nan=False):
        raise ValueError("a text has no null character")
