"""The rows of each exported table: the type of every column, and what the columns of a row say about each other.

Rows come from an export as JSON, or from the database. What refers to other rows is checked in SQL (see database_check).
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model
from sqlalchemy import JSON, Boolean, Column, DateTime, Integer, LargeBinary, Table, Text
from sqlalchemy.types import TypeEngine

from tagger.database.tables import (
    UtcDateTime,
    cameras,
    chunks,
    contents,
    job_items,
    jobs,
    metadata_writes,
    models,
    packs,
    photos,
    positions,
    roots,
    schedules,
    tags,
    taught_tags,
    track_parts,
)
from tagger.transfer.exporter import exported_columns
from tagger.transfer.integrity import row_rules

COLUMN_TYPES: Mapping[str, Any] = {
    "ledgers.id": row_rules.OnlyId,
    "ledger_id": row_rules.LedgerId,
    "digest": row_rules.FileDigest,
    "contents.digest": row_rules.ImageDigest,
    "classifiers.evidence": row_rules.FileDigest,
    "packs.name": row_rules.Slug,
    "packs.digest": row_rules.FileDigest,
    "packs.added_landmarks": list[row_rules.Slug],
    "written_digest": row_rules.FileDigest,
    "base_digest": row_rules.FileDigest,
    "image_digest": row_rules.ImageDigest | row_rules.Empty,
    # Texts that are not empty, and those of one form.
    "key": row_rules.Name,
    "name": row_rules.Name,
    "label": row_rules.Name,
    "location": row_rules.Name,
    "path": row_rules.Name,
    "metadata_writes.file": row_rules.Name,
    "slug": row_rules.Slug,
    "endpoint": row_rules.Endpoint,
    # Enumerations.
    "extent": row_rules.Extent,
    "clock_source": row_rules.SourceOfClock,
    "source": row_rules.SourceOfPosition,
    "origin": row_rules.OriginOfPhoto,
    "failure_kind": row_rules.KindOfFailure,
    "verdict": row_rules.KindOfVerdict,
    "selection": row_rules.Scope,
    "priority": row_rules.PriorityOfJob,
    "kind": row_rules.KindOfJob,
    "runner": row_rules.RunnerOfJob,
    "state": row_rules.StateOfJob,
    "outcome": row_rules.OutcomeOfItem,
    "contents.outcome": row_rules.OutcomeOfImage,
    "target": row_rules.TargetOfWrite,
    "doubtful": row_rules.DoubtOfTag,
    # Numbers that are no counts.
    "width": row_rules.Pixels,
    "height": row_rules.Pixels,
    "top_k": row_rules.TopK,
    "rank": row_rules.TopK,
    "size_bytes": row_rules.Size,
    "classified_size_bytes": row_rules.Size,
    "mtime_ns": row_rules.Nanoseconds,
    "classified_mtime_ns": row_rules.Nanoseconds,
    "clock_offset_s": row_rules.ClockOffset,
    "utc_offset_s": row_rules.ClockOffset,
    "threshold": row_rules.Score,
    "score": row_rules.Score,
    "position_odds": row_rules.Odds,
    "ledgers.position_odds": bool,
    "distance_m": row_rules.Metres,
    "error_m": row_rules.Metres,
    "gps_error_m": row_rules.Metres,
    "latitude": row_rules.Latitude,
    "longitude": row_rules.Longitude,
    "owner_lease_until": row_rules.Seconds,
    # Documents and bytes.
    "names": dict[str, row_rules.Name],
    "aliases": list[row_rules.Name],
    "edited": list[row_rules.EditableColumn],
    "merged_slugs": list[row_rules.Slug],
    "landmarks": list[row_rules.Slug],
    "classifiers.data": row_rules.Weights,
    "embeddings.data": row_rules.Embedding,
    "track_parts.data": row_rules.TrackPoints,
    "undo": row_rules.Inverse,
}
"""The types of columns whose type in SQL allows more than the program stores, by `table.column` or by `column` of all other tables."""

RULES: Mapping[str, Callable[[dict[str, Any]], None]] = {
    roots.name: row_rules.check_root,
    models.name: row_rules.check_model,
    packs.name: row_rules.check_pack,
    contents.name: row_rules.check_content,
    cameras.name: row_rules.check_camera,
    photos.name: row_rules.check_photo,
    tags.name: row_rules.check_tag,
    taught_tags.name: row_rules.check_tag,
    track_parts.name: row_rules.check_track_part,
    positions.name: row_rules.check_position,
    jobs.name: row_rules.check_job,
    job_items.name: row_rules.check_item,
    chunks.name: row_rules.check_chunk,
    metadata_writes.name: row_rules.check_metadata_write,
    schedules.name: row_rules.check_schedule,
}
"""What the columns of a row say about each other, by table."""


class _Row(BaseModel):
    """Every column and no other, of exactly its type."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def row_validator(table: Table) -> TypeAdapter[BaseModel]:
    """The validator of the table's rows: `validate_python` for stored ones, `validate_json` for exported ones."""
    fields: dict[str, Any] = {
        column.name: (column_type(column), column.info.get("imported_default", ...))
        for column in exported_columns(table)
    }
    row: type[BaseModel] = create_model(table.name, __base__=_Row, **fields)
    rule = RULES.get(table.name)
    if rule is None:
        return TypeAdapter(row)

    def validate(row: BaseModel) -> BaseModel:
        rule(vars(row))
        return row

    checked: Any = Annotated[row, AfterValidator(validate)]
    return TypeAdapter(checked)


def column_type(column: Column[Any]) -> Any:
    """What a value of the column may be."""
    kind = COLUMN_TYPES.get(f"{column.table.name}.{column.name}") or COLUMN_TYPES.get(column.name)
    kind = kind or _type_in_sql(column)
    return kind | None if column.nullable else kind


_TYPES_IN_SQL: Mapping[type[TypeEngine[Any]], Any] = {
    Boolean: bool,
    UtcDateTime: row_rules.Time,
    DateTime: row_rules.CameraTime,
    Text: row_rules.Text,
    LargeBinary: row_rules.Bytes,
    JSON: dict[str, Any],
}
"""The types of all other columns but numbers."""


def _type_in_sql(column: Column[Any]) -> Any:
    if isinstance(column.type, Integer):
        return row_rules.Id if column.name == "id" or column.name.endswith("_id") else row_rules.Count
    return next(kind for known, kind in _TYPES_IN_SQL.items() if isinstance(column.type, known))


def describe_error(error: ValidationError) -> str:
    """The first error in a row: the column and what is wrong with it."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    column = ".".join(str(part) for part in first["loc"])[:100]
    reason = first["msg"].removeprefix("Value error, ")
    return f"{column}: {reason}" if column else reason
