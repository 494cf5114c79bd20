"""Photos are found by the start of their file's name."""

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import create_index_concurrently

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    name = "lower(substr(path, length(rtrim(path, replace(path, '/', ''))) + 1))"
    create_index_concurrently("ix_photos_name", "photos", [sa.text(name)])


def downgrade() -> None:
    op.drop_index("ix_photos_name", "photos")
