"""Backfills and schedules: what no model has looked at, and what scores high, is found at once; what runs when is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)

UNTAGGED = sa.text(
    "gone_since IS NULL AND failure_kind IS NULL AND (content_id IS NULL OR looked_mtime_ns IS NULL "
    "OR looked_mtime_ns != mtime_ns OR looked_size_bytes != size_bytes)"
)


def upgrade() -> None:
    op.create_index("ix_photos_untagged", "photos", ["id"], postgresql_where=UNTAGGED, sqlite_where=UNTAGGED)
    accepted = sa.column("accepted", sa.Boolean()) == sa.true()
    op.create_index(
        "ix_tags_accepted_score",
        "tags",
        ["score", "content_id"],
        postgresql_where=accepted,
        sqlite_where=accepted,
    )
    op.create_table(
        "schedules",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False, comment="the time zone that cron is meant in"),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False, comment="which photos, and folders to scan first"),
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
        sa.Column("job_id", ID, nullable=True, comment="null: it was not started"),
        sa.Column("note", sa.Text(), nullable=True, comment="why it was not started, or could not be"),
        sa.ForeignKeyConstraint(
            ["schedule_id"],
            ["schedules.id"],
            name=op.f("fk_schedule_runs_schedule_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_schedule_runs_job_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("schedule_id", "due_at", name=op.f("pk_schedule_runs")),
        comment="One row per run: of two that find the same run due, one makes it.",
    )


def downgrade() -> None:
    op.drop_table("schedule_runs")
    op.drop_table("schedules")
    op.drop_index("ix_tags_accepted_score", table_name="tags")
    op.drop_index("ix_photos_untagged", table_name="photos")
