"""Kept numbers of photos of each month, and marks for what changes them: times of photos, outcomes and sizes of images."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PHOTOS_TRIGGER, CONTENTS_TRIGGER = "photos_update_changes_blocks", "contents_update_changes_blocks"

# As `mark_changed_block` of 0027: one mark for each transaction and block. Called for each row: most often, the row before was
# of the same block. New images need no mark before a photo has them, and images that photos have are not deleted.
FUNCTION = """
CREATE FUNCTION mark_block_of_changed_image() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $body$
DECLARE
    marked bigint := CAST(NULLIF(current_setting('tagger.marked_block', true), '') AS bigint);
    changed bigint := NEW.id / 4096;
BEGIN
    IF marked = changed THEN
        RETURN NULL;
    END IF;
    INSERT INTO changed_blocks (block) SELECT changed
    WHERE (SELECT own.id FROM changed_blocks AS own
           WHERE own.block = changed AND own.xmin = CAST(pg_current_xact_id() AS xid) LIMIT 1) IS NULL;
    PERFORM set_config('tagger.marked_block', CAST(changed AS text), true);
    RETURN NULL;
END $body$"""

SQLITE_MARK = """
    INSERT INTO changed_blocks (block) SELECT {image} / 4096
    WHERE {image} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM changed_blocks WHERE block = {image} / 4096)"""


def upgrade() -> None:
    _create_table("month_block_counts", sa.Column("block", ID, nullable=False), "block", "month")
    _create_table("month_totals", None, "month")
    _create_photos_trigger("gone_since", "content_id", "taken_at")
    _create_contents_trigger()
    # No month is counted yet. After the triggers, as in 0027.
    op.execute("""
        INSERT INTO changed_blocks (block)
        WITH RECURSIVE blocks(block) AS (
            SELECT min(id) / 4096 FROM contents
            UNION ALL
            SELECT (SELECT min(id) / 4096 FROM contents WHERE id >= (block + 1) * 4096)
            FROM blocks WHERE block IS NOT NULL)
        SELECT block FROM blocks WHERE block IS NOT NULL""")


def _create_table(name: str, block: "sa.Column[int] | None", *key: str) -> None:
    op.create_table(
        name,
        *([] if block is None else [block]),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("classified", sa.Integer(), nullable=False),
        sa.Column("classified_aspects", sa.BigInteger(), nullable=False),
        sa.Column("tagged", sa.Integer(), nullable=False),
        sa.Column("tagged_aspects", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}")),
    )


def _create_photos_trigger(*columns: str) -> None:
    """Let changes of these columns of a photo mark the block of its image, in place of those so far."""
    changes = []
    for column in columns:
        old, new = f"OLD.{column}", f"NEW.{column}"
        if column == "gone_since":
            old, new = f"({old} IS NULL)", f"({new} IS NULL)"
        changes.append(f"{old} {_differs()} {new}")
    if _is_sqlite():
        op.execute(f"DROP TRIGGER {PHOTOS_TRIGGER}")
    _create_trigger(
        PHOTOS_TRIGGER, "photos", columns, " OR ".join(changes), "NEW.content_id", "mark_changed_block"
    )


def _create_contents_trigger() -> None:
    if not _is_sqlite():
        op.execute(FUNCTION)
    condition = (
        "(OLD.outcome IS NULL) <> (NEW.outcome IS NULL) "
        f"OR OLD.width {_differs()} NEW.width OR OLD.height {_differs()} NEW.height"
    )
    columns = ("outcome", "width", "height")
    function = "mark_block_of_changed_image"
    _create_trigger(CONTENTS_TRIGGER, "contents", columns, condition, "NEW.id", function)


def _create_trigger(
    name: str, table: str, columns: tuple[str, ...], condition: str, image: str, function: str
) -> None:
    event = f"TRIGGER {name} AFTER UPDATE OF {', '.join(columns)} ON {table}"
    if _is_sqlite():
        op.execute(f"CREATE {event} WHEN {condition} BEGIN {SQLITE_MARK.format(image=image)}; END")
    else:
        # Replaced, not dropped: that waits for no reader, and no reader waits behind it.
        op.execute(f"CREATE OR REPLACE {event} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {function}()")


def downgrade() -> None:
    op.execute(f"DROP TRIGGER {CONTENTS_TRIGGER}" + ("" if _is_sqlite() else " ON contents"))
    if not _is_sqlite():
        op.execute("DROP FUNCTION mark_block_of_changed_image()")
    _create_photos_trigger("gone_since", "content_id")
    for table in ("month_totals", "month_block_counts"):
        op.drop_table(table)


def _differs() -> str:
    return "IS NOT" if _is_sqlite() else "IS DISTINCT FROM"


def _is_sqlite() -> bool:
    return bool(op.get_bind().dialect.name == "sqlite")
