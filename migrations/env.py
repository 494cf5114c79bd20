"""Runs migrations on the connection of tagger.database.schema, in the transaction that has begun."""

from alembic import context

from tagger.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
