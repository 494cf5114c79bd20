"""The SQL tables. Users query them directly, so they hold plain values under plain names.

Photos and their tags: roots → photos → contents → tags and verdicts, landmarks, models.
Work: jobs → job_items and chunks. This module defines tables only; the rules for writing them are in ledger and catalog.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    and_,
    column,
    or_,
    table,
    true,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Outcome(StrEnum):
    """The outcome of one photo in one job.

    Tagging jobs end with `tagged` or `unknown`, metadata jobs with `written`, `unchanged` or `refused`, and both with
    `skipped` or `failed`. `cancelled`: the job was cancelled before the photo was processed.
    """

    TAGGED = "tagged"
    UNKNOWN = "unknown"
    WRITTEN = "written"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobKind(StrEnum):
    """What a job does: the first three kinds classify photos, the last two change their metadata."""

    TAG = "tag"
    RETRY = "retry"
    BACKFILL = "backfill"
    WRITE = "write"
    UNDO = "undo"


METADATA_KINDS = (JobKind.WRITE, JobKind.UNDO)


class Target(StrEnum):
    """Where metadata is written: a sidecar file beside the photo, or the photo itself."""

    SIDECAR = "sidecar"
    EMBED = "embed"


class JobState(StrEnum):
    SCANNING = "scanning"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FINISHED = "finished"


class Runner(StrEnum):
    """Who runs a job: Celery workers, or the process that created it."""

    WORKERS = "workers"
    LOCAL = "local"


class Priority(StrEnum):
    INTERACTIVE = "interactive"
    BULK = "bulk"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC. SQLite has no time zones and stores it as UTC text."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Ids have 64 bits on PostgreSQL. SQLite generates ids only for the type INTEGER.
_Id = BigInteger().with_variant(Integer(), "sqlite")
# Paths compare by bytes on both databases: the scan merges them with a listing in that order.
_PathText = Text().with_variant(Text(collation="C"), "postgresql")


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    literals = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({literals})", name=column)


def _ref(column: str, **options: Any) -> ForeignKey:
    return ForeignKey(column, **options)


ledgers = Table(
    "ledgers",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="only_one"), primary_key=True),
    Column("ledger_id", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    comment="One row: the id in every message, so that a worker with another database refuses it.",
)

roots = Table(
    "roots",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("location", _PathText, nullable=False),
    Column("location_bytes", LargeBinary, nullable=False),
    UniqueConstraint("location", "location_bytes"),
    comment="The outermost scanned folders. Settings can map a root to another folder on each machine.",
)

models = Table(
    "models",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, unique=True),
    Column("file", Text, comment="null: the model shipped with the package"),
    Column("manifest", JSON, nullable=False),
    Column("registered_at", UtcDateTime, nullable=False),
    Column("in_use", Boolean, nullable=False),
)

landmarks = Table(
    "landmarks",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("country", Text),
    Column("region", Text),
    Column("city", Text),
    Column("latitude", Float),
    Column("longitude", Float),
    Column("extent", Text),
)

model_labels = Table(
    "model_labels",
    metadata,
    Column("model_id", _Id, _ref("models.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False, comment="index in the model's scores"),
    Column("label", Text, nullable=False),
    Column("landmark_id", _Id, _ref("landmarks.id"), nullable=False),
    PrimaryKeyConstraint("model_id", "position"),
    UniqueConstraint("model_id", "landmark_id"),
)

contents = Table(
    "contents",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("width", Integer),
    Column("height", Integer),
    Column("model_id", _Id, _ref("models.id"), comment="the model that classified it last; null: none"),
    Column("top_k", Integer),
    Column("threshold", Float),
    Column("outcome", Text, comment="tagged or unknown, from the last classification"),
    Column("classified_at", UtcDateTime),
    Index(None, "model_id"),
    Index(None, "outcome", "id"),
    comment="One row per image. Copies of a photo share it, and with it tags and verdicts.",
)

photos = Table(
    "photos",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("root_id", _Id, _ref("roots.id"), nullable=False),
    Column("path", _PathText, nullable=False, comment="relative to the root, with / as separator"),
    Column(
        "path_bytes",
        LargeBinary,
        nullable=False,
        comment="the exact bytes if the path is not UTF-8, else empty",
    ),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("taken_at", DateTime, comment="the camera's local time"),
    Column("latitude", Float),
    Column("longitude", Float),
    Column("gone_since", UtcDateTime),
    Column("content_id", _Id, _ref("contents.id")),
    Column("classified_size_bytes", BigInteger, comment="size of the file when it was classified"),
    Column("classified_mtime_ns", BigInteger, comment="modification time of the file when it was classified"),
    Column("failure_kind", Text, comment="why it cannot be classified; null: no failure"),
    Column("failure_text", Text),
    Column("failure_job_id", _Id),
    Column("failure_attempts", Integer),
    UniqueConstraint("root_id", "path", "path_bytes"),
    Index(None, "content_id", "gone_since"),
    Index(None, "taken_at"),
)
Index(
    "ix_photos_failing",
    photos.c.id,
    postgresql_where=photos.c.failure_kind.is_not(None),
    sqlite_where=photos.c.failure_kind.is_not(None),
)

UNTAGGED = and_(
    photos.c.gone_since.is_(None),
    photos.c.failure_kind.is_(None),
    or_(
        photos.c.content_id.is_(None),
        photos.c.classified_mtime_ns.is_(None),
        photos.c.classified_mtime_ns != photos.c.mtime_ns,
        photos.c.classified_size_bytes != photos.c.size_bytes,
    ),
)
"""Photos whose current file no model has classified, without those that failed. A partial index holds them."""
Index("ix_photos_untagged", photos.c.id, postgresql_where=UNTAGGED, sqlite_where=UNTAGGED)

NO_FAILURE: dict[str, None] = dict.fromkeys(
    ("failure_kind", "failure_text", "failure_job_id", "failure_attempts")
)
"""The values that clear a photo's failure."""

