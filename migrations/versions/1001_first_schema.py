"""The first schema: landmarks and photos, tags and verdicts, positions, jobs, schedules, access to the page."""

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from migrations import first_counts, first_views

# Versions before 1.0 used 0001 to 0033.
revision = "1001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PATH = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)
UNTAGGED = (
    "gone_since IS NULL AND primary_id IS NULL AND failure_kind IS NULL AND (content_id IS NULL OR classified_mtime_ns IS NULL "
    "OR classified_mtime_ns != mtime_ns OR classified_size_bytes != size_bytes)"
)


def upgrade() -> None:
    _create_landmarks()
    _create_photos()
    _create_tags()
    _create_positions()
    _create_counts()
    _create_jobs()
    _create_schedules()
    _create_access()
    first_views.create()
    first_counts.create_triggers()
    _insert_ledger()


def downgrade() -> None:
    first_counts.drop_triggers()
    first_views.drop()
    for table in (
        "share_photos",
        "shares",
        "audit_log",
        "sign_in_attempts",
        "page_sessions",
        "users",
        "access_tokens",
        "access_names",
        "webhook_messages",
        "schedule_runs",
        "schedules",
        "metadata_writes",
        "workers",
        "chunks",
        "job_items",
        "jobs",
        "ledgers",
        "month_totals",
        "month_block_counts",
        "landmark_totals",
        "landmark_block_counts",
        "changed_blocks",
        "track_parts",
        "tracks",
        "position_changes",
        "positions",
        "dismissals",
        "verdicts",
        "taught_tags",
        "classifiers",
        "packs",
        "embeddings",
        "tags",
        "photos",
        "contents",
        "cameras",
        "roots",
        "backend_selections",
        "model_labels",
        "models",
        "landmarks",
    ):
        op.drop_table(table)


