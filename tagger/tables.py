"""The SQL tables. Other people's queries read them too, so they hold plain values under plain names.

Photos and what is known of them: roots → photos → contents → tags and verdicts, landmarks, models.
Work: jobs → job_items and chunks. Who may write what is decided in scan, ledger and library, not here.
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
    """How a photo ended in a job. The last is the item's, not the photo's: nobody did anything.

    Jobs that look at photos end with the first two; jobs that write metadata with `written`, `unchanged` and `refused`.
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
    """What a job does with its photos: the first three look at them, the others change their metadata."""

    TAG = "tag"
    RETRY = "retry"
    BACKFILL = "backfill"
    WRITE = "write"
    UNDO = "undo"


WRITING_KINDS = (JobKind.WRITE, JobKind.UNDO)


class Target(StrEnum):
    """Where metadata is written: a file beside the photo, or the photo itself."""

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
    """Who works on a job: Celery workers, or the process that made it."""

    WORKERS = "workers"
    LOCAL = "local"


class Priority(StrEnum):
    INTERACTIVE = "interactive"
    BULK = "bulk"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite, which has no zones, keeps it as UTC text."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Ids are 64 bit on PostgreSQL; SQLite numbers rows by itself only where the type is INTEGER.
_Id = BigInteger().with_variant(Integer(), "sqlite")
# Paths compare by bytes on both databases: the scan merges them with a walk in that order.
_PathText = Text().with_variant(Text(collation="C"), "postgresql")


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _ref(column: str, **options: Any) -> ForeignKey:
    return ForeignKey(column, **options)


ledgers = Table(
    "ledgers",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="only_one"), primary_key=True),
    Column("ledger_id", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    comment="One row: the name that messages carry, so that a worker on another database notices.",
)

roots = Table(
    "roots",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("place", _PathText, nullable=False),
    Column("place_bytes", LargeBinary, nullable=False),
    UniqueConstraint("place", "place_bytes"),
    comment="Folders that were enqueued or scanned; settings may say per machine where one is.",
)

models = Table(
    "models",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, unique=True),
    Column("file", Text, comment="null: the model that ships with the package"),
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
    Column("position", Integer, nullable=False, comment="column of the model's scores"),
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
    Column("model_id", _Id, _ref("models.id"), comment="which model looked last; null: none has"),
    Column("top_k", Integer),
    Column("threshold", Float),
    Column("outcome", Text, comment="tagged or unknown, by the model that looked last"),
    Column("looked_at", UtcDateTime),
    Index(None, "model_id"),
    Index(None, "outcome", "id"),
    comment="One row per picture: all copies of it share what is known.",
)

photos = Table(
    "photos",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("root_id", _Id, _ref("roots.id"), nullable=False),
    Column("path", _PathText, nullable=False, comment="relative to the root, with /"),
    Column("path_bytes", LargeBinary, nullable=False, comment="set where the name is not UTF-8"),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("taken_at", DateTime, comment="the camera's local time"),
    Column("latitude", Float),
    Column("longitude", Float),
    Column("gone_since", UtcDateTime),
    Column("content_id", _Id, _ref("contents.id")),
    Column("looked_size_bytes", BigInteger, comment="size and time of the file when its content was read"),
    Column("looked_mtime_ns", BigInteger),
    Column("failure_kind", Text, comment="why it cannot be looked at now; null: it can"),
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
        photos.c.looked_mtime_ns.is_(None),
        photos.c.looked_mtime_ns != photos.c.mtime_ns,
        photos.c.looked_size_bytes != photos.c.size_bytes,
    ),
)
"""No model has looked at the file as it is now, and not for want of trying. An index holds these photos."""
Index("ix_photos_untagged", photos.c.id, postgresql_where=UNTAGGED, sqlite_where=UNTAGGED)

NO_FAILURE: dict[str, None] = dict.fromkeys(
    ("failure_kind", "failure_text", "failure_job_id", "failure_attempts")
)
"""What a photo that does not fail any more has in these columns."""

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
    comment="What the model that looked last said, its top-k; effective_tags adds what people said.",
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
    Column("again", Boolean, nullable=False, comment="look even where this model has looked before"),
    Column("runner", Text, _one_of("runner", Runner), nullable=False),
    Column("priority", Text, _one_of("priority", Priority), nullable=False),
    Column("state", Text, _one_of("state", JobState), nullable=False),
    Column("note", Text, comment="for people: what it waits for, why it ended early"),
    Column("parent_id", _Id, _ref("jobs.id")),
    Column("total", Integer, nullable=False, server_default="0"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("owner", Text, comment="host and process that scans it or runs it; null: workers do"),
    Column("owner_until", Float, comment="lease of that process, seconds since 1970"),
    Index(None, "state"),
    Index(None, "parent_id"),
)

job_items = Table(
    "job_items",
    metadata,
    Column("job_id", _Id, _ref("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False, comment="dense from 0"),
    Column("photo_id", _Id, _ref("photos.id", ondelete="SET NULL")),
    Column("outcome", Text, _one_of("outcome", Outcome), comment="null: not yet"),
    Column("reason", Text, comment="why skipped, or the kind of failure"),
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
    Column("claimed_at", Float, comment="seconds since 1970 by the database's clock"),
    Column("lease_until", Float, comment="the same; null: nobody works on it"),
    Column("worker", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("sent_at", Float, comment="when its message went to Redis; null: it has to be sent"),
    Column("done", Boolean, nullable=False, server_default="0"),
    *(Column(outcome.value, Integer, nullable=False, server_default="0") for outcome in Outcome),
    PrimaryKeyConstraint("job_id", "chunk"),
    comment="Items first..last of a job, in one message. A job's numbers are sums over its chunks.",
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
    Column(
        "picture", Text, nullable=False, comment="digest of the photo's content: known however it is moved"
    ),
    Column("target", Text, _one_of("target", Target), nullable=False),
    Column("file", Text, nullable=False, comment="name of the file that was written, in the photo's folder"),
    Column("written_digest", Text, nullable=False, comment="BLAKE3 of the whole file as it was written"),
    Column(
        "base_digest", Text, comment="the same of the file without what was added; null: there was no file"
    ),
    Column("undo", LargeBinary, comment="which bytes were replaced, and where; null: there was no file"),
    Column("landmarks", JSON, nullable=False, comment="slugs that were written"),
    Column("written_at", UtcDateTime, nullable=False),
    Column(
        "confirmed",
        Boolean,
        nullable=False,
        comment="false: about to be written; the file tells whether it was",
    ),
    Index(None, "photo_id"),
    Index(None, "picture"),
    Index(None, "written_digest"),
    Index(None, "job_id"),
    comment="What this program wrote into which file, and what takes it back exactly.",
)

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("device", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", Float, nullable=False, comment="seconds since 1970 by the database's clock"),
    comment="Workers that said they are alive; one that is silent for long is gone.",
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("cron", Text, nullable=False),
    Column("zone", Text, nullable=False, comment="the time zone that cron is meant in"),
    Column("what", Text, nullable=False),
    Column("options", JSON, nullable=False, comment="which photos, and folders to scan first"),
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
    Column("job_id", _Id, _ref("jobs.id", ondelete="SET NULL"), comment="null: it was not started"),
    Column("note", Text, comment="why it was not started, or could not be"),
    PrimaryKeyConstraint("schedule_id", "due_at"),
    comment="One row per run: of two that find the same run due, one makes it.",
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
"""What the model said and what people said, joined (a view): rejected never, confirmed always."""
