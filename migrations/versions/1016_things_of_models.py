"""Things by image and model, and verdicts on them in a table of their own.

What several models find of one thing no longer replaces each other, and no score is kept for a verdict.
"""

import sqlalchemy as sa
from alembic import op

revision = "1016"
down_revision = "1015"

_IDENTIFIER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # A copy without constraints: their names are those of the new table.
    op.execute("CREATE TABLE old_image_things AS SELECT * FROM image_things")
    op.drop_table("image_things")
    _create_image_things()
    _create_thing_verdicts()
    # Of a removed model only the verdicts are left.
    op.execute(
        "INSERT INTO image_things (content_id, thing, model_id, score)"
        " SELECT content_id, thing, model_id, score FROM old_image_things"
        " WHERE model_id IS NOT NULL AND score IS NOT NULL"
    )
    op.execute(
        "INSERT INTO thing_verdicts (content_id, thing, verdict, given_by, given_at)"
        " SELECT content_id, thing, verdict, given_by, given_at FROM old_image_things"
        " WHERE verdict IS NOT NULL"
    )
    op.drop_table("old_image_things")


def _create_image_things() -> None:
    op.create_table(
        "image_things",
        sa.Column("content_id", _IDENTIFIER, nullable=False),
        sa.Column("thing", sa.Text, nullable=False),
        sa.Column("model_id", _IDENTIFIER, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(
            ["content_id"],
            ["contents.id"],
            name="fk_image_things_content_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["thing"], ["things.slug"], name="fk_image_things_thing"
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name="fk_image_things_model_id"
        ),
        sa.PrimaryKeyConstraint(
            "content_id", "thing", "model_id", name="pk_image_things"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_image_things_thing_content_id", "image_things", ["thing", "content_id"]
    )
    op.create_index(
        "ix_image_things_model_id_content_id",
        "image_things",
        ["model_id", "content_id"],
    )


def _create_thing_verdicts() -> None:
    op.create_table(
        "thing_verdicts",
        sa.Column("content_id", _IDENTIFIER, nullable=False),
        sa.Column("thing", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("given_by", sa.Text),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("verdict IN ('confirmed', 'rejected')", name="verdict"),
        sa.ForeignKeyConstraint(
            ["content_id"], ["contents.id"], name="fk_thing_verdicts_content_id"
        ),
        sa.ForeignKeyConstraint(
            ["thing"], ["things.slug"], name="fk_thing_verdicts_thing"
        ),
        sa.PrimaryKeyConstraint("content_id", "thing", name="pk_thing_verdicts"),
    )
    op.create_index(
        "ix_thing_verdicts_thing_content_id", "thing_verdicts", ["thing", "content_id"]
    )
