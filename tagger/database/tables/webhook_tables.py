"""The table of events for the receivers of webhooks."""

from sqlalchemy import JSON, Column, Float, Index, Integer, Table, Text, UniqueConstraint

from tagger.database.tables.column_types import Id, UtcDateTime, add_partial_index, metadata

webhook_messages = Table(
    "webhook_messages",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("message_id", Text, nullable=False, unique=True, doc="the header `webhook-id`"),
    Column(
        "subject",
        Text,
        nullable=False,
        doc="event and object, like `job.finished/7`; unique for each receiver",
    ),
    Column("event", Text, nullable=False, doc="type of the event, like `job.finished`"),
    Column("data", JSON, nullable=False, doc="facts of the event"),
    Column("created_at", UtcDateTime, nullable=False, doc="when the event happened"),
    Column("attempts", Integer, nullable=False, server_default="0", doc="how often it was sent"),
    Column(
        "next_attempt_at",
        Float,
        doc="when it is sent next; null: it was delivered or given up",
    ),
    Column("delivered_at", UtcDateTime, doc="when the receiver accepted it; null: not yet, or given up"),
    Column("problem", Text, doc="why the last attempt failed, in words"),
    Column(
        "receiver",
        Text,
        nullable=False,
        server_default="default",
        doc="name in `TAGGER_WEBHOOKS`; `default`: the receiver of `TAGGER_WEBHOOK_URL`",
    ),
    UniqueConstraint("receiver", "subject"),
    info={"doc": "An event for a receiver of webhooks, written in the transaction of the event."},
)
add_partial_index(
    "ix_webhook_messages_pending",
    webhook_messages.c.receiver,
    webhook_messages.c.next_attempt_at,
    where=webhook_messages.c.next_attempt_at.is_not(None),
)
add_partial_index(
    "ix_webhook_messages_undelivered",
    webhook_messages.c.receiver,
    webhook_messages.c.id,
    where=webhook_messages.c.delivered_at.is_(None),
)
Index(None, webhook_messages.c.created_at)
