"""Runs migrations on the connection of tagger.database.schema: each in a transaction of its own, or all in the one that has begun."""

from alembic import context

from tagger.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
