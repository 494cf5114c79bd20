"""The triggers of the first schema: they mark the blocks of 4096 images whose kept counts have changed.

New images need no mark before a photo has them, and images that photos have are not deleted.
"""

from alembic import op

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
FUNCTIONS = {
    "mark_changed_blocks": STATEMENT_FUNCTION.format(name="mark_changed_blocks", condition=""),
    "mark_changed_blocks_of_accepted": STATEMENT_FUNCTION.format(
        name="mark_changed_blocks_of_accepted", condition=" AND image.accepted"
    ),
    "mark_changed_block": ROW_FUNCTION.format(name="mark_changed_block", image="content_id"),
    "mark_block_of_changed_image": ROW_FUNCTION.format(name="mark_block_of_changed_image", image="id"),
}

SQLITE_TRIGGER = """
CREATE TRIGGER {table}_{name}_changes_blocks AFTER {event} ON {table} WHEN {condition} BEGIN
    INSERT INTO changed_blocks (block) SELECT {image} / 4096
    WHERE {image} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM changed_blocks WHERE block = {image} / 4096);
END"""


def create_triggers() -> None:
    if is_sqlite():
        _create_sqlite_triggers()
    else:
        _create_postgresql_triggers()


def _create_postgresql_triggers() -> None:
    for function in FUNCTIONS.values():
        op.execute(function)
    for table, (counting, columns) in COUNTED.items():
        function = "mark_changed_blocks" if counting is None else "mark_changed_blocks_of_accepted"
        for event, rows in (("insert", "NEW"), ("delete", "OLD")):
            op.execute(
                f"CREATE TRIGGER {table}_{event}_changes_blocks AFTER {event.upper()} ON {table} "
                f"REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            )
        _create_postgresql_update_trigger(table, counting, columns, "mark_changed_block")
    _create_postgresql_update_trigger("contents", None, IMAGE_COLUMNS, "mark_block_of_changed_image")


def _create_postgresql_update_trigger(
    table: str, counting: str | None, columns: tuple[str, ...], function: str
) -> None:
    """For each row: a statement-level trigger would copy every updated row, whatever the columns."""
    op.execute(
        f"CREATE TRIGGER {table}_update_changes_blocks AFTER UPDATE OF {', '.join(columns)} ON {table} "
        f"FOR EACH ROW WHEN ({_matters(counting, columns, 'IS DISTINCT FROM')}) EXECUTE FUNCTION {function}()"
    )


def _create_sqlite_triggers() -> None:
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
            op.execute(
                SQLITE_TRIGGER.format(table=table, name=name, event=event, image=image, condition=condition)
            )
    update = f"UPDATE OF {', '.join(IMAGE_COLUMNS)}"
    matters = _matters(None, IMAGE_COLUMNS, "IS NOT")
    op.execute(
        SQLITE_TRIGGER.format(
            table="contents", name="update", event=update, image="NEW.id", condition=matters
        )
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


def drop_triggers() -> None:
    on = "" if is_sqlite() else " ON {table}"
    for table in COUNTED:
        for name in ("insert", "delete", "update", *(["move"] if is_sqlite() else [])):
            op.execute(f"DROP TRIGGER {table}_{name}_changes_blocks" + on.format(table=table))
    op.execute("DROP TRIGGER contents_update_changes_blocks" + on.format(table="contents"))
    if not is_sqlite():
        for function in FUNCTIONS:
            op.execute(f"DROP FUNCTION {function}()")


def is_sqlite() -> bool:
    """Whether the migration runs on SQLite."""
    return bool(op.get_bind().dialect.name == "sqlite")
