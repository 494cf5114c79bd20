"""Names of people and tokens, also of those who are gone, so that a newcomer with the same name is somebody else."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

TABLES = ("users", "access_tokens")

access_names = sa.table("access_names", sa.column("name"), sa.column("given"))

KNOWN_NAMES = """
    INSERT INTO access_names (name, given)
    SELECT name, count(*) FROM (
        SELECT name FROM users
        UNION ALL SELECT name FROM access_tokens
        UNION ALL SELECT subject FROM audit_log WHERE action IN ('user-remove', 'token-revoke') AND subject IS NOT NULL
    ) AS named GROUP BY name
"""


def upgrade() -> None:
    op.create_table(
        "access_names",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("given", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_access_names")),
    )
    op.execute(KNOWN_NAMES)
    for table in TABLES:
        op.add_column(table, sa.Column("name_number", sa.Integer(), server_default="1", nullable=False))
        named = sa.table(table, sa.column("name"), sa.column("name_number"))
        given = sa.select(access_names.c.given).where(access_names.c.name == named.c.name)
        op.execute(sa.update(named).values(name_number=given.scalar_subquery()))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "name_number")
    op.drop_table("access_names")
