"""The rows of each exported table: the type of every column, and what the columns of a row say about each other.

Rows come from an export as JSON, or from the database. What refers to other rows is checked in SQL (see database_check).
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError
from sqlalchemy import Column, Table

from tagger.database.tables import (
    cameras,
    chunks,
    classifiers,
    contents,
    dismissals,
    embeddings,
    job_items,
    jobs,
    landmarks,
    ledgers,
    metadata_writes,
    model_labels,
    models,
    photos,
    position_changes,
    positions,
    roots,
    schedule_runs,
    schedules,
    tags,
    taught_tags,
    track_parts,
    tracks,
    verdicts,
)
from tagger.transfer.integrity import row_rules, values


class _Row(BaseModel):
    """Every column and no other, of exactly its type."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class RootRow(_Row):
    id: values.Id
    name: values.Name
    location: values.Name
    location_bytes: values.Bytes
    endpoint: values.Endpoint | None


class ModelRow(_Row):
    id: values.Id
    digest: values.FileDigest
    name: values.Name
    file: values.Text | None
    manifest: dict[str, Any]
    registered_at: values.Time
    in_use: bool
    taught_version: values.Count


class LandmarkRow(_Row):
    id: values.Id
    slug: values.Slug
    name: values.Name
    names: dict[str, values.Name]
    aliases: list[values.Name]
    country: values.Text | None
    region: values.Text | None
    city: values.Text | None
    latitude: values.Latitude | None
    longitude: values.Longitude | None
    extent: values.Extent | None
    edited: list[values.EditableColumn]
    merged_slugs: list[values.Slug]


class ModelLabelRow(_Row):
    model_id: values.Id
    position: values.Count
    label: values.Name
    landmark_id: values.Id


class ContentRow(_Row):
    id: values.Id
    digest: values.ImageDigest
    width: values.Pixels | None
    height: values.Pixels | None
    model_id: values.Id | None
    top_k: values.TopK | None
    threshold: values.Score | None
    outcome: values.OutcomeOfImage | None
    classified_at: values.Time | None


class CameraRow(_Row):
    id: values.Id
    key: values.Name
    name: values.Name
    clock_offset_s: values.ClockOffset | None
    clock_source: values.SourceOfClock | None
    companions_id: values.Id | None


class PhotoRow(_Row):
    id: values.Id
    root_id: values.Id
    path: values.Name
    path_bytes: values.Bytes
    size_bytes: values.Size
    mtime_ns: values.Nanoseconds
    taken_at: values.CameraTime | None
    latitude: values.Latitude | None
    longitude: values.Longitude | None
    gps_error_m: values.Metres | None
    utc_offset_s: values.ClockOffset | None
    origin: values.OriginOfPhoto | None
    camera_id: values.Id | None
    gone_since: values.Time | None
    primary_id: values.Id | None
    content_id: values.Id | None
    classified_size_bytes: values.Size | None
    classified_mtime_ns: values.Nanoseconds | None
    failure_kind: values.KindOfFailure | None
    failure_text: values.Text | None
    failure_job_id: values.Id | None
    failure_attempts: values.Count | None


class TagRow(_Row):
    content_id: values.Id
    rank: values.TopK
    landmark_id: values.Id
    score: values.Score
    accepted: bool
    model_id: values.Id
    position_odds: values.Odds | None
    distance_m: values.Metres | None


class EmbeddingRow(_Row):
    content_id: values.Id
    model_id: values.Id
    taught_version: values.Count
    data: values.Embedding


class ClassifierRow(_Row):
    landmark_id: values.Id
    model_id: values.Id
    version: values.Count
    examples: values.Count
    rejected: values.Count
    evidence: values.FileDigest
    data: values.Weights
    applied: bool
    learned_at: values.Time


class TaughtTagRow(_Row):
    content_id: values.Id
    landmark_id: values.Id
    score: values.Score
    accepted: bool
    model_id: values.Id
    position_odds: values.Odds | None
    distance_m: values.Metres | None


class VerdictRow(_Row):
    content_id: values.Id
    landmark_id: values.Id
    verdict: values.KindOfVerdict
    given_by: values.Text | None
    given_at: values.Time


class DismissalRow(_Row):
    content_id: values.Id
    given_by: values.Text | None
    given_at: values.Time


class TrackRow(_Row):
    id: values.Id
    digest: values.FileDigest
    name: values.Name
    points: values.Count
    added_at: values.Time


class TrackPartRow(_Row):
    track_id: values.Id
    part: values.Count
    first_at: values.Time
    last_at: values.Time
    data: values.TrackPoints


class PositionRow(_Row):
    photo_id: values.Id
    latitude: values.Latitude
    longitude: values.Longitude
    error_m: values.Metres
    source: values.SourceOfPosition
    evidence: dict[str, Any]
    country: values.Text | None
    region: values.Text | None
    city: values.Text | None


