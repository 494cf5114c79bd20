"""The schema of 2.1: when each model has classified an image. Nothing is removed."""

import sqlalchemy as sa
from alembic import op

revision = "1015"
down_revision = "1014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("classifications", sa.Column("classified_at", sa.DateTime(timezone=True)))
