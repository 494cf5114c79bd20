"""Which cameras are used together."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Alembic adds no column with a foreign key on SQLite, which can.
    number = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(
        f"ALTER TABLE cameras ADD COLUMN companions_id {number}"
        " CONSTRAINT fk_cameras_companions_id REFERENCES cameras (id)"
    )


def downgrade() -> None:
    # Estimates that follow from photos of other cameras are made anew.
    together = sa.table("cameras", sa.column("id"), sa.column("companions_id"))
    photos = sa.table("photos", sa.column("id"), sa.column("camera_id"), sa.column("taken_at"))
    changes = sa.table(
        "position_changes", sa.column("photo_id"), sa.column("camera_id"), sa.column("taken_at")
    )
    found = sa.select(photos.c.id, photos.c.camera_id, photos.c.taken_at).where(
        photos.c.camera_id.in_(sa.select(together.c.id).where(together.c.companions_id.is_not(None)))
    )
    op.execute(sa.insert(changes).from_select(["photo_id", "camera_id", "taken_at"], found))
    op.drop_column("cameras", "companions_id")
