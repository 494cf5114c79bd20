"""The SQL tables. Users query them directly, so they hold plain values under plain names.

The reference of the tables, docs/reference/tables.md, is generated from `doc` of each column and of each table's `info`.

Photos and their tags: roots → photos → contents → tags, verdicts and dismissals, landmarks, models.
Teaching: contents → embeddings and taught_tags; verdicts → classifiers.
Positions: photos, cameras, tracks → positions.
Work: jobs → job_items and chunks. Access to the page: access_tokens, users → page_sessions; sign_in_attempts; shares → share_photos. Who did what: audit_log.
This module defines tables only; the rules for writing them are in ledger, catalog and access.
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
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    FromClause,
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
    false,
    literal_column,
    or_,
    true,
)

from tagger.database.enums import (
    ClockSource,
    JobKind,
    JobState,
    Outcome,
    PositionSource,
    Priority,
    Role,
    Runner,
    Target,
)
from tagger.database.path_parts import name_of
from tagger.photo_origin import PhotoOrigin

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


views = MetaData()
"""The views: a migration creates them, `metadata.create_all` does not."""


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


def _listed(values: type[StrEnum]) -> str:
    """`tag`, `retry` or `undo`: the values of a column for its `doc`."""
    *others, last = (f"`{value}`" for value in values)
    return f"{', '.join(others)} or {last}"


def _ref(column: str | Column[Any], **options: Any) -> ForeignKey:
    return ForeignKey(column, **options)


roots = Table(
    "roots",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column("name", Text, nullable=False, unique=True, doc="name of the root in settings and messages"),
    Column(
        "location", _PathText, nullable=False, doc="absolute path of the folder, or address of the prefix"
    ),
    Column(
        "location_bytes",
        LargeBinary,
        nullable=False,
        doc="exact bytes of the path if it is not UTF-8, else empty",
    ),
    Column(
        "endpoint", Text, doc="URL of the server at which a bucket of S3 was scanned, without credentials"
    ),
    UniqueConstraint("location", "location_bytes"),
    info={
        "doc": "An outermost folder that was enqueued. Settings can map it to another folder on each machine."
    },
)

models = Table(
    "models",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column("digest", Text, nullable=False, unique=True, doc="BLAKE3 digest of the model file"),
    Column("name", Text, nullable=False, unique=True, doc="name of the model in commands and settings"),
    Column(
        "file",
        Text,
        doc="path of the model file; null: the model shipped with the package; empty: imported, and not named here",
    ),
    Column(
        "manifest",
        JSON,
        nullable=False,
        doc="the file's description of the model: labels, input size, default threshold, metrics",
    ),
    Column("registered_at", UtcDateTime, nullable=False, doc="when the model was registered"),
    Column("in_use", Boolean, nullable=False, doc="whether new jobs use it by default"),
    Column(
        "taught_version",
        Integer,
        nullable=False,
        server_default="0",
        doc="counts the changes of its classifiers of taught landmarks",
    ),
    info={"doc": "A registered model."},
)

landmarks = Table(
    "landmarks",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column("slug", Text, nullable=False, unique=True, doc="identifier that never changes, like `alai-minar`"),
    Column("name", Text, nullable=False, doc="name in the model's language"),
    Column(
        "names",
        JSON,
        nullable=False,
        server_default="{}",
        doc='names by language tag, like `{"de": "Kölner Dom"}`',
    ),
    Column("aliases", JSON, nullable=False, server_default="[]", doc="list of other names that people use"),
    Column("country", Text, doc="country"),
    Column("region", Text, doc="region or state"),
    Column("city", Text, doc="city"),
    Column("latitude", Float, doc="degrees (WGS 84), south is negative"),
    Column("longitude", Float, doc="degrees (WGS 84), west is negative"),
    Column("extent", Text, doc="shape on the map: `point`, `line`, `area` or `multi` (several points)"),
    Column(
        "edited",
        JSON,
        nullable=False,
        server_default="[]",
        doc="list of the columns that a person set; models do not change these",
    ),
    Column(
        "merged_slugs",
        JSON,
        nullable=False,
        server_default="[]",
        doc="list of the slugs of landmarks that were merged into this one; they still find it",
    ),
    info={"doc": "A landmark that a model or a user named."},
)

model_labels = Table(
    "model_labels",
    metadata,
    Column("model_id", _Id, _ref("models.id", ondelete="CASCADE"), nullable=False, doc="the model"),
    Column("position", Integer, nullable=False, doc="index of the label in the model's scores"),
    Column("label", Text, nullable=False, doc="name of the label in the model"),
    Column("landmark_id", _Id, _ref("landmarks.id"), nullable=False, doc="the landmark"),
    PrimaryKeyConstraint("model_id", "position"),
    UniqueConstraint("model_id", "landmark_id"),
    info={"doc": "A label of a model and the landmark that it stands for."},
)

contents = Table(
    "contents",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column(
        "digest",
        Text,
        nullable=False,
        unique=True,
        doc="digest of the image data and orientation, without other metadata",
    ),
    Column("width", Integer, doc="size in pixels, as displayed"),
    Column("height", Integer, doc="size in pixels, as displayed"),
    Column(
        "model_id", _Id, _ref("models.id"), doc="the model that classified it last; null: never classified"
    ),
    Column("top_k", Integer, doc="largest number of tags in that classification"),
    Column("threshold", Float, doc="lowest score of an accepted tag in that classification"),
    Column("outcome", Text, doc="`tagged` or `unknown`: whether one of its `tags` is accepted"),
    Column("classified_at", UtcDateTime, doc="when it was classified last"),
    Index(None, "model_id"),
    Index(None, "outcome", "id"),
    info={"doc": "An image, known by its digest. Copies of a photo share it, and with it tags and verdicts."},
)

cameras = Table(
    "cameras",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column(
        "key",
        Text,
        nullable=False,
        unique=True,
        doc="make, model and serial number; for photos that name no camera, their root and folder",
    ),
    Column("name", Text, nullable=False, doc="name of the camera, or path of the folder"),
    Column(
        "clock_offset_s",
        Integer,
        doc="how far its clock is ahead of UTC, for photos that do not say; null: unknown",
    ),
    Column(
        "clock_source",
        Text,
        _one_of("clock_source", ClockSource),
        doc=f"{_listed(ClockSource)}: who says so; null: unknown",
    ),
    Column(
        "companions_id",
        _Id,
        _ref("cameras.id", name="fk_cameras_companions_id"),
        doc="the first of the cameras that are used together with it, or it itself; null: there are none",
    ),
    info={
        "doc": "A camera. Photos of one camera lie on one line of time. Photos of a folder that name no camera count as those of one."
    },
)

photos = Table(
    "photos",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column("root_id", _Id, _ref("roots.id"), nullable=False, doc="the root"),
    Column("path", _PathText, nullable=False, doc="path relative to the root, with `/` as separator"),
    Column(
        "path_bytes",
        LargeBinary,
        nullable=False,
        doc="exact bytes of the path if it is not UTF-8, else empty",
    ),
    Column("size_bytes", BigInteger, nullable=False, doc="size of the file"),
    Column(
        "mtime_ns",
        BigInteger,
        nullable=False,
        doc="modification time of the file, nanoseconds since 1970; of an object, whole seconds and a digest of its ETag",
    ),
    Column("taken_at", DateTime, doc="when the photo was taken, in the camera's local time"),
    Column("latitude", Float, doc="the camera's GPS position, degrees"),
    Column("longitude", Float, doc="the camera's GPS position, degrees"),
    Column("gps_error_m", Float, doc="error of the GPS position that the camera states, in metres"),
    Column(
        "utc_offset_s", Integer, doc="how far the camera's local time is ahead of UTC, if the photo says it"
    ),
    Column(
        "origin",
        Text,
        doc=f"{_listed(PhotoOrigin)}: no camera took it as it is; null: a camera took it",
    ),
    Column(
        "camera_id",
        _Id,
        _ref("cameras.id", name="fk_photos_camera_id"),
        doc="the camera; null: not read yet",
    ),
    Column("gone_since", UtcDateTime, doc="since when the file is missing; null: it exists"),
    Column(
        "primary_id",
        _Id,
        _ref("photos.id", name="fk_photos_primary_id"),
        doc="of a RAW file: the JPEG or HEIC of the same name, with which it is one photo; that row has the image, the facts and "
        "the failure of both; null: the file is a photo of its own",
    ),
    Column("content_id", _Id, _ref("contents.id"), doc="the image in the file; null: not read yet"),
    Column("classified_size_bytes", BigInteger, doc="size of the file when it was classified"),
    Column("classified_mtime_ns", BigInteger, doc="modification time of the file when it was classified"),
    Column(
        "failure_kind",
        Text,
        doc="kind of failure: why it cannot be classified; null: no failure",
    ),
    Column("failure_text", Text, doc="the failure in words, with a remedy"),
    Column("failure_job_id", _Id, doc="the job that failed last"),
    Column("failure_attempts", Integer, doc="number of failed attempts since the last success"),
    UniqueConstraint("root_id", "path", "path_bytes"),
    Index(None, "content_id", "gone_since"),
    Index(None, "taken_at"),
    Index(None, "camera_id", "taken_at"),
    info={
        "doc": "A photo: a file below a root. Rows with a `primary_id` are further files of another photo."
    },
)
Index(
    "ix_photos_failing",
    photos.c.id,
    postgresql_where=photos.c.failure_kind.is_not(None),
    sqlite_where=photos.c.failure_kind.is_not(None),
)

Index("ix_photos_name", name_of(photos.c.path))

Index(
    "ix_photos_primary_id",
    photos.c.primary_id,
    postgresql_where=photos.c.primary_id.is_not(None),
    sqlite_where=photos.c.primary_id.is_not(None),
)

PRESENT = and_(photos.c.gone_since.is_(None), photos.c.primary_id.is_(None))
"""Photos that exist, each once. Conditions on contents need not exclude RAW files with a JPEG: these have none."""

UNTAGGED = and_(
    PRESENT,
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

_POSITION_ODDS = (
    "by how much the photo's position makes the landmark likelier (above 1) or less likely, if `accepted` follows from it; "
    "null: it follows from the score alone"
)
_DISTANCE = "from the photo's position to the landmark, in metres, if `position_odds` is set"

tags = Table(
    "tags",
    metadata,
    Column("content_id", _Id, _ref("contents.id", ondelete="CASCADE"), nullable=False, doc="the image"),
    Column("rank", Integer, nullable=False, doc="1 for the highest score, 2 for the next, …"),
    Column("landmark_id", _Id, _ref("landmarks.id"), nullable=False, doc="the landmark"),
    Column("score", Float, nullable=False, doc="calibrated score, 0 to 1"),
    Column(
        "accepted",
        Boolean,
        nullable=False,
        doc="whether the score reaches the threshold, unless `position_odds` says otherwise",
    ),
    Column("model_id", _Id, _ref("models.id"), nullable=False, doc="the model that classified the image"),
    Column("position_odds", Float, doc=_POSITION_ODDS),
    Column("distance_m", Float, doc=_DISTANCE),
    PrimaryKeyConstraint("content_id", "rank"),
    Index(None, "landmark_id", "content_id", "accepted"),
    sqlite_with_rowid=False,
    info={
        "doc": "A landmark among the best predictions for an image, from its last classification. The view `effective_tags` applies the verdicts."
    },
)

_ACCEPTED = tags.c.accepted == true()
Index(
    "ix_tags_accepted_score",
    tags.c.score,
    tags.c.content_id,
    postgresql_where=_ACCEPTED,
    sqlite_where=_ACCEPTED,
)


def is_candidate(tag: FromClause) -> ColumnElement[bool]:
    """Whether a row of `tags` is the best prediction for its image and not accepted. A partial index has these by score."""
    return and_(tag.c.rank == literal_column("1"), tag.c.accepted == false())


Index(
    "ix_tags_candidate_score",
    tags.c.score,
    tags.c.content_id,
    postgresql_where=is_candidate(tags),
    sqlite_where=is_candidate(tags),
)

embeddings = Table(
    "embeddings",
    metadata,
    Column(
        "content_id",
        _Id,
        _ref("contents.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        doc="the image",
    ),
    Column("model_id", _Id, _ref("models.id"), nullable=False, doc="the model that made it"),
    Column(
        "taught_version",
        Integer,
        nullable=False,
        doc="`models.taught_version` when the image was compared with the taught landmarks",
    ),
    Column(
        "data",
        LargeBinary,
        nullable=False,
        doc="lowest and highest value (float32), then 4 bits for each dimension, between these two",
    ),
    Index(None, "model_id", "taught_version"),
    info={
        "doc": "The embedding of an image: what a model sees in it, as numbers. Landmarks are taught, and photos compared, with embeddings of one model."
    },
)

classifiers = Table(
    "classifiers",
    metadata,
    Column(
        "landmark_id",
        _Id,
        _ref("landmarks.id", ondelete="CASCADE"),
        nullable=False,
        doc="the taught landmark",
    ),
    Column(
        "model_id",
        _Id,
        _ref("models.id", ondelete="CASCADE"),
        nullable=False,
        doc="the model of the embeddings",
    ),
    Column("version", Integer, nullable=False, doc="`models.taught_version` when it was learned"),
    Column("examples", Integer, nullable=False, doc="number of confirmed images that it was learned from"),
    Column("rejected", Integer, nullable=False, doc="number of rejected images that it was learned from"),
    Column("evidence", Text, nullable=False, doc="BLAKE3 digest of these verdicts"),
    Column("data", LargeBinary, nullable=False, doc="what was learned: weights of the dimensions (float32)"),
    Column(
        "applied",
        Boolean,
        nullable=False,
        doc="whether all images with an embedding were compared with it since it was learned",
    ),
    Column("learned_at", UtcDateTime, nullable=False, doc="when it was learned"),
    PrimaryKeyConstraint("landmark_id", "model_id"),
    Index(None, "model_id"),
    info={"doc": "What was learned of a taught landmark from verdicts, for the embeddings of one model."},
)

taught_tags = Table(
    "taught_tags",
    metadata,
    Column("content_id", _Id, _ref("contents.id", ondelete="CASCADE"), nullable=False, doc="the image"),
    Column(
        "landmark_id",
        _Id,
        _ref("landmarks.id", ondelete="CASCADE"),
        nullable=False,
        doc="the taught landmark",
    ),
    Column("score", Float, nullable=False, doc="calibrated score, 0 to 1"),
    Column(
        "accepted",
        Boolean,
        nullable=False,
        doc="true: a tag; false: a suggestion to confirm or reject, or refused by its position",
    ),
    Column("model_id", _Id, _ref("models.id"), nullable=False, doc="the model of the embedding"),
    Column("position_odds", Float, doc=_POSITION_ODDS),
    Column("distance_m", Float, doc=_DISTANCE),
    PrimaryKeyConstraint("content_id", "landmark_id"),
    Index(None, "landmark_id", "content_id", "accepted"),
    sqlite_with_rowid=False,
    info={
        "doc": "A taught landmark that an image probably shows. Derived from verdicts, and replaced when they change."
    },
)
for _table in (tags, taught_tags):
    Index(
        f"ix_{_table.name}_position_odds",
        _table.c.content_id,
        postgresql_where=_table.c.position_odds.is_not(None),
        sqlite_where=_table.c.position_odds.is_not(None),
    )

verdicts = Table(
    "verdicts",
    metadata,
    Column("content_id", _Id, _ref("contents.id"), nullable=False, doc="the image"),
    Column("landmark_id", _Id, _ref("landmarks.id"), nullable=False, doc="the landmark"),
    Column(
        "verdict",
        Text,
        CheckConstraint("verdict IN ('confirmed', 'rejected')", name="verdict"),
        nullable=False,
        doc="`confirmed` or `rejected`",
    ),
    Column("given_by", Text, doc="name of the person"),
    Column("given_at", UtcDateTime, nullable=False, doc="when the verdict was given"),
    PrimaryKeyConstraint("content_id", "landmark_id"),
    Index(None, "landmark_id", "content_id"),
    info={
        "doc": "A person's decision about a landmark on an image. It applies to every copy and to later models."
    },
)

dismissals = Table(
    "dismissals",
    metadata,
    Column(
        "content_id",
        _Id,
        _ref("contents.id"),
        primary_key=True,
        autoincrement=False,
        doc="the image",
    ),
    Column("given_by", Text, doc="name of the person"),
    Column("given_at", UtcDateTime, nullable=False, doc="when the image was put away"),
    info={
        "doc": "An image that a person put away as not a landmark. It applies to every copy and to later models. A confirmed landmark deletes it."
    },
)

tracks = Table(
    "tracks",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column("digest", Text, nullable=False, unique=True, doc="BLAKE3 digest of the GPX file"),
    Column("name", Text, nullable=False, doc="name of the file"),
    Column("points", Integer, nullable=False, doc="number of points with a time"),
    Column("added_at", UtcDateTime, nullable=False, doc="when it was added"),
    info={"doc": "A GPS track: where somebody was, and when."},
)

track_parts = Table(
    "track_parts",
    metadata,
    Column("track_id", _Id, _ref("tracks.id", ondelete="CASCADE"), nullable=False, doc="the track"),
    Column("part", Integer, nullable=False, doc="0, 1, 2, …"),
    Column("first_at", UtcDateTime, nullable=False, doc="time of its first point"),
    Column("last_at", UtcDateTime, nullable=False, doc="time of its last point"),
    Column(
        "data",
        LargeBinary,
        nullable=False,
        doc="its points in order of time: seconds since 1970, latitude and longitude (float64, little-endian)",
    ),
    PrimaryKeyConstraint("track_id", "part"),
    Index(None, "last_at", "first_at"),
    info={
        "doc": "Up to some thousands of successive points of a track, of at most a day. A part that continues another one begins with its last point."
    },
)

positions = Table(
    "positions",
    metadata,
    Column(
        "photo_id",
        _Id,
        _ref("photos.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        doc="the photo",
    ),
    Column("latitude", Float, nullable=False, doc="degrees (WGS 84), south is negative"),
    Column("longitude", Float, nullable=False, doc="degrees (WGS 84), west is negative"),
    Column(
        "error_m",
        Float,
        nullable=False,
        doc="in 90 % of cases, the distance from the true position is smaller",
    ),
    Column("source", Text, _one_of("source", PositionSource), nullable=False, doc=_listed(PositionSource)),
    Column(
        "evidence",
        JSON,
        nullable=False,
        doc="what it follows from: `landmark` or `track` with its id, or `before` and `after` with photos and seconds",
    ),
    Column("country", Text, doc="country of the nearest city"),
    Column("region", Text, doc="region or state of the nearest city"),
    Column("city", Text, doc="the nearest city"),
    Index(None, "latitude", "longitude", "photo_id"),
    Index(None, "source", "photo_id"),
    Index(None, "country", "photo_id"),
    info={
        "doc": "Where a photo was taken. Derived from cameras' GPS, landmarks, tracks and photos taken shortly before and after, and replaced when these change."
    },
)

position_changes = Table(
    "position_changes",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column("photo_id", _Id, doc="the photo; null: all photos of an image"),
    Column("camera_id", _Id, doc="its camera before the change"),
    Column("taken_at", DateTime, doc="its time before the change"),
    Column("content_id", _Id, doc="the image"),
    info={
        "doc": "A photo or an image whose evidence has changed since `positions` was updated. Rows are only inserted, so that nobody waits for an update, and deleted by the update."
    },
)

ledgers = Table(
    "ledgers",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="only_one"), primary_key=True, doc="always 1"),
    Column("ledger_id", Text, nullable=False, doc="random id of this database"),
    Column("created_at", UtcDateTime, nullable=False, doc="when the database was created"),
    Column(
        "last_tick_at",
        Float,
        doc="when a worker last executed a tick of beat, in seconds since 1970; null: never",
    ),
    Column(
        "max_gap_s",
        Integer,
        nullable=False,
        server_default="7200",
        doc="a photo's position is estimated between two others that are at most this far apart in time",
    ),
    Column(
        "position_odds",
        Boolean,
        nullable=False,
        server_default="1",
        doc="whether photos' positions count when tags are accepted",
    ),
    info={
        "doc": "The database's identity and the last tick of beat, in a single row. Messages carry its id, so that a worker of another database refuses them."
    },
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _Id, primary_key=True, doc="number of the job in commands"),
    Column("kind", Text, nullable=False, doc=_listed(JobKind)),
    Column(
        "options", JSON, nullable=False, doc="options of its kind, such as paths, filters and metadata fields"
    ),
    Column("model_id", _Id, _ref("models.id"), nullable=False, doc="the model that classifies the photos"),
    Column("top_k", Integer, nullable=False, doc="number of predictions to store for each photo"),
    Column("threshold", Float, nullable=False, doc="lowest score of an accepted tag"),
    Column(
        "reprocess",
        Boolean,
        nullable=False,
        doc="whether photos are classified again that this model has classified",
    ),
    Column("runner", Text, _one_of("runner", Runner), nullable=False, doc=_listed(Runner)),
    Column("priority", Text, _one_of("priority", Priority), nullable=False, doc=_listed(Priority)),
    Column("state", Text, _one_of("state", JobState), nullable=False, doc=_listed(JobState)),
    Column("note", Text, doc="why the job waits or ended early, in words"),
    Column(
        "parent_id",
        _Id,
        _ref("jobs.id"),
        doc="the job whose failed photos it retries or whose tags it writes",
    ),
    Column(
        "total",
        Integer,
        nullable=False,
        server_default="0",
        doc="number of items; grows while the job is scanning",
    ),
    Column("created_at", UtcDateTime, nullable=False, doc="when the job was created"),
    Column("started_at", UtcDateTime, doc="when its first chunk was claimed"),
    Column("finished_at", UtcDateTime, doc="when it finished or was cancelled"),
    Column(
        "items_removed",
        Integer,
        nullable=False,
        server_default="0",
        doc="number of its items that were removed because the job is old, from the first on; its counts stay",
    ),
    Column("owner", Text, doc="process that scans or runs it, as host/pid; null: workers run it"),
    Column("owner_lease_until", Float, doc="end of the owner's lease, in seconds since 1970"),
    Index(None, "state"),
    Index(None, "parent_id"),
    info={"doc": "A job: one request over many photos."},
)

job_items = Table(
    "job_items",
    metadata,
    Column("job_id", _Id, _ref("jobs.id", ondelete="CASCADE"), nullable=False, doc="the job"),
    Column("position", Integer, nullable=False, doc="0, 1, 2, … without gaps"),
    Column(
        "photo_id",
        _Id,
        _ref("photos.id", ondelete="SET NULL"),
        doc="the photo; null: removed from the database",
    ),
    Column("outcome", Text, _one_of("outcome", Outcome), doc=f"{_listed(Outcome)}; null: open"),
    Column(
        "reason",
        Text,
        doc="why it was skipped, the kind of failure or refusal, or `edited`: an undo kept the changes of other programs",
    ),
    Column("error_text", Text, doc="the failure or refusal in words"),
    Column(
        "attempts",
        Integer,
        nullable=False,
        server_default="0",
        doc="how often a worker tried to process it",
    ),
    PrimaryKeyConstraint("job_id", "position"),
    Index(None, "photo_id"),
    sqlite_with_rowid=False,
    info={"doc": "One photo of a job."},
)

chunks = Table(
    "chunks",
    metadata,
    Column("job_id", _Id, _ref("jobs.id", ondelete="CASCADE"), nullable=False, doc="the job"),
    Column("chunk", Integer, nullable=False, doc="number of the chunk in the job"),
    Column("first", Integer, nullable=False, doc="positions of its first and last item"),
    Column("last", Integer, nullable=False, doc="positions of its first and last item"),
    Column("token", Text, doc="secret of the last claim; only its holder stores outcomes"),
    Column("claimed_at", Float, doc="when it was claimed last, in seconds since 1970"),
    Column(
        "lease_until", Float, doc="end of the claim unless renewed, in seconds since 1970; null: not claimed"
    ),
    Column("worker", Text, doc="the worker of the last claim; null: released, or never claimed"),
    Column(
        "attempts",
        Integer,
        nullable=False,
        server_default="0",
        doc="number of claims, without those given back",
    ),
    Column("sent_at", Float, doc="when its message was sent to Redis, in seconds since 1970; null: not sent"),
    Column("done", Boolean, nullable=False, server_default="0", doc="whether all its items have an outcome"),
    *(
        Column(
            outcome.value,
            Integer,
            nullable=False,
            server_default="0",
            doc="number of items with this outcome",
        )
        for outcome in Outcome
    ),
    PrimaryKeyConstraint("job_id", "chunk"),
    info={
        "doc": "A range of a job's items, processed by one worker at a time. A job's counts are sums over its chunks."
    },
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
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column(
        "photo_id",
        _Id,
        _ref("photos.id", ondelete="SET NULL"),
        doc="the photo; null: removed from the database",
    ),
    Column(
        "job_id",
        _Id,
        _ref("jobs.id", ondelete="SET NULL"),
        doc="the job that wrote it; null: removed from the database",
    ),
    Column("image_digest", Text, nullable=False, doc="`contents.digest` of the photo when it was written"),
    Column(
        "target",
        Text,
        _one_of("target", Target),
        nullable=False,
        doc="`sidecar` (a file beside the photo) or `embed` (the photo itself)",
    ),
    Column("file", Text, nullable=False, doc="name of the written file, in the photo's folder"),
    Column("written_digest", Text, nullable=False, doc="BLAKE3 digest of the whole file after the write"),
    Column(
        "base_digest", Text, doc="BLAKE3 digest of the file without the written tags; null: there was no file"
    ),
    Column("undo", LargeBinary, doc="the replaced bytes and their offsets; null: there was no file"),
    Column("landmarks", JSON, nullable=False, doc="slugs of the written landmarks"),
    Column("written_at", UtcDateTime, nullable=False, doc="when the file was written"),
    Column(
        "complete",
        Boolean,
        nullable=False,
        doc="false: the write began; the file's digest shows whether it was done",
    ),
    Index(None, "photo_id"),
    Index(None, "image_digest"),
    Index(None, "written_digest"),
    Index(None, "job_id"),
    info={"doc": "A file into which tags were written, with what undoes the write exactly."},
)

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True, doc="name of the worker"),
    Column("device", Text, nullable=False, doc="device that runs the model"),
    Column("started_at", UtcDateTime, nullable=False, doc="when the worker started"),
    Column("heartbeat_at", Float, nullable=False, doc="last sign of life, in seconds since 1970"),
    Column("waits_for", Text, doc="why it starts no work now, in words; null: it does not wait"),
    Column("photos_per_second", Float, doc="photos that it stored in the last half minute, per second"),
    info={"doc": "A worker that has not been shut down."},
)

backend_selections = Table(
    "backend_selections",
    metadata,
    Column(
        "key",
        Text,
        primary_key=True,
        doc="what the selection depends on, as JSON: model, device, precision, hardware, options, versions",
    ),
    Column("model_digest", Text, nullable=False, doc="digest of the model file"),
    Column("device", Text, nullable=False, doc="device that runs the model"),
    Column("hardware", Text, nullable=False, doc="name of the GPU or processor"),
    Column("engines", JSON, nullable=False, doc='list of engines with versions, like `["torch 2.11.0"]`'),
    Column("backend", Text, nullable=False, doc="engine that runs the model: `torchscript` or `openvino`"),
    Column("batch_size", Integer, nullable=False, doc="number of images in a forward pass"),
    Column("decodes_jpegs", Boolean, nullable=False, doc="whether the device decodes JPEGs"),
    Column("selected_at", UtcDateTime, nullable=False, doc="when it was selected"),
    Column("selected_by", Text, nullable=False, doc="name of the machine that measured it"),
    info={"doc": "The fastest backend of a model on one kind of machine, which all such machines use."},
)

webhook_messages = Table(
    "webhook_messages",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column("message_id", Text, nullable=False, unique=True, doc="the header `webhook-id`"),
    Column(
        "subject",
        Text,
        nullable=False,
        unique=True,
        doc="the event and what it is about, like `job.finished/7`: the same event is recorded once",
    ),
    Column("event", Text, nullable=False, doc="type of the event, like `job.finished`"),
    Column("data", JSON, nullable=False, doc="facts of the event"),
    Column("created_at", UtcDateTime, nullable=False, doc="when the event happened"),
    Column("attempts", Integer, nullable=False, server_default="0", doc="how often it was sent"),
    Column(
        "next_attempt_at",
        Float,
        doc="when it is sent next, in seconds since 1970; null: it was delivered or given up",
    ),
    Column("delivered_at", UtcDateTime, doc="when the receiver accepted it; null: not yet, or given up"),
    Column("problem", Text, doc="why the last attempt failed, in words"),
    info={
        "doc": "An event for the receiver of `TAGGER_WEBHOOK_URL`, written in the transaction of the event."
    },
)
Index(
    "ix_webhook_messages_pending",
    webhook_messages.c.next_attempt_at,
    postgresql_where=webhook_messages.c.next_attempt_at.is_not(None),
    sqlite_where=webhook_messages.c.next_attempt_at.is_not(None),
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column("name", Text, nullable=False, unique=True, doc="name of the schedule in commands"),
    Column("cron", Text, nullable=False, doc="when it runs, as a cron expression"),
    Column("time_zone", Text, nullable=False, doc="time zone of the cron expression"),
    Column(
        "selection",
        Text,
        nullable=False,
        doc="which photos: `untagged`, `outdated`, `failed`, `all` or `taught`",
    ),
    Column("options", JSON, nullable=False, doc="filters of the photos, and folders to scan first"),
    Column("priority", Text, _one_of("priority", Priority), nullable=False, doc=_listed(Priority)),
    Column("paused", Boolean, nullable=False, doc="whether it is paused"),
    Column("created_at", UtcDateTime, nullable=False, doc="when it was added"),
    Column("next_due", UtcDateTime, nullable=False, doc="when it runs next"),
    Column(
        "until",
        Text,
        doc="time of day, like `06:00` in its time zone, at which a run is paused until the next one; null: never",
    ),
    Index(None, "next_due"),
    info={"doc": "A backfill that runs at set times."},
)

schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column("schedule_id", _Id, _ref("schedules.id", ondelete="CASCADE"), nullable=False, doc="the schedule"),
    Column("due_at", UtcDateTime, nullable=False, doc="when the run was due"),
    Column("started_at", UtcDateTime, nullable=False, doc="when it was started"),
    Column("job_id", _Id, _ref("jobs.id", ondelete="SET NULL"), doc="the job; null: the run was not started"),
    Column("note", Text, doc="why the run was not started or failed"),
    Column(
        "paused_at", UtcDateTime, doc="when its job was paused because its time was over; null: it was not"
    ),
    PrimaryKeyConstraint("schedule_id", "due_at"),
    info={"doc": "A run of a schedule. The primary key lets only one process start a due run."},
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column("name", Text, nullable=False, unique=True, doc="name of the token in commands"),
    Column("digest", Text, nullable=False, unique=True, doc="SHA-256 of the token, which is not stored"),
    Column("read_only", Boolean, nullable=False, doc="whether it allows to look and search, and no changes"),
    Column("created_at", UtcDateTime, nullable=False, doc="when it was added"),
    Column("expires_at", UtcDateTime, doc="when it becomes invalid; null: never"),
    Column(
        "last_used_at",
        UtcDateTime,
        doc="when it or one of its sessions was used last, to the minute; null: never",
    ),
    info={
        "doc": "A token that gives access to the page, until it expires or is revoked. It is not exported."
    },
)

users = Table(
    "users",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column("name", Text, nullable=False, unique=True, doc="name to sign in with, in lower case"),
    Column("role", Text, nullable=False, doc="`viewer`, `editor` or `admin`"),
    Column(
        "password_hash",
        Text,
        doc="argon2id hash of the password; null: the person signs in at a reverse proxy only",
    ),
    Column("created_at", UtcDateTime, nullable=False, doc="when the user was added"),
    Column("last_used_at", UtcDateTime, doc="when the person used the page last, to the minute; null: never"),
    _one_of("role", Role),
    info={"doc": "A person who signs in to the page by name. It is not exported."},
)

sign_in_attempts = Table(
    "sign_in_attempts",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column("account", Text, nullable=False, doc="SHA-256 of the name, which may be unknown"),
    Column("network", Text, nullable=False, doc="address of the client, of IPv6 its /64 network"),
    Column("at", UtcDateTime, nullable=False, doc="when it was"),
    Index(None, "account", "at"),
    Index(None, "network", "at"),
    Index(None, "at"),
    info={
        "doc": "An attempt to sign in with a name and a wrong password, within the last hour. It is not exported."
    },
)

page_sessions = Table(
    "page_sessions",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key"),
    Column("digest", Text, nullable=False, unique=True, doc="hash of the session id in the browser's cookie"),
    Column(
        "token_id",
        _Id,
        _ref("access_tokens.id", ondelete="CASCADE"),
        doc="the token that the person signed in with; null: a password, or the token of the settings",
    ),
    Column(
        "user_id",
        _Id,
        _ref("users.id", ondelete="CASCADE"),
        doc="who signed in with a password; null: somebody with a token",
    ),
    Column("network", Text, doc="address of the client that signed in, of IPv6 its /64 network"),
    Column("browser", Text, doc="what its browser says that it is (User-Agent)"),
    Column("created_at", UtcDateTime, nullable=False, doc="when the person signed in"),
    Column("last_used_at", UtcDateTime, nullable=False, doc="when it was used last, to the minute"),
    Column("expires_at", UtcDateTime, nullable=False, doc="when it becomes invalid"),
    Index(None, "token_id"),
    Index(None, "user_id"),
    info={"doc": "A browser that is signed in to the page. Signing out deletes it. It is not exported."},
)

shares = Table(
    "shares",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key, by which commands name it"),
    Column(
        "digest", Text, nullable=False, unique=True, doc="SHA-256 of the link's token, which is not stored"
    ),
    Column("name", Text, nullable=False, doc="title that visitors see"),
    Column(
        "options",
        JSON(none_as_null=True),
        doc="options of the query that finds its photos; null: those of `share_photos`",
    ),
    Column("with_positions", Boolean, nullable=False, doc="whether visitors see where photos were taken"),
    Column("created_at", UtcDateTime, nullable=False, doc="when it was added"),
    Column("expires_at", UtcDateTime, doc="when it ends by itself; null: never"),
    Column("revoked_at", UtcDateTime, doc="when somebody ended it; null: nobody did"),
    info={
        "doc": "A link with which anybody can see some photos. Kept for 90 days after its end. It is not exported."
    },
)

share_photos = Table(
    "share_photos",
    metadata,
    Column("share_id", _Id, _ref("shares.id", ondelete="CASCADE"), doc="the share"),
    Column("photo_id", _Id, _ref("photos.id", ondelete="CASCADE"), doc="a photo that was selected for it"),
    PrimaryKeyConstraint("share_id", "photo_id"),
    Index(None, "photo_id"),
    info={"doc": "The photos of a share that is a fixed selection. They are not exported."},
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", _Id, primary_key=True, doc="primary key, in the order of writing"),
    Column("at", UtcDateTime, nullable=False, doc="when it happened"),
    Column(
        "actor",
        Text,
        nullable=False,
        doc="who did it: `cli` and the user, `web` and the name of the person or token, or `worker` and its machine",
    ),
    Column("action", Text, nullable=False, doc="what was done, like `job-create`"),
    Column(
        "subject", Text, doc="to what: the number of a job, or the name of a schedule, model, token or user"
    ),
    Column("details", JSON, nullable=False, doc="more about it, without secrets"),
    Index(None, "at"),
    Index(None, "action", "id"),
    info={
        "doc": "Who did what, for 400 days and at most a million entries. `tagger audit` lists it. It is not exported."
    },
)

effective_tags = Table(
    "effective_tags",
    views,
    Column("content_id", _Id, _ref(contents.c.id), nullable=False, doc="the image"),
    Column("landmark_id", _Id, _ref(landmarks.c.id), nullable=False, doc="the landmark"),
    Column("rank", Integer, doc="rank of the tag; null: not among the best predictions of the model"),
    Column("score", Float, doc="score of the tag; null: only confirmed"),
    Column(
        "model_id",
        _Id,
        _ref(models.c.id),
        doc="the model of the tag or of the embedding; null like the score",
    ),
    Column(
        "source",
        Text,
        nullable=False,
        doc="where the tag comes from: `model`, `taught` (a landmark that people taught) or `verdict` (only confirmed)",
    ),
    Column("verdict", Text, doc="`confirmed` or `rejected`; null: no verdict"),
    Column(
        "accepted",
        Boolean,
        nullable=False,
        doc="true if confirmed, false if rejected or if the image was put away as not a landmark, else whether the score, or score and "
        "position, reach the threshold",
    ),
    Column("position_odds", Float, doc=_POSITION_ODDS),
    Column("distance_m", Float, doc=_DISTANCE),
    info={
        "doc": "A landmark of an image. This view joins tags and taught tags with verdicts and dismissals: a rejected tag is never accepted, a confirmed one always."
    },
)
