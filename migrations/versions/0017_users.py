"""People who sign in to the page by name, whose sessions they are, and wrong passwords."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_used_at", TIME),
        sa.CheckConstraint("role IN ('viewer', 'editor', 'admin')", name=op.f("ck_users_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "sign_in_attempts",
        sa.Column("id", ID, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_attempts")),
    )
    for columns in (["account", "at"], ["network", "at"], ["at"]):
        op.create_index(op.f(f"ix_sign_in_attempts_{'_'.join(columns)}"), "sign_in_attempts", columns)
    with op.batch_alter_table("page_sessions") as batch:
        batch.add_column(sa.Column("user_id", ID))
        batch.add_column(sa.Column("network", sa.Text()))
        batch.add_column(sa.Column("browser", sa.Text()))
        batch.create_foreign_key(
            op.f("fk_page_sessions_user_id"), "users", ["user_id"], ["id"], ondelete="CASCADE"
        )
        batch.create_index(op.f("ix_page_sessions_user_id"), ["user_id"])


def downgrade() -> None:
    op.execute("DELETE FROM page_sessions WHERE user_id IS NOT NULL")
    with op.batch_alter_table("page_sessions") as batch:
        batch.drop_index(op.f("ix_page_sessions_user_id"))
        batch.drop_constraint(op.f("fk_page_sessions_user_id"), type_="foreignkey")
        for column in ("user_id", "network", "browser"):
            batch.drop_column(column)
    op.drop_table("sign_in_attempts")
    op.drop_table("users")
