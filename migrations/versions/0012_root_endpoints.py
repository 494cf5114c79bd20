"""At which server a bucket was scanned."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("roots", sa.Column("endpoint", sa.Text))


def downgrade() -> None:
    op.drop_column("roots", "endpoint")
