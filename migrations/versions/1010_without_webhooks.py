"""No webhooks: their events go, delivered or not."""

import logging

import sqlalchemy as sa
from alembic import op

revision = "1010"
down_revision = "1009"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

log = logging.getLogger(__name__)


def upgrade() -> None:
    counts = "SELECT count(*), count(*) - count(delivered_at) FROM webhook_messages"
    events, undelivered = op.get_bind().execute(sa.text(counts)).one()
    op.drop_table("webhook_messages")
    if events:
        log.warning(
            "removed: the events of webhooks (%d, not delivered: %d). cron and `tagger status --json` tell what happened",
            events,
            undelivered,
        )


def downgrade() -> None:
    """The table is there again, and empty."""
    op.create_table(
        "webhook_messages",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("message_id", sa.Text, nullable=False, unique=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_attempt_at", sa.Float),
        sa.Column("delivered_at", sa.DateTime(timezone=True)),
        sa.Column("problem", sa.Text),
        sa.Column("receiver", sa.Text, nullable=False, server_default="default"),
        sa.UniqueConstraint("receiver", "subject"),
    )
    for part, columns, condition in (
        ("pending", ["receiver", "next_attempt_at"], "next_attempt_at IS NOT NULL"),
        ("undelivered", ["receiver", "id"], "delivered_at IS NULL"),
        ("created_at", ["created_at"], None),
    ):
        where = None if condition is None else sa.text(condition)
        name = f"ix_webhook_messages_{part}"
        op.create_index(name, "webhook_messages", columns, sqlite_where=where, postgresql_where=where)