class PositionChangeRow(_Row):
    id: values.Id
    photo_id: values.Id | None
    camera_id: values.Id | None
    taken_at: values.CameraTime | None
    content_id: values.Id | None


class LedgerRow(_Row):
    id: values.OnlyId
    ledger_id: values.LedgerId
    created_at: values.Time
    max_gap_s: values.Count
    position_odds: bool


class JobRow(_Row):
    id: values.Id
    kind: values.KindOfJob
    options: dict[str, Any]
    model_id: values.Id
    top_k: values.TopK
    threshold: values.Score
    reprocess: bool
    runner: values.RunnerOfJob
    priority: values.PriorityOfJob
    state: values.StateOfJob
    note: values.Text | None
    parent_id: values.Id | None
    total: values.Count
    created_at: values.Time
    started_at: values.Time | None
    finished_at: values.Time | None
    items_removed: values.Count
    other_files: values.Count
    owner: values.Text | None
    owner_lease_until: values.Seconds | None


class JobItemRow(_Row):
    job_id: values.Id
    position: values.Count
    photo_id: values.Id | None
    outcome: values.OutcomeOfItem | None
    reason: values.Text | None
    error_text: values.Text | None
    attempts: values.Count


class ChunkRow(_Row):
    job_id: values.Id
    chunk: values.Count
    first: values.Count
    last: values.Count
    attempts: values.Count
    done: bool
    tagged: values.Count
    unknown: values.Count
    written: values.Count
    unchanged: values.Count
    refused: values.Count
    skipped: values.Count
    failed: values.Count
    cancelled: values.Count


class MetadataWriteRow(_Row):
    id: values.Id
    photo_id: values.Id | None
    job_id: values.Id | None
    image_digest: values.ImageDigest | values.Empty
    target: values.TargetOfWrite
    file: values.Name
    written_digest: values.FileDigest
    base_digest: values.FileDigest | None
    undo: values.Inverse | None
    landmarks: list[values.Slug]
    written_at: values.Time
    complete: bool


class ScheduleRow(_Row):
    id: values.Id
    name: values.Name
    cron: values.Text
    time_zone: values.Text
    selection: values.Scope
    options: dict[str, Any]
    priority: values.PriorityOfJob
    paused: bool
    created_at: values.Time
    next_due: values.Time
    until: values.Text | None


class ScheduleRunRow(_Row):
    schedule_id: values.Id
    due_at: values.Time
    started_at: values.Time
    job_id: values.Id | None
    note: values.Text | None
    paused_at: values.Time | None


ROWS: Mapping[str, type[BaseModel]] = {
    roots.name: RootRow,
    models.name: ModelRow,
    landmarks.name: LandmarkRow,
    model_labels.name: ModelLabelRow,
    contents.name: ContentRow,
    cameras.name: CameraRow,
    photos.name: PhotoRow,
    tags.name: TagRow,
    embeddings.name: EmbeddingRow,
    classifiers.name: ClassifierRow,
    taught_tags.name: TaughtTagRow,
    verdicts.name: VerdictRow,
    dismissals.name: DismissalRow,
    tracks.name: TrackRow,
    track_parts.name: TrackPartRow,
    positions.name: PositionRow,
    position_changes.name: PositionChangeRow,
    ledgers.name: LedgerRow,
    jobs.name: JobRow,
    job_items.name: JobItemRow,
    chunks.name: ChunkRow,
    metadata_writes.name: MetadataWriteRow,
    schedules.name: ScheduleRow,
    schedule_runs.name: ScheduleRunRow,
}
"""The type of the rows of each table that is exported. A test compares them with the tables."""

RULES: Mapping[str, Callable[[dict[str, Any]], None]] = {
    roots.name: row_rules.check_root,
    models.name: row_rules.check_model,
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


def row_validator(table: Table) -> TypeAdapter[BaseModel]:
    """The validator of the table's rows: `validate_python` for stored ones, `validate_json` for exported ones."""
    row, rule = ROWS[table.name], RULES.get(table.name)
    if rule is None:
        return TypeAdapter(row)

    def validate(row: BaseModel) -> BaseModel:
        rule(vars(row))
        return row

    checked: Any = Annotated[row, AfterValidator(validate)]
    return TypeAdapter(checked)


def row_columns(table: Table) -> list[Column[Any]]:
    """The columns of the table that its rows have here: those that are exported."""
    return [column for column in table.columns if column.name in ROWS[table.name].model_fields]


def describe_error(error: ValidationError) -> str:
    """The first error in a row: the column and what is wrong with it."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    column = ".".join(str(part) for part in first["loc"])[:100]
    reason = first["msg"].removeprefix("Value error, ")
    return f"{column}: {reason}" if column else reason
