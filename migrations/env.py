"""Runs migrations on the connection that tagger.database hands over, inside its transaction."""

from alembic import context

from tagger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
