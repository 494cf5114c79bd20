"""ID tokens of sessions, to sign people out at the provider."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("page_sessions", sa.Column("id_token", sa.Text()))


def downgrade() -> None:
    op.drop_column("page_sessions", "id_token")
