"""The photos that a library has before a fleet begins. PostgreSQL makes their rows: a job over so many photos would take hours."""

import struct
from contextlib import closing

from sqlalchemy import Connection, text

from tagger.catalog.kept_counts import recount_all
from tagger.catalog.registered_models import resolve_model
from tagger.database.connection import open_database
from tagger.database.schema import upgrade_database
from tests.rig.large_library import fill_library
from tests.rig.postgres_databases import autocommitted

_LOADING = {
    "session_replication_role": "replica",
    "synchronous_commit": "off",
    "maintenance_work_mem": "'1GB'",
}
"""Settings of the sessions that load the rows, as `pg_restore` would: without triggers and checks of foreign keys, which the rows fulfil."""
_INDEXES = text("""
    SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relnamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)""")
_EMBEDDINGS = text("""
    INSERT INTO embeddings (content_id, model_id, taught_version, data)
    SELECT id, model_id, 0, :range || decode(repeat(md5(id::text), :times), 'hex') FROM contents""")
_COUNTS = "landmark_block_counts, landmark_totals, month_block_counts, month_totals, changed_blocks"
_NEXT_ID = text("SELECT setval(pg_get_serial_sequence('contents', 'id'), (SELECT max(id) FROM contents))")
_MD5_BYTES = 16


def store_photos(url: str, count: int) -> None:
    """Fill an empty PostgreSQL database with the rows of `tests.rig.large_library`, and an embedding of each image."""
    upgrade_database(url)
    with autocommitted(url) as connection:
        indexes = connection.execute(_INDEXES).all()
        for index in indexes:
            connection.execute(text(f"DROP INDEX {index.name}"))
        for name, value in _LOADING.items():
            connection.execute(text(f"ALTER DATABASE {connection.engine.url.database} SET {name} = {value}"))
    fill_library(url, count)
    with autocommitted(url) as connection:  # with the settings above
        _store_embeddings(connection, _dimension(url))
        connection.execute(_NEXT_ID)
        for index in indexes:
            connection.execute(text(index.definition))
        connection.execute(text("VACUUM (ANALYZE)"))
        connection.execute(text(f"ALTER DATABASE {connection.engine.url.database} RESET ALL"))
    with closing(open_database(url)) as database:
        recount_all(database)
    with autocommitted(url) as connection:
        connection.execute(text(f"VACUUM (ANALYZE) {_COUNTS}"))
        connection.execute(text("CHECKPOINT"))


def _store_embeddings(connection: Connection, dimension: int) -> None:
    """Each is a pattern of 4 bits for each dimension, between -3 and 3."""
    times = dimension // 2 // _MD5_BYTES
    connection.execute(_EMBEDDINGS, {"range": struct.pack("<ff", -3.0, 3.0), "times": times})


def _dimension(url: str) -> int:
    with closing(open_database(url)) as database:
        embedding = resolve_model(database, None).manifest.embedding
    if embedding is None:
        raise SystemExit("the shipped model gives no embeddings")
    return embedding.dimension
