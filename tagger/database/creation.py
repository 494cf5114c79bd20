"""Creates the schema in an empty database: the tables with their indexes, the views, and the triggers of the kept counts.

The triggers mark the blocks of 4096 images whose counts have changed. New images need no mark before a photo has them, and images that
photos have are not deleted.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

from sqlalchemy import Connection, insert, text

from tagger.database.tables import ledgers, metadata
from tagger.database.views import view_statements


def create_schema(connection: Connection) -> None:
    """Create all that the database of a new ledger has, and the row of its identity."""
    is_sqlite = connection.dialect.name == "sqlite"
    for table in metadata.tables.values():
        for index in table.indexes:
            if "where" in index.info:
                index.dialect_options[connection.dialect.name]["where"] = index.info["where"]
    metadata.create_all(connection, checkfirst=False)
    for name, query in view_statements(is_sqlite=is_sqlite).items():
        connection.execute(text(f"CREATE VIEW {name} AS {query}"))
    for statement in _sqlite_triggers() if is_sqlite else _postgresql_triggers():
        connection.execute(text(statement))
    connection.execute(insert(ledgers).values(id=1, ledger_id=str(uuid4()), created_at=datetime.now(UTC)))


COUNTED = {
    "tags": ("accepted", ("accepted", "landmark_id", "content_id")),
    "taught_tags": ("accepted", ("accepted", "landmark_id", "content_id")),
    "verdicts": (None, ("verdict", "landmark_id", "content_id")),
    "dismissals": (None, ("content_id",)),
    "photos": (None, ("gone_since", "content_id", "taken_at")),
}
"""For each table with images: the column of its rows that count, and the columns whose changes matter."""
IMAGE_COLUMNS = ("outcome", "width", "height")
"""The columns of `contents` whose changes matter."""
ONLY_WHETHER_NULL = ("gone_since", "outcome")

# A transaction inserts a mark of its own, once, whatever other transactions have inserted: a count that does not see this
# transaction may delete their marks. The plan is made once in a session, mostly while the table is empty: a scan of the table
# would be chosen, and go on when there are thousands of marks.
STATEMENT_FUNCTION = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $body$
BEGIN
    INSERT INTO changed_blocks (block)
    SELECT changes.block
    FROM (SELECT DISTINCT image.content_id / 4096 AS block FROM changed AS image
          WHERE image.content_id IS NOT NULL{condition}) AS changes
    WHERE (SELECT own.id FROM changed_blocks AS own
           WHERE own.block = changes.block AND own.xmin = CAST(pg_current_xact_id() AS xid) LIMIT 1) IS NULL;
    RETURN NULL;
END $body$"""
# Called for each row: most often, the row before was of the same block. The setting ends with the transaction or savepoint.
ROW_FUNCTION = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $body$
DECLARE
    marked bigint := CAST(NULLIF(current_setting('tagger.marked_block', true), '') AS bigint);
    block_before bigint := COALESCE(OLD.{image}, NEW.{image}) / 4096;
    block_after bigint := COALESCE(NEW.{image}, OLD.{image}) / 4096;
BEGIN
    IF marked = block_before AND marked = block_after THEN
        RETURN NULL;
    END IF;
    INSERT INTO changed_blocks (block)
    SELECT changes.block
    FROM (SELECT DISTINCT image.id / 4096 AS block FROM (VALUES (OLD.{image}), (NEW.{image})) AS image(id)
          WHERE image.id IS NOT NULL) AS changes
    WHERE (SELECT own.id FROM changed_blocks AS own
           WHERE own.block = changes.block AND own.xmin = CAST(pg_current_xact_id() AS xid) LIMIT 1) IS NULL;
    PERFORM set_config('tagger.marked_block', CAST(block_after AS text), true);
    RETURN NULL;
END $body$"""
FUNCTIONS = (
    STATEMENT_FUNCTION.format(name="mark_changed_blocks", condition=""),
    STATEMENT_FUNCTION.format(name="mark_changed_blocks_of_accepted", condition=" AND image.accepted"),
    ROW_FUNCTION.format(name="mark_changed_block", image="content_id"),
    ROW_FUNCTION.format(name="mark_block_of_changed_image", image="id"),
)

SQLITE_TRIGGER = """
CREATE TRIGGER {table}_{name}_changes_blocks AFTER {event} ON {table} WHEN {condition} BEGIN
    INSERT INTO changed_blocks (block) SELECT {image} / 4096
    WHERE {image} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM changed_blocks WHERE block = {image} / 4096);
END"""


def _postgresql_triggers() -> Iterator[str]:
    yield from FUNCTIONS
    for table, (counting, columns) in COUNTED.items():
        function = "mark_changed_blocks" if counting is None else "mark_changed_blocks_of_accepted"
        for event, rows in (("insert", "NEW"), ("delete", "OLD")):
            yield (
                f"CREATE TRIGGER {table}_{event}_changes_blocks AFTER {event.upper()} ON {table} "
                f"REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            )
        yield _postgresql_update_trigger(table, counting, columns, "mark_changed_block")
    yield _postgresql_update_trigger("contents", None, IMAGE_COLUMNS, "mark_block_of_changed_image")


def _postgresql_update_trigger(
    table: str, counting: str | None, columns: tuple[str, ...], function: str
) -> str:
    """For each row: a statement-level trigger would copy every updated row, whatever the columns."""
    return (
        f"CREATE TRIGGER {table}_update_changes_blocks AFTER UPDATE OF {', '.join(columns)} ON {table} "
        f"FOR EACH ROW WHEN ({_matters(counting, columns, 'IS DISTINCT FROM')}) EXECUTE FUNCTION {function}()"
    )


def _sqlite_triggers() -> Iterator[str]:
    for table, (counting, columns) in COUNTED.items():
        update = f"UPDATE OF {', '.join(columns)}"
        matters = _matters(counting, columns, "IS NOT")
        for name, event, row, condition in (
            ("insert", "INSERT", "NEW", f"NEW.{counting}" if counting else "1"),
            ("delete", "DELETE", "OLD", f"OLD.{counting}" if counting else "1"),
            ("update", update, "NEW", matters),
            ("move", "UPDATE OF content_id", "OLD", matters),
        ):
            image = f"{row}.content_id"
            yield SQLITE_TRIGGER.format(table=table, name=name, event=event, image=image, condition=condition)
    update = f"UPDATE OF {', '.join(IMAGE_COLUMNS)}"
    matters = _matters(None, IMAGE_COLUMNS, "IS NOT")
    yield SQLITE_TRIGGER.format(
        table="contents", name="update", event=update, image="NEW.id", condition=matters
    )


def _matters(counting: str | None, columns: tuple[str, ...], differs: str) -> str:
    """The condition that an update of a row changes counts."""
    changes = []
    for column in columns:
        old, new = f"OLD.{column}", f"NEW.{column}"
        if column in ONLY_WHETHER_NULL:
            old, new = f"({old} IS NULL)", f"({new} IS NULL)"
        changes.append(f"{old} {differs} {new}")
    condition = f"({' OR '.join(changes)})"
    return condition if counting is None else f"(OLD.{counting} OR NEW.{counting}) AND {condition}"
