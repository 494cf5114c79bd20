"""Counts: how many photos show a landmark is read from indexes alone."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index(op.f("ix_photos_content_id"), "photos")
    op.create_index(op.f("ix_photos_content_id_gone_since"), "photos", ["content_id", "gone_since"])


def downgrade() -> None:
    op.drop_index(op.f("ix_photos_content_id_gone_since"), "photos")
    op.create_index(op.f("ix_photos_content_id"), "photos", ["content_id"])
