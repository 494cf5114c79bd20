"""Several receivers of webhooks. Events that wait stay those of the only receiver so far."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

IS_PENDING = sa.text("next_attempt_at IS NOT NULL")


def upgrade() -> None:
    op.drop_index(op.f("ix_webhook_messages_pending"), "webhook_messages")
    with op.batch_alter_table("webhook_messages") as table:
        # The default is for workers of the version before, which continue during an upgrade.
        table.add_column(sa.Column("receiver", sa.Text(), server_default="default", nullable=False))
        table.drop_constraint(op.f("uq_webhook_messages_subject"), type_="unique")
        table.create_unique_constraint(op.f("uq_webhook_messages_receiver_subject"), ["receiver", "subject"])
    _create_index("receiver", "next_attempt_at")


def downgrade() -> None:
    op.drop_index(op.f("ix_webhook_messages_pending"), "webhook_messages")
    op.execute("DELETE FROM webhook_messages WHERE receiver <> 'default'")
    with op.batch_alter_table("webhook_messages") as table:
        table.drop_constraint(op.f("uq_webhook_messages_receiver_subject"), type_="unique")
        table.create_unique_constraint(op.f("uq_webhook_messages_subject"), ["subject"])
        table.drop_column("receiver")
    _create_index("next_attempt_at")


def _create_index(*columns: str) -> None:
    op.create_index(
        op.f("ix_webhook_messages_pending"),
        "webhook_messages",
        list(columns),
        postgresql_where=IS_PENDING,
        sqlite_where=IS_PENDING,
    )
