"""The first schema: photos and their tags, jobs and their progress, metadata writes, schedules."""

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PATH = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)

IS_OPEN = sa.column("done", sa.Boolean()).is_(False)
IS_ACCEPTED = sa.column("accepted", sa.Boolean()) == sa.true()
IS_UNTAGGED = sa.text(
    "gone_since IS NULL AND failure_kind IS NULL AND (content_id IS NULL OR classified_mtime_ns IS NULL "
    "OR classified_mtime_ns != mtime_ns OR classified_size_bytes != size_bytes)"
)

EFFECTIVE_TAGS = """\
SELECT t.content_id, t.landmark_id, t.rank, t.score, t.model_id, v.verdict,
       CASE v.verdict WHEN 'confirmed' THEN {true} WHEN 'rejected' THEN {false} ELSE t.accepted END AS accepted
FROM tags AS t
LEFT JOIN verdicts AS v ON v.content_id = t.content_id AND v.landmark_id = t.landmark_id
UNION ALL
SELECT v.content_id, v.landmark_id, NULL, NULL, NULL, v.verdict, {true}
FROM verdicts AS v
WHERE v.verdict = 'confirmed' AND NOT EXISTS (
    SELECT 1 FROM tags AS t WHERE t.content_id = v.content_id AND t.landmark_id = v.landmark_id)"""
"""Tags joined with verdicts: a rejected tag is never accepted, a confirmed one always."""


def upgrade() -> None:
    _create_catalog()
    _create_photos()
    _create_jobs()
    _create_schedules()
    _create_view()
    _insert_ledger()


def downgrade() -> None:
    op.execute("DROP VIEW effective_tags")
    for table in (
        "schedule_runs",
        "schedules",
        "metadata_writes",
        "workers",
        "chunks",
        "job_items",
        "jobs",
        "ledgers",
        "verdicts",
        "tags",
        "photos",
        "contents",
        "model_labels",
        "models",
        "landmarks",
        "roots",
    ):
        op.drop_table(table)


