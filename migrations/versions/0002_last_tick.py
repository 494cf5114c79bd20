"""The time of beat's last tick, so that commands can tell whether schedules run."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ledgers", sa.Column("last_tick_at", sa.Float()))


def downgrade() -> None:
    op.drop_column("ledgers", "last_tick_at")
