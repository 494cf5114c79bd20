"""Merges of landmarks are not undone any more: what the audit log keeps for that goes. The entries stay."""

import logging

import sqlalchemy as sa
from alembic import op

revision = "1011"
down_revision = "1010"
branch_labels = None
depends_on = None

_ENTRIES = sa.table(
    "audit_log",
    sa.column("id", sa.BigInteger),
    sa.column("action", sa.Text),
    sa.column("subject", sa.Text),
    sa.column("details", sa.JSON),
)
_OF_UNDO = {"undo", "verdicts_before", "continues"}

log = logging.getLogger(__name__)


def upgrade() -> None:
    connection = op.get_bind()
    merges = sa.select(_ENTRIES).where(_ENTRIES.c.action == "landmark-merge").order_by(_ENTRIES.c.id)
    names = []
    for row in connection.execute(merges).all():
        if _OF_UNDO & row.details.keys():
            kept = {name: value for name, value in row.details.items() if name not in _OF_UNDO}
            connection.execute(sa.update(_ENTRIES).where(_ENTRIES.c.id == row.id).values(details=kept))
            names += [row.subject] * ("undo" in row.details)
    if names:
        log.warning(
            "removed: what undoes the merges of %s. These landmarks stay merged, with all verdicts and tags",
            ", ".join(names),
        )


def downgrade() -> None:
    """What is gone stays gone."""
