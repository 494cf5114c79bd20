"""Links with which anybody can see some photos."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "shares",
        sa.Column("id", ID, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON()),
        sa.Column("with_positions", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shares")),
        sa.UniqueConstraint("digest", name=op.f("uq_shares_digest")),
    )
    op.create_table(
        "share_photos",
        sa.Column("share_id", ID, nullable=False),
        sa.Column("photo_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["share_id"], ["shares.id"], name=op.f("fk_share_photos_share_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photos.id"], name=op.f("fk_share_photos_photo_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("share_id", "photo_id", name=op.f("pk_share_photos")),
    )
    op.create_index(op.f("ix_share_photos_photo_id"), "share_photos", ["photo_id"])


def downgrade() -> None:
    for table in ("share_photos", "shares"):
        op.drop_table(table)
