"""Photos of one position are read in order, page by page."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        op.f("ix_positions_latitude_longitude_photo_id"), "positions", ["latitude", "longitude", "photo_id"]
    )
    op.drop_index("ix_positions_latitude_longitude", "positions")


def downgrade() -> None:
    op.create_index(op.f("ix_positions_latitude_longitude"), "positions", ["latitude", "longitude"])
    op.drop_index("ix_positions_latitude_longitude_photo_id", "positions")
