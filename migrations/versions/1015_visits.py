"""Visits of cameras, from which trips follow; triggers that record which of them change; an index for trips.

`tagger db upgrade` fills the table.
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import create_index_concurrently

revision = "1015"
down_revision = "1014"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


_OLD_INDEX = "ix_photos_camera_id_taken_at"
_INDEX = f"{_OLD_INDEX}_gone_since"


def upgrade() -> None:
    create_index_concurrently(_INDEX, "photos", ["camera_id", "taken_at", "gone_since"])
    op.drop_index(_OLD_INDEX, "photos")
    op.create_table(
        "visits",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("camera_id", _ID, nullable=False),
        sa.Column("country", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("city", sa.Text, nullable=False),
        sa.Column("latitude", sa.Float),
        sa.Column("longitude", sa.Float),
        sa.Column("photos", sa.Integer, nullable=False),
        sa.Column("first_at", sa.DateTime, nullable=False),
        sa.Column("last_at", sa.DateTime, nullable=False),
        sa.Column("is_measured", sa.Boolean, nullable=False),
        sa.Column("is_dated", sa.Boolean, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
    )
    op.create_index("ix_visits_day_camera_id", "visits", ["day", "camera_id"])
    op.create_table(
        "visit_changes",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("camera_id", _ID, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
    )
    op.create_index("ix_visit_changes_camera_id_day", "visit_changes", ["camera_id", "day"])
    bind = op.get_bind()
    is_sqlite = bind.dialect.name == "sqlite"
    for statement in _sqlite_triggers() if is_sqlite else (*_POSTGRESQL_FUNCTIONS, *_postgresql_triggers()):
        bind.exec_driver_sql(statement)
    day = "substr(taken_at, 1, 10)" if is_sqlite else "taken_at::date"
    dated = "camera_id IS NOT NULL AND taken_at IS NOT NULL"
    found = f"SELECT DISTINCT camera_id, {day} FROM photos WHERE {dated}"  # noqa: S608 - no values
    bind.exec_driver_sql(f"INSERT INTO visit_changes (camera_id, day) {found}")


def downgrade() -> None:
    op.create_index(_OLD_INDEX, "photos", ["camera_id", "taken_at"])
    op.drop_index(_INDEX, "photos")
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table in ("photos", "positions"):
        for event in ("insert", "delete", "update"):
            op.execute(f"DROP TRIGGER visits_{event}_{table}" + ("" if is_sqlite else f" ON {table}"))
    if not is_sqlite:
        op.execute("DROP FUNCTION mark_visits_of_photo(), mark_visits_of_positions()")
    op.drop_table("visit_changes")
    op.drop_table("visits")


_OF_VISITS = "camera_id, taken_at, utc_offset_s, gone_since, origin, path"
_OF_PLACES = "latitude, longitude, source, country, region, city"
_SQLITE_MARK = """INSERT INTO visit_changes (camera_id, day) SELECT camera_id, substr(taken_at, 1, 10)
    FROM ({photo}) AS p WHERE camera_id IS NOT NULL AND taken_at IS NOT NULL AND NOT EXISTS (SELECT 1
    FROM visit_changes AS c WHERE c.camera_id = p.camera_id AND c.day = substr(p.taken_at, 1, 10));"""
_ROW = "SELECT {row}.camera_id AS camera_id, {row}.taken_at AS taken_at"
_PHOTO = "SELECT camera_id, taken_at FROM photos WHERE id = {row}.photo_id"
_POSTGRESQL_FUNCTIONS = (
    """CREATE FUNCTION mark_visits_of_photo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO visit_changes (camera_id, day) SELECT DISTINCT camera_id, taken_at::date
    FROM (VALUES (OLD.camera_id, OLD.taken_at), (NEW.camera_id, NEW.taken_at)) AS photo (camera_id, taken_at)
    WHERE camera_id IS NOT NULL AND taken_at IS NOT NULL; RETURN NULL; END $$""",
    """CREATE FUNCTION mark_visits_of_positions() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO visit_changes (camera_id, day) SELECT DISTINCT p.camera_id, p.taken_at::date
    FROM changed JOIN photos AS p ON p.id = changed.photo_id
    WHERE p.camera_id IS NOT NULL AND p.taken_at IS NOT NULL; RETURN NULL; END $$""",
)


def _sqlite_triggers() -> Iterator[str]:
    for table, columns, source in (("photos", _OF_VISITS, _ROW), ("positions", _OF_PLACES, _PHOTO)):
        for event, rows in (("INSERT", ["NEW"]), ("DELETE", ["OLD"]), ("UPDATE", ["OLD", "NEW"])):
            marks = " ".join(_SQLITE_MARK.format(photo=source.format(row=row)) for row in rows)
            timing = f"AFTER {event} ON {table}"
            if event == "UPDATE":
                timing = f"AFTER UPDATE OF {columns} ON {table} WHEN {_differ(columns, 'IS NOT')}"
            yield f"CREATE TRIGGER visits_{event.lower()}_{table} {timing} BEGIN {marks} END"


def _postgresql_triggers() -> Iterator[str]:
    mark = "FOR EACH ROW {when} EXECUTE FUNCTION mark_visits_of_photo()"
    for event, row in (("INSERT", "NEW"), ("DELETE", "OLD")):
        when = f"WHEN ({row}.camera_id IS NOT NULL)"
        timing = f"AFTER {event} ON photos"
        yield f"CREATE TRIGGER visits_{event.lower()}_photos {timing} {mark.format(when=when)}"
    when = f"WHEN ({_differ(_OF_VISITS, 'IS DISTINCT FROM')})"
    timing = f"AFTER UPDATE OF {_OF_VISITS} ON photos"
    yield f"CREATE TRIGGER visits_update_photos {timing} {mark.format(when=when)}"
    # Of positions that are deleted with their photos, the trigger on these says it.
    marks = "FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION mark_visits_of_positions()"
    for event, rows in (("INSERT", "NEW"), ("DELETE", "OLD"), ("UPDATE", "NEW")):
        timing = f"AFTER {event} ON positions REFERENCING {rows} TABLE AS changed"
        yield f"CREATE TRIGGER visits_{event.lower()}_positions {timing} {marks}"


def _differ(columns: str, operator: str) -> str:
    old, new = (", ".join(f"{row}.{each}" for each in columns.split(", ")) for row in ("OLD", "NEW"))
    return f"({old}) {operator} ({new})"
