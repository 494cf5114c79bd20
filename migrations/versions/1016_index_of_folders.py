"""An index of photos by folder on SQLite, from which folders are counted. PostgreSQL reads the table faster."""

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import create_index_concurrently

revision = "1016"
down_revision = "1014"
branch_labels = None
depends_on = None

_FOLDER = "rtrim(path, replace(path, '/', ''))"
_IS_COUNTED = "gone_since IS NULL AND primary_id IS NULL AND length(path_bytes) = 0"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        create_index_concurrently("ix_photos_folder", "photos", ["root_id", sa.text(_FOLDER)], _IS_COUNTED)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index("ix_photos_folder", "photos")
