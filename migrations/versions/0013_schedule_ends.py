"""Runs of schedules that end at a time of day."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("schedules", sa.Column("until", sa.Text(), nullable=True))
    op.add_column("schedule_runs", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("schedule_runs", "paused_at")
    op.drop_column("schedules", "until")
