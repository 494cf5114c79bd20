"""No OpenID Connect: what links people to a provider goes, and their sessions end. The people stay."""

import logging

import sqlalchemy as sa
from alembic import op

revision = "1009"
down_revision = "1008"
branch_labels = None
depends_on = None

_LINKED = "SELECT {} FROM users WHERE issuer IS NOT NULL"

log = logging.getLogger(__name__)


def upgrade() -> None:
    names = op.get_bind().scalars(sa.text(_LINKED.format("name") + " ORDER BY name")).all()
    op.execute(f"DELETE FROM page_sessions WHERE user_id IN ({_LINKED.format('id')})")  # noqa: S608 - no values
    op.drop_column("page_sessions", "id_token")
    op.drop_index("ix_users_issuer_subject", "users")
    op.drop_column("users", "issuer")
    op.drop_column("users", "subject")
    if names:
        log.warning(
            "removed: the sign-in of %s with OpenID Connect. They keep their names, roles and shares: let a proxy sign them in by these"
            " names, or give each a password with `tagger people user password NAME`",
            ", ".join(names),
        )


def downgrade() -> None:
    """Nobody is linked."""
    op.add_column("users", sa.Column("issuer", sa.Text))
    op.add_column("users", sa.Column("subject", sa.Text))
    op.create_index("ix_users_issuer_subject", "users", ["issuer", "subject"], unique=True)
    op.add_column("page_sessions", sa.Column("id_token", sa.Text))
