"""People who sign in at an OpenID Connect provider."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("issuer", sa.Text()))
    op.add_column("users", sa.Column("subject", sa.Text()))
    op.create_index(op.f("ix_users_issuer_subject"), "users", ["issuer", "subject"], unique=True)


def downgrade() -> None:
    op.drop_index(op.f("ix_users_issuer_subject"), "users")
    for column in ("subject", "issuer"):
        op.drop_column("users", column)
