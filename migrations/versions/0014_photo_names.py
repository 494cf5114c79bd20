"""Photos are found by the start of their file's name."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    name = "lower(substr(path, length(rtrim(path, replace(path, '/', ''))) + 1))"
    op.create_index("ix_photos_name", "photos", [sa.text(name)])


def downgrade() -> None:
    op.drop_index("ix_photos_name", "photos")