def _create_catalog() -> None:
    op.create_table(
        "roots",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("location", PATH, nullable=False),
        sa.Column("location_bytes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_roots")),
        sa.UniqueConstraint("location", "location_bytes", name=op.f("uq_roots_location_location_bytes")),
        sa.UniqueConstraint("name", name=op.f("uq_roots_name")),
    )
    op.create_table(
        "landmarks",
        sa.Column("id", ID, nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("city", sa.Text(), nullable=True),
        sa.Column("latitude", sa.Float(), nullable=True),
        sa.Column("longitude", sa.Float(), nullable=True),
        sa.Column("extent", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_landmarks")),
        sa.UniqueConstraint("slug", name=op.f("uq_landmarks_slug")),
    )
    op.create_table(
        "models",
        sa.Column("id", ID, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=True),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("registered_at", TIME, nullable=False),
        sa.Column("in_use", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("digest", name=op.f("uq_models_digest")),
        sa.UniqueConstraint("name", name=op.f("uq_models_name")),
    )
    op.create_table(
        "model_labels",
        sa.Column("model_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("landmark_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["landmark_id"], ["landmarks.id"], name=op.f("fk_model_labels_landmark_id")),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_labels_model_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "position", name=op.f("pk_model_labels")),
        sa.UniqueConstraint("model_id", "landmark_id", name=op.f("uq_model_labels_model_id_landmark_id")),
    )


def _create_photos() -> None:
    op.create_table(
        "contents",
        sa.Column("id", ID, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("model_id", ID, nullable=True),
        sa.Column("top_k", sa.Integer(), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("classified_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_contents_model_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contents")),
        sa.UniqueConstraint("digest", name=op.f("uq_contents_digest")),
    )
    op.create_index(op.f("ix_contents_model_id"), "contents", ["model_id"])
    op.create_index(op.f("ix_contents_outcome_id"), "contents", ["outcome", "id"])
    op.create_table(
        "photos",
        sa.Column("id", ID, nullable=False),
        sa.Column("root_id", ID, nullable=False),
        sa.Column("path", PATH, nullable=False),
        sa.Column(
            "path_bytes",
            sa.LargeBinary(),
            nullable=False,
        ),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("taken_at", sa.DateTime(), nullable=True),
        sa.Column("latitude", sa.Float(), nullable=True),
        sa.Column("longitude", sa.Float(), nullable=True),
        sa.Column("gone_since", TIME, nullable=True),
        sa.Column("content_id", ID, nullable=True),
        sa.Column(
            "classified_size_bytes",
            sa.BigInteger(),
            nullable=True,
        ),
        sa.Column(
            "classified_mtime_ns",
            sa.BigInteger(),
            nullable=True,
        ),
        sa.Column("failure_kind", sa.Text(), nullable=True),
        sa.Column("failure_text", sa.Text(), nullable=True),
        sa.Column("failure_job_id", ID, nullable=True),
        sa.Column("failure_attempts", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], name=op.f("fk_photos_content_id")),
        sa.ForeignKeyConstraint(["root_id"], ["roots.id"], name=op.f("fk_photos_root_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_photos")),
        sa.UniqueConstraint("root_id", "path", "path_bytes", name=op.f("uq_photos_root_id_path_path_bytes")),
    )
    op.create_index(op.f("ix_photos_content_id_gone_since"), "photos", ["content_id", "gone_since"])
    op.create_index(
        "ix_photos_failing",
        "photos",
        ["id"],
        postgresql_where=sa.text("failure_kind IS NOT NULL"),
        sqlite_where=sa.text("failure_kind IS NOT NULL"),
    )
    op.create_index(op.f("ix_photos_taken_at"), "photos", ["taken_at"])
    op.create_index(
        "ix_photos_untagged", "photos", ["id"], postgresql_where=IS_UNTAGGED, sqlite_where=IS_UNTAGGED
    )
    op.create_table(
        "tags",
        sa.Column("content_id", ID, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("landmark_id", ID, nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("model_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["content_id"], ["contents.id"], name=op.f("fk_tags_content_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["landmark_id"], ["landmarks.id"], name=op.f("fk_tags_landmark_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_tags_model_id")),
        sa.PrimaryKeyConstraint("content_id", "rank", name=op.f("pk_tags")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_tags_accepted_score",
        "tags",
        ["score", "content_id"],
        postgresql_where=IS_ACCEPTED,
        sqlite_where=IS_ACCEPTED,
    )
    op.create_index(
        op.f("ix_tags_landmark_id_content_id_accepted"), "tags", ["landmark_id", "content_id", "accepted"]
    )
    op.create_table(
        "verdicts",
        sa.Column("content_id", ID, nullable=False),
        sa.Column("landmark_id", ID, nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("given_by", sa.Text(), nullable=True),
        sa.Column("given_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], name=op.f("fk_verdicts_content_id")),
        sa.ForeignKeyConstraint(["landmark_id"], ["landmarks.id"], name=op.f("fk_verdicts_landmark_id")),
        sa.CheckConstraint("verdict IN ('confirmed', 'rejected')", name=op.f("ck_verdicts_verdict")),
        sa.PrimaryKeyConstraint("content_id", "landmark_id", name=op.f("pk_verdicts")),
    )
    op.create_index(op.f("ix_verdicts_landmark_id_content_id"), "verdicts", ["landmark_id", "content_id"])


def _create_jobs() -> None:
    op.create_table(
        "ledgers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ledger_id", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_ledgers_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledgers")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("model_id", ID, nullable=False),
        sa.Column("top_k", sa.Integer(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column(
            "reprocess",
            sa.Boolean(),
            nullable=False,
        ),
        sa.Column("runner", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column(
            "owner",
            sa.Text(),
            nullable=True,
        ),
        sa.Column(
            "owner_lease_until",
            sa.Float(),
            nullable=True,
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_jobs_model_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["jobs.id"], name=op.f("fk_jobs_parent_id")),
        sa.CheckConstraint("priority IN ('interactive', 'bulk')", name=op.f("ck_jobs_priority")),
        sa.CheckConstraint("runner IN ('workers', 'local')", name=op.f("ck_jobs_runner")),
        sa.CheckConstraint(
            "state IN ('scanning', 'queued', 'running', 'waiting', 'paused', 'cancelled', 'finished')",
            name=op.f("ck_jobs_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_parent_id"), "jobs", ["parent_id"])
    op.create_index(op.f("ix_jobs_state"), "jobs", ["state"])
    op.create_table(
        "job_items",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("photo_id", ID, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("error_text", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_items_job_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photos.id"], name=op.f("fk_job_items_photo_id"), ondelete="SET NULL"
        ),
        sa.CheckConstraint(
            "outcome IN ('tagged', 'unknown', 'written', 'unchanged', 'refused', 'skipped', 'failed', 'cancelled')",
            name=op.f("ck_job_items_outcome"),
        ),
        sa.PrimaryKeyConstraint("job_id", "position", name=op.f("pk_job_items")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_job_items_photo_id"), "job_items", ["photo_id"])
    op.create_table(
        "chunks",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("claimed_at", sa.Float(), nullable=True),
        sa.Column(
            "lease_until",
            sa.Float(),
            nullable=True,
        ),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sent_at", sa.Float(), nullable=True),
        sa.Column("done", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("tagged", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unknown", sa.Integer(), server_default="0", nullable=False),
        sa.Column("written", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unchanged", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refused", sa.Integer(), server_default="0", nullable=False),
        sa.Column("skipped", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cancelled", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_chunks_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "chunk", name=op.f("pk_chunks")),
    )
    op.create_index(
        "ix_chunks_open", "chunks", ["job_id", "chunk"], postgresql_where=IS_OPEN, sqlite_where=IS_OPEN
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("heartbeat_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_table(
        "metadata_writes",
        sa.Column("id", ID, nullable=False),
        sa.Column("photo_id", ID, nullable=True),
        sa.Column("job_id", ID, nullable=True),
        sa.Column(
            "image_digest",
            sa.Text(),
            nullable=False,
        ),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("written_digest", sa.Text(), nullable=False),
        sa.Column(
            "base_digest",
            sa.Text(),
            nullable=True,
        ),
        sa.Column(
            "undo",
            sa.LargeBinary(),
            nullable=True,
        ),
        sa.Column("landmarks", sa.JSON(), nullable=False),
        sa.Column("written_at", TIME, nullable=False),
        sa.Column(
            "complete",
            sa.Boolean(),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_metadata_writes_job_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photos.id"], name=op.f("fk_metadata_writes_photo_id"), ondelete="SET NULL"
        ),
        sa.CheckConstraint("target IN ('sidecar', 'embed')", name=op.f("ck_metadata_writes_target")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metadata_writes")),
    )
    op.create_index(op.f("ix_metadata_writes_image_digest"), "metadata_writes", ["image_digest"])
    op.create_index(op.f("ix_metadata_writes_job_id"), "metadata_writes", ["job_id"])
    op.create_index(op.f("ix_metadata_writes_photo_id"), "metadata_writes", ["photo_id"])
    op.create_index(op.f("ix_metadata_writes_written_digest"), "metadata_writes", ["written_digest"])


def _create_schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("selection", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("next_due", TIME, nullable=False),
        sa.CheckConstraint("priority IN ('interactive', 'bulk')", name=op.f("ck_schedules_priority")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
        sa.UniqueConstraint("name", name=op.f("uq_schedules_name")),
    )
    op.create_index(op.f("ix_schedules_next_due"), "schedules", ["next_due"])
    op.create_table(
        "schedule_runs",
        sa.Column("schedule_id", ID, nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("job_id", ID, nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_schedule_runs_job_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["schedule_id"], ["schedules.id"], name=op.f("fk_schedule_runs_schedule_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("schedule_id", "due_at", name=op.f("pk_schedule_runs")),
    )


def _create_view() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    true, false = ("1", "0") if sqlite else ("true", "false")
    op.execute("CREATE VIEW effective_tags AS " + EFFECTIVE_TAGS.format(true=true, false=false))


def _insert_ledger() -> None:
    ledgers = sa.table(
        "ledgers", sa.column("id", sa.Integer), sa.column("ledger_id", sa.Text), sa.column("created_at", TIME)
    )
    op.execute(ledgers.insert().values(id=1, ledger_id=str(uuid.uuid4()), created_at=datetime.now(UTC)))
