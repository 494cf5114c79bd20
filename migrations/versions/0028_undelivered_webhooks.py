"""Webhooks that are not delivered, and old ones, are found without reading all that are."""

from alembic import op

from migrations.concurrent_indexes import create_index_concurrently

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

UNDELIVERED, CREATED = "ix_webhook_messages_undelivered", "ix_webhook_messages_created_at"


def upgrade() -> None:
    create_index_concurrently(UNDELIVERED, "webhook_messages", ["receiver", "id"], "delivered_at IS NULL")
    create_index_concurrently(CREATED, "webhook_messages", ["created_at"])


def downgrade() -> None:
    for name in (CREATED, UNDELIVERED):
        op.drop_index(name, "webhook_messages")
