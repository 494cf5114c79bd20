"""Kept numbers of photos of each landmark, and triggers that record what has to be counted again."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

COUNTED = {
    "tags": ("accepted", ("accepted", "landmark_id", "content_id")),
    "taught_tags": ("accepted", ("accepted", "landmark_id", "content_id")),
    "verdicts": (None, ("verdict", "landmark_id", "content_id")),
    "dismissals": (None, ("content_id",)),
    "photos": (None, ("gone_since", "content_id")),
}
"""For each table: the column of its rows that count, and the columns whose changes matter."""

FUNCTIONS = ("mark_changed_blocks", "mark_changed_blocks_of_accepted", "mark_changed_block")

# A transaction inserts a mark of its own, once, whatever other transactions have inserted: a count that does not see this
# transaction may delete their marks. The plan is made once in a session, mostly while the table is empty: a scan of the table
# would be chosen, and go on when there are thousands of marks.
FUNCTION = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $body$
{declared}BEGIN
    {first}INSERT INTO changed_blocks (block)
    SELECT changes.block
    FROM (SELECT DISTINCT image.content_id / 4096 AS block FROM {images}
          WHERE image.content_id IS NOT NULL{condition}) AS changes
    WHERE (SELECT own.id FROM changed_blocks AS own
           WHERE own.block = changes.block AND own.xmin = CAST(pg_current_xact_id() AS xid) LIMIT 1) IS NULL;
    {last}RETURN NULL;
END $body$"""
# Called for each row: most often, the row before was of the same block. The setting ends with the transaction or savepoint.
DECLARED = """
DECLARE
    marked bigint := CAST(NULLIF(current_setting('tagger.marked_block', true), '') AS bigint);
    block_before bigint := COALESCE(OLD.content_id, NEW.content_id) / 4096;
    block_after bigint := COALESCE(NEW.content_id, OLD.content_id) / 4096;
"""
IF_MARKED = """IF marked = block_before AND marked = block_after THEN
        RETURN NULL;
    END IF;
    """
REMEMBERED = """PERFORM set_config('tagger.marked_block', CAST(block_after AS text), true);
    """

SQLITE_TRIGGER = """
CREATE TRIGGER {table}_{name} AFTER {event} ON {table} WHEN {condition} BEGIN
    INSERT INTO changed_blocks (block) SELECT {row}.content_id / 4096
    WHERE {row}.content_id IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM changed_blocks WHERE block = {row}.content_id / 4096);
END"""


def upgrade() -> None:
    op.create_table(
        "landmark_block_counts",
        sa.Column("block", ID, nullable=False),
        sa.Column("landmark_id", ID, nullable=False),
        sa.Column("photos", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("block", "landmark_id", name=op.f("pk_landmark_block_counts")),
    )
    op.create_table(
        "landmark_totals",
        sa.Column("landmark_id", ID, autoincrement=False, nullable=False),
        sa.Column("photos", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("landmark_id", name=op.f("pk_landmark_totals")),
    )
    op.create_table(
        "changed_blocks",
        sa.Column("id", ID, nullable=False),
        sa.Column("block", ID, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_changed_blocks")),
    )
    op.create_index(op.f("ix_changed_blocks_block"), "changed_blocks", ["block"])
    if _is_sqlite():
        _create_sqlite_triggers()
    else:
        _create_postgresql_triggers()
    # Workers and commands count these blocks later, in small transactions. After the triggers: creating these waits for writers
    # whose changes nothing records.
    op.execute("""
        INSERT INTO changed_blocks (block)
        WITH RECURSIVE blocks(block) AS (
            SELECT min(id) / 4096 FROM contents
            UNION ALL
            SELECT (SELECT min(id) / 4096 FROM contents WHERE id >= (block + 1) * 4096)
            FROM blocks WHERE block IS NOT NULL)
        SELECT block FROM blocks WHERE block IS NOT NULL""")


def _create_postgresql_triggers() -> None:
    every, accepted, row = FUNCTIONS
    updated = "(VALUES (OLD.content_id), (NEW.content_id)) AS image(content_id)"
    statement = {"images": "changed AS image", "declared": "", "first": "", "last": ""}
    op.execute(FUNCTION.format(name=every, condition="", **statement))
    op.execute(FUNCTION.format(name=accepted, condition=" AND image.accepted", **statement))
    remembering = {"declared": DECLARED.lstrip(), "first": IF_MARKED, "last": REMEMBERED}
    op.execute(FUNCTION.format(name=row, images=updated, condition="", **remembering))
    for table, (counting, columns) in COUNTED.items():
        function = every if counting is None else accepted
        for event, rows in (("insert", "NEW"), ("delete", "OLD")):
            op.execute(
                f"CREATE TRIGGER {table}_{event}_changes_blocks AFTER {event.upper()} ON {table} "
                f"REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            )
        # For each row: a statement-level trigger would copy every updated row, whatever the columns.
        op.execute(
            f"CREATE TRIGGER {table}_update_changes_blocks AFTER UPDATE OF {', '.join(columns)} ON {table} "
            f"FOR EACH ROW WHEN ({_matters(counting, columns, 'IS DISTINCT FROM')}) EXECUTE FUNCTION {row}()"
        )


def _create_sqlite_triggers() -> None:
    for table, (counting, columns) in COUNTED.items():
        update = f"UPDATE OF {', '.join(columns)}"
        matters = _matters(counting, columns, "IS NOT")
        for name, event, row, condition in (
            ("insert_changes_blocks", "INSERT", "NEW", f"NEW.{counting}" if counting else "1"),
            ("delete_changes_blocks", "DELETE", "OLD", f"OLD.{counting}" if counting else "1"),
            ("update_changes_blocks", update, "NEW", matters),
            ("move_changes_blocks", "UPDATE OF content_id", "OLD", matters),
        ):
            op.execute(
                SQLITE_TRIGGER.format(table=table, name=name, event=event, row=row, condition=condition)
            )


def _matters(counting: str | None, columns: tuple[str, ...], differs: str) -> str:
    """The condition that an update of a row changes counts."""
    changes = []
    for column in columns:
        old, new = f"OLD.{column}", f"NEW.{column}"
        if column == "gone_since":
            old, new = f"({old} IS NULL)", f"({new} IS NULL)"
        changes.append(f"{old} {differs} {new}")
    condition = f"({' OR '.join(changes)})"
    return condition if counting is None else f"(OLD.{counting} OR NEW.{counting}) AND {condition}"


def downgrade() -> None:
    for table in COUNTED:
        names = ["insert", "delete", "update", *(["move"] if _is_sqlite() else [])]
        for name in names:
            on = "" if _is_sqlite() else f" ON {table}"
            op.execute(f"DROP TRIGGER {table}_{name}_changes_blocks{on}")
    if not _is_sqlite():
        for name in FUNCTIONS:
            op.execute(f"DROP FUNCTION {name}()")
    for table in ("changed_blocks", "landmark_totals", "landmark_block_counts"):
        op.drop_table(table)


def _is_sqlite() -> bool:
    return bool(op.get_bind().dialect.name == "sqlite")
