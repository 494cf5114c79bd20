"""RAW files that are one photo with their JPEG."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

WAS_UNTAGGED = (
    "gone_since IS NULL AND failure_kind IS NULL AND (content_id IS NULL OR classified_mtime_ns IS NULL "
    "OR classified_mtime_ns != mtime_ns OR classified_size_bytes != size_bytes)"
)
IS_UNTAGGED = WAS_UNTAGGED.replace("gone_since IS NULL", "gone_since IS NULL AND primary_id IS NULL")


def upgrade() -> None:
    # Alembic adds no column with a foreign key on SQLite, which can.
    number = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(
        f"ALTER TABLE photos ADD COLUMN primary_id {number} CONSTRAINT fk_photos_primary_id"
        " REFERENCES photos (id)"
    )
    _index("ix_photos_primary_id", "primary_id", "primary_id IS NOT NULL")
    op.drop_index("ix_photos_untagged", "photos")
    _index("ix_photos_untagged", "id", IS_UNTAGGED)


def downgrade() -> None:
    # Each file is a photo of its own again, which a backfill classifies.
    op.drop_index("ix_photos_untagged", "photos")
    op.drop_index("ix_photos_primary_id", "photos")
    op.drop_column("photos", "primary_id")
    _index("ix_photos_untagged", "id", WAS_UNTAGGED)


def _index(name: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "photos", [column], postgresql_where=where, sqlite_where=where)
