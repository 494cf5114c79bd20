"""Changes of trips by people."""

import sqlalchemy as sa
from alembic import op

revision = "1007"
down_revision = "1006"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_KIND = "kind IN ('rename', 'split', 'merge')"


def upgrade() -> None:
    op.create_table(
        "trip_edits",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("kind", sa.Text, sa.CheckConstraint(_KIND, name="kind"), nullable=False),
        sa.Column("camera_id", _ID, sa.ForeignKey("cameras.id"), nullable=False),
        sa.Column("taken_at", sa.DateTime, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("split_at", sa.DateTime),
        sa.Column("other_camera_id", _ID, sa.ForeignKey("cameras.id")),
        sa.Column("other_taken_at", sa.DateTime),
    )


def downgrade() -> None:
    op.drop_table("trip_edits")
