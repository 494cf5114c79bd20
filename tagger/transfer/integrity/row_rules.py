"""What the columns of one row say about each other, and what its JSON documents hold. Each rule raises ValueError.

Documents are parsed as the program parses them: a row that passes never breaks the page or the command that reads it.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from cronsim import CronSimError
from pydantic import ValidationError

from tagger.database.enums import JobKind, Outcome
from tagger.errors import ScheduleInvalid
from tagger.jobs.enqueue.job_options import check_job_options
from tagger.jobs.enqueue.schedule_windows import check_time_of_day, explain_cron, next_due
from tagger.jobs.enqueue.schedules import backfill_from_schedule
from tagger.model.artifact import Manifest
from tagger.photos.paths import is_object_address, path_from_json, path_from_text, path_text, path_to_json
from tagger.transfer.integrity.values import LONGEST_CRON

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
    try:
        Manifest.model_validate(row["manifest"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise ValueError(f"manifest: {where}: {first['msg']}") from error


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
