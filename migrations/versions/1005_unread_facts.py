"""An index finds the photos whose facts cannot be read."""

from alembic import op

from migrations.concurrent_indexes import create_index_concurrently

revision = "1005"
down_revision = "1004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index_concurrently("ix_photos_unread_facts", "photos", ["id"], "unread_facts IS NOT NULL")


def downgrade() -> None:
    op.drop_index("ix_photos_unread_facts", "photos")
