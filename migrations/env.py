"""Runs migrations on the connection and in the transaction of tagger.database.schema."""

from alembic import context

from tagger.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