tags = Table(
    "tags",
    metadata,
    Column("content_id", _Id, _ref("contents.id", ondelete="CASCADE"), nullable=False),
    Column("rank", Integer, nullable=False),
    Column("landmark_id", _Id, _ref("landmarks.id"), nullable=False),
    Column("score", Float, nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("model_id", _Id, _ref("models.id"), nullable=False),
    PrimaryKeyConstraint("content_id", "rank"),
    Index(None, "landmark_id", "content_id", "accepted"),
    sqlite_with_rowid=False,
    comment="The top-k of the last classification. The view effective_tags applies the verdicts.",
)

_ACCEPTED = tags.c.accepted == true()
Index(
    "ix_tags_accepted_score",
    tags.c.score,
    tags.c.content_id,
    postgresql_where=_ACCEPTED,
    sqlite_where=_ACCEPTED,
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("content_id", _Id, _ref("contents.id"), nullable=False),
    Column("landmark_id", _Id, _ref("landmarks.id"), nullable=False),
    Column(
        "verdict",
        Text,
        CheckConstraint("verdict IN ('confirmed', 'rejected')", name="verdict"),
        nullable=False,
    ),
    Column("given_by", Text),
    Column("given_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("content_id", "landmark_id"),
    Index(None, "landmark_id", "content_id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("options", JSON, nullable=False),
    Column("model_id", _Id, _ref("models.id"), nullable=False),
    Column("top_k", Integer, nullable=False),
    Column("threshold", Float, nullable=False),
    Column(
        "reprocess", Boolean, nullable=False, comment="classify photos again that this model has classified"
    ),
    Column("runner", Text, _one_of("runner", Runner), nullable=False),
    Column("priority", Text, _one_of("priority", Priority), nullable=False),
    Column("state", Text, _one_of("state", JobState), nullable=False),
    Column("note", Text, comment="why the job waits or ended early, in words"),
    Column("parent_id", _Id, _ref("jobs.id")),
    Column("total", Integer, nullable=False, server_default="0"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("owner", Text, comment="host/pid of the process that scans or runs it; null: workers run it"),
    Column("owner_lease_until", Float, comment="end of the owner's lease, seconds since 1970"),
    Index(None, "state"),
    Index(None, "parent_id"),
)

job_items = Table(
    "job_items",
    metadata,
    Column("job_id", _Id, _ref("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False, comment="0, 1, 2, … without gaps"),
    Column("photo_id", _Id, _ref("photos.id", ondelete="SET NULL")),
    Column("outcome", Text, _one_of("outcome", Outcome), comment="null: open"),
    Column("reason", Text, comment="why it was skipped, or the kind of failure"),
    Column("error_text", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),
    PrimaryKeyConstraint("job_id", "position"),
    Index(None, "photo_id"),
    sqlite_with_rowid=False,
)

chunks = Table(
    "chunks",
    metadata,
    Column("job_id", _Id, _ref("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("chunk", Integer, nullable=False),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("token", Text),
    Column("claimed_at", Float, comment="seconds since 1970, database clock"),
    Column("lease_until", Float, comment="seconds since 1970, database clock; null: not claimed"),
    Column("worker", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("sent_at", Float, comment="when its message was sent to Redis; null: not sent"),
    Column("done", Boolean, nullable=False, server_default="0"),
    *(Column(outcome.value, Integer, nullable=False, server_default="0") for outcome in Outcome),
    PrimaryKeyConstraint("job_id", "chunk"),
    comment="Items first..last of a job, sent as one message. A job's counts are sums over its chunks.",
)
Index(
    "ix_chunks_open",
    chunks.c.job_id,
    chunks.c.chunk,
    postgresql_where=chunks.c.done.is_(False),
    sqlite_where=chunks.c.done.is_(False),
)

metadata_writes = Table(
    "metadata_writes",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("photo_id", _Id, _ref("photos.id", ondelete="SET NULL")),
    Column("job_id", _Id, _ref("jobs.id", ondelete="SET NULL")),
    Column("image_digest", Text, nullable=False, comment="contents.digest of the photo when it was written"),
    Column("target", Text, _one_of("target", Target), nullable=False),
    Column("file", Text, nullable=False, comment="name of the written file, in the photo's folder"),
    Column("written_digest", Text, nullable=False, comment="BLAKE3 of the whole file after the write"),
    Column("base_digest", Text, comment="BLAKE3 of the file without our additions; null: there was no file"),
    Column("undo", LargeBinary, comment="the replaced bytes and their offsets; null: there was no file"),
    Column("landmarks", JSON, nullable=False, comment="slugs of the written landmarks"),
    Column("written_at", UtcDateTime, nullable=False),
    Column(
        "complete",
        Boolean,
        nullable=False,
        comment="false: the write began; the file's digest shows whether it was done",
    ),
    Index(None, "photo_id"),
    Index(None, "image_digest"),
    Index(None, "written_digest"),
    Index(None, "job_id"),
    comment="Files that this program wrote, with what undoes each write exactly.",
)

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("device", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", Float, nullable=False, comment="seconds since 1970, database clock"),
    comment="Workers and their last heartbeat.",
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("cron", Text, nullable=False),
    Column("time_zone", Text, nullable=False, comment="time zone of the cron expression"),
    Column("selection", Text, nullable=False, comment="untagged, outdated, failed or all"),
    Column("options", JSON, nullable=False, comment="filters of the photos, and folders to scan first"),
    Column("priority", Text, _one_of("priority", Priority), nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("next_due", UtcDateTime, nullable=False),
    Index(None, "next_due"),
)

schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column("schedule_id", _Id, _ref("schedules.id", ondelete="CASCADE"), nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("job_id", _Id, _ref("jobs.id", ondelete="SET NULL"), comment="null: the run was not started"),
    Column("note", Text, comment="why the run was not started or failed"),
    PrimaryKeyConstraint("schedule_id", "due_at"),
    comment="One row per run. Its key lets only one process start a due run.",
)

effective_tags = table(
    "effective_tags",
    column("content_id", _Id),
    column("landmark_id", _Id),
    column("rank", Integer),
    column("score", Float),
    column("model_id", _Id),
    column("verdict", Text),
    column("accepted", Boolean),
)
"""A view that joins tags and verdicts: a rejected tag is never accepted, a confirmed one always."""
