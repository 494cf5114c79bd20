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
from tagger.transfer.integrity import row_rules


class _Row(BaseModel):
    """Every column and no other, of exactly its type."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class RootRow(_Row):
    id: row_rules.Id
    name: row_rules.Name
    location: row_rules.Name
    location_bytes: row_rules.Bytes
    endpoint: row_rules.Endpoint | None


class ModelRow(_Row):
    id: row_rules.Id
    digest: row_rules.FileDigest
    name: row_rules.Name
    file: row_rules.Text | None
    manifest: dict[str, Any]
    registered_at: row_rules.Time
    in_use: bool
    taught_version: row_rules.Count


class LandmarkRow(_Row):
    id: row_rules.Id
    slug: row_rules.Slug
    name: row_rules.Name
    names: dict[str, row_rules.Name]
    aliases: list[row_rules.Name]
    country: row_rules.Text | None
    region: row_rules.Text | None
    city: row_rules.Text | None
    latitude: row_rules.Latitude | None
    longitude: row_rules.Longitude | None
    extent: row_rules.Extent | None
    edited: list[row_rules.EditableColumn]
    merged_slugs: list[row_rules.Slug]


class ModelLabelRow(_Row):
    model_id: row_rules.Id
    position: row_rules.Count
    label: row_rules.Name
    landmark_id: row_rules.Id


class ContentRow(_Row):
    id: row_rules.Id
    digest: row_rules.ImageDigest
    width: row_rules.Pixels | None
    height: row_rules.Pixels | None
    model_id: row_rules.Id | None
    top_k: row_rules.TopK | None
    threshold: row_rules.Score | None
    damaged: bool
    outcome: row_rules.OutcomeOfImage | None
    classified_at: row_rules.Time | None


class CameraRow(_Row):
    id: row_rules.Id
    key: row_rules.Name
    name: row_rules.Name
    clock_offset_s: row_rules.ClockOffset | None
    clock_source: row_rules.SourceOfClock | None
    companions_id: row_rules.Id | None


class PhotoRow(_Row):
    id: row_rules.Id
    root_id: row_rules.Id
    path: row_rules.Name
    path_bytes: row_rules.Bytes
    size_bytes: row_rules.Size
    mtime_ns: row_rules.Nanoseconds
    taken_at: row_rules.CameraTime | None
    latitude: row_rules.Latitude | None
    longitude: row_rules.Longitude | None
    gps_error_m: row_rules.Metres | None
    utc_offset_s: row_rules.ClockOffset | None
    origin: row_rules.OriginOfPhoto | None
    camera_id: row_rules.Id | None
    gone_since: row_rules.Time | None
    primary_id: row_rules.Id | None
    content_id: row_rules.Id | None
    classified_size_bytes: row_rules.Size | None
    classified_mtime_ns: row_rules.Nanoseconds | None
    failure_kind: row_rules.KindOfFailure | None
    failure_text: row_rules.Text | None
    failure_job_id: row_rules.Id | None
    failure_attempts: row_rules.Count | None


class TagRow(_Row):
    content_id: row_rules.Id
    rank: row_rules.TopK
    landmark_id: row_rules.Id
    score: row_rules.Score
    accepted: bool
    model_id: row_rules.Id
    doubtful: row_rules.DoubtOfTag | None
    position_odds: row_rules.Odds | None
    distance_m: row_rules.Metres | None


class EmbeddingRow(_Row):
    content_id: row_rules.Id
    model_id: row_rules.Id
    taught_version: row_rules.Count
    data: row_rules.Embedding


class ClassifierRow(_Row):
    landmark_id: row_rules.Id
    model_id: row_rules.Id
    version: row_rules.Count
    examples: row_rules.Count
    rejected: row_rules.Count
    evidence: row_rules.FileDigest
    data: row_rules.Weights
    applied: bool
    learned_at: row_rules.Time


class TaughtTagRow(_Row):
    content_id: row_rules.Id
    landmark_id: row_rules.Id
    score: row_rules.Score
    accepted: bool
    model_id: row_rules.Id
    doubtful: row_rules.DoubtOfTag | None
    position_odds: row_rules.Odds | None
    distance_m: row_rules.Metres | None


class VerdictRow(_Row):
    content_id: row_rules.Id
    landmark_id: row_rules.Id
    verdict: row_rules.KindOfVerdict
    given_by: row_rules.Text | None
    given_at: row_rules.Time


class DismissalRow(_Row):
    content_id: row_rules.Id
    given_by: row_rules.Text | None
    given_at: row_rules.Time


class TrackRow(_Row):
    id: row_rules.Id
    digest: row_rules.FileDigest
    name: row_rules.Name
    points: row_rules.Count
    added_at: row_rules.Time


class TrackPartRow(_Row):
    track_id: row_rules.Id
    part: row_rules.Count
    first_at: row_rules.Time
    last_at: row_rules.Time
    data: row_rules.TrackPoints


class PositionRow(_Row):
    photo_id: row_rules.Id
    latitude: row_rules.Latitude
    longitude: row_rules.Longitude
    error_m: row_rules.Metres
    source: row_rules.SourceOfPosition
    evidence: dict[str, Any]
    country: row_rules.Text | None
    region: row_rules.Text | None
    city: row_rules.Text | None


class PositionChangeRow(_Row):
    id: row_rules.Id
    photo_id: row_rules.Id | None
    camera_id: row_rules.Id | None
    taken_at: row_rules.CameraTime | None
    content_id: row_rules.Id | None


class LedgerRow(_Row):
    id: row_rules.OnlyId
    ledger_id: row_rules.LedgerId
    created_at: row_rules.Time
    max_gap_s: row_rules.Count
    position_odds: bool


class JobRow(_Row):
    id: row_rules.Id
    kind: row_rules.KindOfJob
    options: dict[str, Any]
    model_id: row_rules.Id
    top_k: row_rules.TopK
    threshold: row_rules.Score
    reprocess: bool
    runner: row_rules.RunnerOfJob
    priority: row_rules.PriorityOfJob
    state: row_rules.StateOfJob
    note: row_rules.Text | None
    parent_id: row_rules.Id | None
    total: row_rules.Count
    created_at: row_rules.Time
    started_at: row_rules.Time | None
    finished_at: row_rules.Time | None
    items_removed: row_rules.Count
    other_files: row_rules.Count
    owner: row_rules.Text | None
    owner_lease_until: row_rules.Seconds | None


class JobItemRow(_Row):
    job_id: row_rules.Id
    position: row_rules.Count
    photo_id: row_rules.Id | None
    outcome: row_rules.OutcomeOfItem | None
    reason: row_rules.Text | None
    error_text: row_rules.Text | None
    attempts: row_rules.Count


class ChunkRow(_Row):
    job_id: row_rules.Id
    chunk: row_rules.Count
    first: row_rules.Count
    last: row_rules.Count
    attempts: row_rules.Count
    done: bool
    tagged: row_rules.Count
    unknown: row_rules.Count
    written: row_rules.Count
    unchanged: row_rules.Count
    refused: row_rules.Count
    skipped: row_rules.Count
    failed: row_rules.Count
    cancelled: row_rules.Count


class MetadataWriteRow(_Row):
    id: row_rules.Id
    photo_id: row_rules.Id | None
    job_id: row_rules.Id | None
    image_digest: row_rules.ImageDigest | row_rules.Empty
    target: row_rules.TargetOfWrite
    file: row_rules.Name
    written_digest: row_rules.FileDigest
    base_digest: row_rules.FileDigest | None
    undo: row_rules.Inverse | None
    landmarks: list[row_rules.Slug]
    written_at: row_rules.Time
    complete: bool


class ScheduleRow(_Row):
    id: row_rules.Id
    name: row_rules.Name
    cron: row_rules.Text
    time_zone: row_rules.Text
    selection: row_rules.Scope
    options: dict[str, Any]
    priority: row_rules.PriorityOfJob
    paused: bool
    created_at: row_rules.Time
    next_due: row_rules.Time
    until: row_rules.Text | None


class ScheduleRunRow(_Row):
    schedule_id: row_rules.Id
    due_at: row_rules.Time
    started_at: row_rules.Time
    job_id: row_rules.Id | None
    note: row_rules.Text | None
    paused_at: row_rules.Time | None


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