def _create_landmarks() -> None:
    op.create_table(
        "landmarks",
        sa.Column("id", ID, primary_key=True),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("aliases", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("country", sa.Text()),
        sa.Column("region", sa.Text()),
        sa.Column("city", sa.Text()),
        sa.Column("latitude", sa.Float()),
        sa.Column("longitude", sa.Float()),
        sa.Column("extent", sa.Text()),
        sa.Column("edited", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("merged_slugs", sa.JSON(), nullable=False, server_default="[]"),
        sa.UniqueConstraint("slug"),
    )
    op.create_index("ix_landmarks_country", "landmarks", ["country"])
    op.create_table(
        "models",
        sa.Column("id", ID, primary_key=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("file", sa.Text()),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("registered_at", TIME, nullable=False),
        sa.Column("in_use", sa.Boolean(), nullable=False),
        sa.Column("taught_version", sa.Integer(), nullable=False, server_default="0"),
        sa.UniqueConstraint("digest"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "model_labels",
        sa.Column("model_id", ID, sa.ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("landmark_id", ID, sa.ForeignKey("landmarks.id"), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "position"),
        sa.UniqueConstraint("model_id", "landmark_id"),
    )
    op.create_table(
        "backend_selections",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("model_digest", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("hardware", sa.Text(), nullable=False),
        sa.Column("engines", sa.JSON(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("batch_size", sa.Integer(), nullable=False),
        sa.Column("selected_at", TIME, nullable=False),
        sa.Column("selected_by", sa.Text(), nullable=False),
    )


def _create_photos() -> None:
    op.create_table(
        "roots",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("location", PATH, nullable=False),
        sa.Column("location_bytes", sa.LargeBinary(), nullable=False),
        sa.Column("endpoint", sa.Text()),
        sa.UniqueConstraint("location", "location_bytes"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "cameras",
        sa.Column("id", ID, primary_key=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("clock_offset_s", sa.Integer()),
        sa.Column(
            "clock_source",
            sa.Text(),
            sa.CheckConstraint("clock_source IN ('given', 'estimated')", name="clock_source"),
        ),
        sa.Column("companions_id", ID, sa.ForeignKey("cameras.id")),
        sa.UniqueConstraint("key"),
    )
    op.create_table(
        "contents",
        sa.Column("id", ID, primary_key=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("model_id", ID, sa.ForeignKey("models.id")),
        sa.Column("top_k", sa.Integer()),
        sa.Column("threshold", sa.Float()),
        sa.Column("damaged", sa.Boolean(), nullable=False, server_default="0"),
        sa.Column("outcome", sa.Text()),
        sa.Column("classified_at", TIME),
        sa.UniqueConstraint("digest"),
    )
    op.create_index("ix_contents_model_id", "contents", ["model_id"])
    op.create_index("ix_contents_outcome_id", "contents", ["outcome", "id"])
    op.create_table(
        "photos",
        sa.Column("id", ID, primary_key=True),
        sa.Column("root_id", ID, sa.ForeignKey("roots.id"), nullable=False),
        sa.Column("path", PATH, nullable=False),
        sa.Column("path_bytes", sa.LargeBinary(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("taken_at", sa.DateTime()),
        sa.Column("latitude", sa.Float()),
        sa.Column("longitude", sa.Float()),
        sa.Column("gps_error_m", sa.Float()),
        sa.Column("utc_offset_s", sa.Integer()),
        sa.Column("origin", sa.Text()),
        sa.Column("camera_id", ID, sa.ForeignKey("cameras.id")),
        sa.Column("gone_since", TIME),
        sa.Column("primary_id", ID, sa.ForeignKey("photos.id")),
        sa.Column("content_id", ID, sa.ForeignKey("contents.id")),
        sa.Column("classified_size_bytes", sa.BigInteger()),
        sa.Column("classified_mtime_ns", sa.BigInteger()),
        sa.Column("failure_kind", sa.Text()),
        sa.Column("failure_text", sa.Text()),
        sa.Column("failure_job_id", ID),
        sa.Column("failure_attempts", sa.Integer()),
        sa.UniqueConstraint("root_id", "path", "path_bytes"),
    )
    op.create_index("ix_photos_camera_id_taken_at", "photos", ["camera_id", "taken_at"])
    op.create_index(
        "ix_photos_content_id_gone_since_taken_at_id",
        "photos",
        ["content_id", "gone_since", "taken_at", "id"],
    )
    _create_partial_index("ix_photos_failing", "photos", ["id"], "failure_kind IS NOT NULL")
    _create_partial_index(
        "ix_photos_failing_taken_at", "photos", ["taken_at", "id"], "failure_kind IS NOT NULL"
    )
    op.create_index(
        "ix_photos_name",
        "photos",
        [sa.text("lower(substr(path, length(rtrim(path, replace(path, '/', ''))) + 1))")],
    )
    _create_partial_index("ix_photos_primary_id", "photos", ["primary_id"], "primary_id IS NOT NULL")
    op.create_index("ix_photos_taken_at", "photos", ["taken_at"])
    _create_partial_index("ix_photos_untagged", "photos", ["id"], UNTAGGED)
    _create_partial_index("ix_photos_untagged_taken_at", "photos", ["taken_at", "id"], UNTAGGED)


def _create_tags() -> None:
    op.create_table(
        "tags",
        sa.Column("content_id", ID, sa.ForeignKey("contents.id", ondelete="CASCADE"), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("landmark_id", ID, sa.ForeignKey("landmarks.id"), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("model_id", ID, sa.ForeignKey("models.id"), nullable=False),
        sa.Column(
            "doubtful",
            sa.Text(),
            sa.CheckConstraint("doubtful IN ('position', 'speed', 'damaged')", name="doubtful"),
        ),
        sa.Column("position_odds", sa.Float()),
        sa.Column("distance_m", sa.Float()),
        sa.PrimaryKeyConstraint("content_id", "rank"),
        sqlite_with_rowid=False,
    )
    _create_partial_index(
        "ix_tags_accepted_score_landmark", "tags", ["score", "content_id", "landmark_id"], "accepted = true"
    )
    _create_partial_index(
        "ix_tags_candidate_score", "tags", ["score", "content_id"], "rank = 1 AND accepted = false"
    )
    op.create_index(
        "ix_tags_landmark_id_content_id_accepted", "tags", ["landmark_id", "content_id", "accepted"]
    )
    _create_partial_index("ix_tags_position_odds", "tags", ["content_id"], "position_odds IS NOT NULL")
    op.create_table(
        "embeddings",
        sa.Column(
            "content_id",
            ID,
            sa.ForeignKey("contents.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("model_id", ID, sa.ForeignKey("models.id"), nullable=False),
        sa.Column("taught_version", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    op.create_index("ix_embeddings_model_id_taught_version", "embeddings", ["model_id", "taught_version"])
    op.create_table(
        "packs",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("model_id", ID, sa.ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("added_landmarks", sa.JSON(), nullable=False),
        sa.Column("added_at", TIME, nullable=False),
    )
    op.create_table(
        "classifiers",
        sa.Column("landmark_id", ID, sa.ForeignKey("landmarks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("model_id", ID, sa.ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
        sa.Column("pack", sa.Text(), nullable=False, server_default=""),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("examples", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("applied", sa.Boolean(), nullable=False),
        sa.Column("learned_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("landmark_id", "model_id", "pack"),
    )
    op.create_index("ix_classifiers_model_id", "classifiers", ["model_id"])
    op.create_table(
        "taught_tags",
        sa.Column("content_id", ID, sa.ForeignKey("contents.id", ondelete="CASCADE"), nullable=False),
        sa.Column("landmark_id", ID, sa.ForeignKey("landmarks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("model_id", ID, sa.ForeignKey("models.id"), nullable=False),
        sa.Column("pack", sa.Text(), nullable=False, server_default=""),
        sa.Column(
            "doubtful",
            sa.Text(),
            sa.CheckConstraint("doubtful IN ('position', 'speed', 'damaged')", name="doubtful"),
        ),
        sa.Column("position_odds", sa.Float()),
        sa.Column("distance_m", sa.Float()),
        sa.PrimaryKeyConstraint("content_id", "landmark_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_taught_tags_landmark_id_content_id_accepted",
        "taught_tags",
        ["landmark_id", "content_id", "accepted"],
    )
    _create_partial_index(
        "ix_taught_tags_position_odds", "taught_tags", ["content_id"], "position_odds IS NOT NULL"
    )
    op.create_table(
        "verdicts",
        sa.Column("content_id", ID, sa.ForeignKey("contents.id"), nullable=False),
        sa.Column("landmark_id", ID, sa.ForeignKey("landmarks.id"), nullable=False),
        sa.Column(
            "verdict",
            sa.Text(),
            sa.CheckConstraint("verdict IN ('confirmed', 'rejected')", name="verdict"),
            nullable=False,
        ),
        sa.Column("given_by", sa.Text()),
        sa.Column("given_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("content_id", "landmark_id"),
    )
    op.create_index("ix_verdicts_landmark_id_content_id", "verdicts", ["landmark_id", "content_id"])
    op.create_table(
        "dismissals",
        sa.Column("content_id", ID, sa.ForeignKey("contents.id"), primary_key=True, autoincrement=False),
        sa.Column("given_by", sa.Text()),
        sa.Column("given_at", TIME, nullable=False),
    )


def _create_positions() -> None:
    op.create_table(
        "positions",
        sa.Column(
            "photo_id",
            ID,
            sa.ForeignKey("photos.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("latitude", sa.Float(), nullable=False),
        sa.Column("longitude", sa.Float(), nullable=False),
        sa.Column("error_m", sa.Float(), nullable=False),
        sa.Column(
            "source",
            sa.Text(),
            sa.CheckConstraint("source IN ('camera', 'landmark', 'track', 'neighbour')", name="source"),
            nullable=False,
        ),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("country", sa.Text()),
        sa.Column("region", sa.Text()),
        sa.Column("city", sa.Text()),
    )
    op.create_index(
        "ix_positions_country_latitude_longitude_photo_id",
        "positions",
        ["country", "latitude", "longitude", "photo_id"],
    )
    op.create_index(
        "ix_positions_latitude_longitude_photo_id", "positions", ["latitude", "longitude", "photo_id"]
    )
    op.create_index("ix_positions_source_photo_id", "positions", ["source", "photo_id"])
    op.create_table(
        "position_changes",
        sa.Column("id", ID, primary_key=True),
        sa.Column("photo_id", ID),
        sa.Column("camera_id", ID),
        sa.Column("taken_at", sa.DateTime()),
        sa.Column("content_id", ID),
    )
    op.create_table(
        "tracks",
        sa.Column("id", ID, primary_key=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("added_at", TIME, nullable=False),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "track_parts",
        sa.Column("track_id", ID, sa.ForeignKey("tracks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("first_at", TIME, nullable=False),
        sa.Column("last_at", TIME, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("track_id", "part"),
    )
    op.create_index("ix_track_parts_last_at_first_at", "track_parts", ["last_at", "first_at"])


def _create_counts() -> None:
    op.create_table(
        "changed_blocks",
        sa.Column("id", ID, primary_key=True),
        sa.Column("block", ID, nullable=False),
    )
    op.create_index("ix_changed_blocks_block", "changed_blocks", ["block"])
    op.create_table(
        "landmark_block_counts",
        sa.Column("block", ID, nullable=False),
        sa.Column("landmark_id", ID, nullable=False),
        sa.Column("photos", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("block", "landmark_id"),
    )
    op.create_table(
        "landmark_totals",
        sa.Column("landmark_id", ID, primary_key=True, autoincrement=False),
        sa.Column("photos", sa.Integer(), nullable=False),
    )
    op.create_table(
        "month_block_counts",
        sa.Column("block", ID, nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("classified", sa.Integer(), nullable=False),
        sa.Column("classified_aspects", sa.BigInteger(), nullable=False),
        sa.Column("tagged", sa.Integer(), nullable=False),
        sa.Column("tagged_aspects", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("block", "month"),
    )
    op.create_table(
        "month_totals",
        sa.Column("month", sa.Text(), primary_key=True),
        sa.Column("classified", sa.Integer(), nullable=False),
        sa.Column("classified_aspects", sa.BigInteger(), nullable=False),
        sa.Column("tagged", sa.Integer(), nullable=False),
        sa.Column("tagged_aspects", sa.BigInteger(), nullable=False),
    )


def _create_jobs() -> None:
    job = sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE")
    op.create_table(
        "ledgers",
        sa.Column("id", sa.Integer(), sa.CheckConstraint("id = 1", name="only_one"), primary_key=True),
        sa.Column("ledger_id", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_tick_at", sa.Float()),
        sa.Column("max_gap_s", sa.Integer(), nullable=False, server_default="7200"),
        sa.Column("position_odds", sa.Boolean(), nullable=False, server_default="1"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", ID, primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("model_id", ID, sa.ForeignKey("models.id"), nullable=False),
        sa.Column("top_k", sa.Integer(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("reprocess", sa.Boolean(), nullable=False),
        sa.Column(
            "runner",
            sa.Text(),
            sa.CheckConstraint("runner IN ('workers', 'local')", name="runner"),
            nullable=False,
        ),
        sa.Column(
            "priority",
            sa.Text(),
            sa.CheckConstraint("priority IN ('interactive', 'bulk')", name="priority"),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Text(),
            sa.CheckConstraint(
                "state IN ('scanning', 'queued', 'running', 'waiting', 'paused', 'cancelled', 'finished')",
                name="state",
            ),
            nullable=False,
        ),
        sa.Column("note", sa.Text()),
        sa.Column("parent_id", ID, sa.ForeignKey("jobs.id")),
        sa.Column("total", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.Column("items_removed", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("other_files", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("author", sa.Text()),
        sa.Column("owner", sa.Text()),
        sa.Column("owner_lease_until", sa.Float()),
    )
    op.create_index("ix_jobs_parent_id", "jobs", ["parent_id"])
    op.create_index("ix_jobs_state", "jobs", ["state"])
    op.create_table(
        "job_items",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("photo_id", ID, sa.ForeignKey("photos.id", ondelete="SET NULL")),
        sa.Column(
            "outcome",
            sa.Text(),
            sa.CheckConstraint(
                "outcome IN ('tagged', 'unknown', 'written', 'unchanged', 'refused', 'skipped', 'failed', 'cancelled')",
                name="outcome",
            ),
        ),
        sa.Column("reason", sa.Text()),
        sa.Column("error_text", sa.Text()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("job_id", "position"),
        # PostgreSQL would look up the job of each photo that a job gets, a third of the time in which they are recorded.
        *([job] if first_counts.is_sqlite() else []),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_job_items_photo_id", "job_items", ["photo_id"])
    op.create_table(
        "chunks",
        sa.Column("job_id", ID, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("token", sa.Text()),
        sa.Column("claimed_at", sa.Float()),
        sa.Column("lease_until", sa.Float()),
        sa.Column("worker", sa.Text()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("done", sa.Boolean(), nullable=False, server_default="0"),
        sa.Column("tagged", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("unknown", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("written", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("unchanged", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("refused", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("skipped", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("failed", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("cancelled", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("job_id", "chunk"),
    )
    _create_partial_index("ix_chunks_open", "chunks", ["job_id", "chunk"], "done IS false")
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("heartbeat_at", sa.Float(), nullable=False),
        sa.Column("waits_for", sa.Text()),
        sa.Column("photos_per_second", sa.Float()),
    )
    op.create_table(
        "metadata_writes",
        sa.Column("id", ID, primary_key=True),
        sa.Column("photo_id", ID, sa.ForeignKey("photos.id", ondelete="SET NULL")),
        sa.Column("job_id", ID, sa.ForeignKey("jobs.id", ondelete="SET NULL")),
        sa.Column("image_digest", sa.Text(), nullable=False),
        sa.Column(
            "target",
            sa.Text(),
            sa.CheckConstraint("target IN ('sidecar', 'embed')", name="target"),
            nullable=False,
        ),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("written_digest", sa.Text(), nullable=False),
        sa.Column("base_digest", sa.Text()),
        sa.Column("undo", sa.LargeBinary()),
        sa.Column("landmarks", sa.JSON(), nullable=False),
        sa.Column("written_at", TIME, nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_metadata_writes_image_digest", "metadata_writes", ["image_digest"])
    op.create_index("ix_metadata_writes_job_id", "metadata_writes", ["job_id"])
    op.create_index("ix_metadata_writes_photo_id", "metadata_writes", ["photo_id"])
    op.create_index("ix_metadata_writes_written_digest", "metadata_writes", ["written_digest"])


def _create_schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("selection", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column(
            "priority",
            sa.Text(),
            sa.CheckConstraint("priority IN ('interactive', 'bulk')", name="priority"),
            nullable=False,
        ),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("next_due", TIME, nullable=False),
        sa.Column("until", sa.Text()),
        sa.UniqueConstraint("name"),
    )
    op.create_index("ix_schedules_next_due", "schedules", ["next_due"])
    op.create_table(
        "schedule_runs",
        sa.Column("schedule_id", ID, sa.ForeignKey("schedules.id", ondelete="CASCADE"), nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("job_id", ID, sa.ForeignKey("jobs.id", ondelete="SET NULL")),
        sa.Column("note", sa.Text()),
        sa.Column("paused_at", TIME),
        sa.PrimaryKeyConstraint("schedule_id", "due_at"),
    )
    op.create_table(
        "webhook_messages",
        sa.Column("id", ID, primary_key=True),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("next_attempt_at", sa.Float()),
        sa.Column("delivered_at", TIME),
        sa.Column("problem", sa.Text()),
        sa.Column("receiver", sa.Text(), nullable=False, server_default="default"),
        sa.UniqueConstraint("message_id"),
        sa.UniqueConstraint("receiver", "subject"),
    )
    op.create_index("ix_webhook_messages_created_at", "webhook_messages", ["created_at"])
    _create_partial_index(
        "ix_webhook_messages_pending",
        "webhook_messages",
        ["receiver", "next_attempt_at"],
        "next_attempt_at IS NOT NULL",
    )
    _create_partial_index(
        "ix_webhook_messages_undelivered", "webhook_messages", ["receiver", "id"], "delivered_at IS NULL"
    )


def _create_access() -> None:
    op.create_table(
        "access_names",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("given", sa.Integer(), nullable=False),
    )
    op.create_table(
        "access_tokens",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_number", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("read_only", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.UniqueConstraint("digest"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "users",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_number", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text()),
        sa.Column("issuer", sa.Text()),
        sa.Column("subject", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_used_at", TIME),
        sa.CheckConstraint("role IN ('viewer', 'editor', 'admin')", name="role"),
        sa.UniqueConstraint("name"),
    )
    op.create_index("ix_users_issuer_subject", "users", ["issuer", "subject"], unique=True)
    op.create_table(
        "page_sessions",
        sa.Column("id", ID, primary_key=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("token_id", ID, sa.ForeignKey("access_tokens.id", ondelete="CASCADE")),
        sa.Column("user_id", ID, sa.ForeignKey("users.id", ondelete="CASCADE")),
        sa.Column("network", sa.Text()),
        sa.Column("browser", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_used_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("id_token", sa.Text()),
        sa.UniqueConstraint("digest"),
    )
    op.create_index("ix_page_sessions_token_id", "page_sessions", ["token_id"])
    op.create_index("ix_page_sessions_user_id", "page_sessions", ["user_id"])
    op.create_table(
        "sign_in_attempts",
        sa.Column("id", ID, primary_key=True),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
    )
    op.create_index("ix_sign_in_attempts_account_at", "sign_in_attempts", ["account", "at"])
    op.create_index("ix_sign_in_attempts_at", "sign_in_attempts", ["at"])
    op.create_index("ix_sign_in_attempts_network_at", "sign_in_attempts", ["network", "at"])
    op.create_table(
        "audit_log",
        sa.Column("id", ID, primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("details", sa.JSON(), nullable=False),
    )
    op.create_index("ix_audit_log_action_id", "audit_log", ["action", "id"])
    op.create_index("ix_audit_log_at", "audit_log", ["at"])
    op.create_table(
        "shares",
        sa.Column("id", ID, primary_key=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON()),
        sa.Column("with_positions", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.Column("author", sa.Text()),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "share_photos",
        sa.Column("share_id", ID, sa.ForeignKey("shares.id", ondelete="CASCADE"), nullable=False),
        sa.Column("photo_id", ID, sa.ForeignKey("photos.id", ondelete="CASCADE"), nullable=False),
        sa.PrimaryKeyConstraint("share_id", "photo_id"),
    )
    op.create_index("ix_share_photos_photo_id", "share_photos", ["photo_id"])


def _create_partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    # SQLite uses a partial index for queries with the same condition, and theirs have 0.
    sqlite = sa.text(where.replace("false", "0"))
    op.create_index(name, table, columns, postgresql_where=sa.text(where), sqlite_where=sqlite)


def _insert_ledger() -> None:
    ledgers = sa.table(
        "ledgers", sa.column("id", sa.Integer), sa.column("ledger_id", sa.Text), sa.column("created_at", TIME)
    )
    op.execute(ledgers.insert().values(id=1, ledger_id=str(uuid.uuid4()), created_at=datetime.now(UTC)))
