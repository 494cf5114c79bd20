"""No packs: what was learned by others goes, with the tags that follow from it alone. Verdicts and landmarks stay."""

import logging

import sqlalchemy as sa
from alembic import op

revision = "1008"
down_revision = "1007"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_COMPARE_AGAIN = (
    "UPDATE classifiers SET applied = false,"
    " version = (SELECT m.taught_version + 1 FROM models AS m WHERE m.id = classifiers.model_id)"
    " WHERE pack = '' AND EXISTS (SELECT 1 FROM classifiers AS o WHERE o.pack <> ''"
    " AND o.model_id = classifiers.model_id AND o.landmark_id = classifiers.landmark_id)"
)
"""A taught tag of a pack may have been stored in place of one that was taught here."""

log = logging.getLogger(__name__)


def upgrade() -> None:
    names = op.get_bind().scalars(sa.text("SELECT name FROM packs ORDER BY name")).all()
    if names:
        _remove(", ".join(names))
    op.drop_table("packs")
    op.drop_column("taught_tags", "pack")
    op.drop_column("effective_tags", "pack")
    with op.batch_alter_table("classifiers") as table:
        table.drop_constraint("pk_classifiers", type_="primary")
        table.drop_column("pack")
        table.create_primary_key("pk_classifiers", ["landmark_id", "model_id"])


def _remove(names: str) -> None:
    lost = "SELECT count(*) FROM effective_tags WHERE pack IS NOT NULL AND state = 'accepted'"
    tags = op.get_bind().scalar(sa.text(lost))
    op.execute(sa.text(_COMPARE_AGAIN))
    op.execute("UPDATE models SET taught_version = taught_version + 1")
    op.execute("DELETE FROM taught_tags WHERE pack <> ''")
    op.execute("DELETE FROM classifiers WHERE pack <> ''")
    op.execute("UPDATE ledgers SET settled_to = 0")
    log.warning(
        "removed: the packs %s, and the tags that images had from them alone (%d). Tags that people confirmed stay, and so do the"
        " landmarks: to find more photos of one, run `tagger teach LANDMARK PHOTO...`",
        names,
        tags,
    )


def downgrade() -> None:
    """The columns and the table are there again, and empty."""
    with op.batch_alter_table("classifiers") as table:
        table.add_column(_pack())
        table.drop_constraint("pk_classifiers", type_="primary")
        table.create_primary_key("pk_classifiers", ["landmark_id", "model_id", "pack"])
    op.add_column("effective_tags", sa.Column("pack", sa.Text))
    op.add_column("taught_tags", _pack())
    op.create_table(
        "packs",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("model_id", _ID, sa.ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
        sa.Column("manifest", sa.JSON, nullable=False),
        sa.Column("added_landmarks", sa.JSON, nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
    )


def _pack() -> sa.Column[str]:
    return sa.Column("pack", sa.Text, nullable=False, server_default="")
