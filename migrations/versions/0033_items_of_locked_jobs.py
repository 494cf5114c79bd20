"""PostgreSQL no longer looks up the job of each item: whoever adds items has locked it."""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

NAME = "fk_job_items_job_id"


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(NAME, "job_items", type_="foreignkey")


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.create_foreign_key(NAME, "job_items", "jobs", ["job_id"], ["id"], ondelete="CASCADE")
