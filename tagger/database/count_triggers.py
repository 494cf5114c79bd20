"""Triggers that record in `count_changes` which parts of the photos are counted wrongly by now.

They see each change, whoever makes it. With a photo, its copies change: another may be the first.
"""

from collections.abc import Iterator

from tagger.database.statements import part_of

_OF_TABLES = {
    "photos": (
        "id, taken_at, content_id, gone_since",
        """SELECT taken_at, id FROM {changed} UNION
        SELECT taken_at, id FROM photos WHERE content_id IN (SELECT content_id FROM {changed})""",
    ),
    "positions": (
        "photo_id, latitude, longitude, country, region, city",
        """SELECT taken_at, id FROM photos WHERE id IN (SELECT photo_id FROM {changed}) UNION
        SELECT taken_at, id FROM photos WHERE content_id IN
        (SELECT content_id FROM photos WHERE id IN (SELECT photo_id FROM {changed}))""",
    ),
    "contents": (
        "id, outcome, width, height",
        "SELECT taken_at, id FROM photos WHERE content_id IN (SELECT id FROM {changed})",
    ),
    "effective_tags": (
        "content_id, landmark_id, accepted",
        """SELECT taken_at, id FROM photos WHERE content_id IN
        (SELECT content_id FROM {changed} WHERE accepted)""",
    ),
}
"""The columns that count, by table; and the photos that are to be counted again."""


def count_trigger_statements(*, is_sqlite: bool) -> Iterator[str]:
    """The statements that create the triggers, with the functions that those of PostgreSQL call."""
    for table, (columns, photos) in _OF_TABLES.items():
        for event in ("INSERT", "DELETE", "UPDATE"):
            name = f"counts_{event.lower()}_{table}"
            yield from (_sqlite if is_sqlite else _postgresql)(name, event, table, columns, photos)


def _sqlite(name: str, event: str, table: str, columns: str, photos: str) -> Iterator[str]:
    marks = []
    for row in {"INSERT": ["NEW"], "DELETE": ["OLD"], "UPDATE": ["OLD", "NEW"]}[event]:
        changed = ", ".join(f"{row}.{each} AS {each}" for each in columns.split(", "))
        parts = f"SELECT DISTINCT {_part(is_sqlite=True)} AS part FROM ({photos})"  # noqa: S608 - names of columns
        unmarked = "NOT EXISTS (SELECT 1 FROM count_changes AS c WHERE c.part = p.part)"
        mark = f"INSERT INTO count_changes (part) SELECT part FROM ({parts}) AS p WHERE {unmarked};"  # noqa: S608
        marks.append(mark.format(changed=f"(SELECT {changed})"))
    timing = f"{event} ON {table}"
    if event == "UPDATE":
        old, new = (", ".join(f"{row}.{each}" for each in columns.split(", ")) for row in ("OLD", "NEW"))
        timing = f"UPDATE OF {columns} ON {table} WHEN ({old}) IS NOT ({new})"
    yield f"CREATE TRIGGER {name} AFTER {timing} BEGIN {' '.join(marks)} END"


def _postgresql(name: str, event: str, table: str, columns: str, photos: str) -> Iterator[str]:
    source, tables = "", f"{'OLD' if event == 'DELETE' else 'NEW'} TABLE AS changed"
    if event == "UPDATE":
        tables = "OLD TABLE AS old_rows NEW TABLE AS new_rows"
        old, new = (f"SELECT {columns} FROM {rows}" for rows in ("old_rows", "new_rows"))  # noqa: S608
        source = f"WITH changed AS (({old} EXCEPT {new}) UNION ALL ({new} EXCEPT {old})) "
    marked = f"SELECT DISTINCT {_part(is_sqlite=False)} FROM ({photos.format(changed='changed')}) AS p"  # noqa: S608
    yield (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" {source}INSERT INTO count_changes (part) {marked}; RETURN NULL; END $$"
    )
    yield f"CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {tables} EXECUTE FUNCTION {name}()"


def _part(*, is_sqlite: bool) -> str:
    return (part_of.sqlite if is_sqlite else part_of.postgresql).format("taken_at", "id")
