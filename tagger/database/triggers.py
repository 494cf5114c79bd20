"""Triggers that record what visits, trips and numbers of photos no longer follow from.

They see each change, whoever makes it. A photo, an image, a position and a tag may change in transactions
that do not see each other, so a mark names what has changed, and not the days that follow from it: these are
found when the mark is taken, after both have ended. Only a photo's own day, which is lost with the change, is
named at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tagger.database.statements import part_of


@dataclass(frozen=True)
class _Marks:
    """What a change of a table's row inserts into a table of marks: statements over the rows `{changed}`.

    `name`: of the triggers. `columns`: those that count.
    """

    name: str
    table: str
    columns: str
    statements: Sequence[str]


# On SQLite, which has one writer, a day that is marked needs no second mark.
_VISITS_OF_PHOTO = """INSERT INTO visit_changes (camera_id, day)
    SELECT DISTINCT camera_id, {day} FROM {changed}
    WHERE camera_id IS NOT NULL AND taken_at IS NOT NULL{unmarked_visit}"""
_NUMBERS_OF_PHOTO = "INSERT INTO count_changes (part) SELECT DISTINCT {part} FROM {changed}{unmarked_part}"
# Another photo of the image may be the first one now.
_NUMBERS_OF_IMAGE = """INSERT INTO count_changes (content_id) SELECT DISTINCT content_id FROM {changed}
    WHERE content_id IS NOT NULL"""
# Positions that follow from trips make no visits.
_VISITS_OF_POSITION = """INSERT INTO visit_changes (photo_id) SELECT DISTINCT photo_id FROM {changed}
    WHERE source <> 'trip'"""
_NUMBERS_OF_POSITION = "INSERT INTO count_changes (photo_id) SELECT DISTINCT photo_id FROM {changed}"
_NUMBERS_OF_CONTENT = "INSERT INTO count_changes (content_id) SELECT DISTINCT id FROM {changed}"
_TRIPS_OF_TAG = """INSERT INTO trip_changes (content_id) SELECT DISTINCT content_id FROM {changed}
    WHERE accepted"""
_NUMBERS_OF_TAG = """INSERT INTO count_changes (content_id) SELECT DISTINCT content_id FROM {changed}
    WHERE accepted"""
_MARKS = (
    _Marks(
        "visits",
        "photos",
        "camera_id, taken_at, utc_offset_s, gone_since, origin, path, content_id",
        [_VISITS_OF_PHOTO],
    ),
    _Marks(
        "visits",
        "positions",
        "photo_id, latitude, longitude, source, country, region, city",
        [_VISITS_OF_POSITION],
    ),
    _Marks(
        "counts",
        "photos",
        "id, taken_at, content_id, gone_since",
        [_NUMBERS_OF_PHOTO, _NUMBERS_OF_IMAGE],
    ),
    _Marks(
        "counts",
        "positions",
        "photo_id, latitude, longitude, country, region, city",
        [_NUMBERS_OF_POSITION],
    ),
    _Marks("counts", "contents", "id, outcome, width, height", [_NUMBERS_OF_CONTENT]),
    _Marks(
        "tags",
        "effective_tags",
        "content_id, landmark_id, state, score, accepted",
        [_TRIPS_OF_TAG, _NUMBERS_OF_TAG],
    ),
)
_SQLITE_PART_OF_CHANGED = part_of.sql("changed.taken_at", "changed.id", is_sqlite=True)
_SQLITE_PARTS = {
    "day": "substr(taken_at, 1, 10)",
    "part": part_of.sql("taken_at", "id", is_sqlite=True),
    "unmarked_visit": """ AND NOT EXISTS (SELECT 1 FROM visit_changes AS c
    WHERE c.camera_id = changed.camera_id AND c.day = substr(changed.taken_at, 1, 10))""",
    "unmarked_part": " WHERE NOT EXISTS (SELECT 1 FROM count_changes AS c WHERE c.part = "  # noqa: S608
    f"{_SQLITE_PART_OF_CHANGED})",
}
_POSTGRESQL_PARTS = {
    "day": "taken_at::date",
    "part": part_of.sql("taken_at", "id", is_sqlite=False),
    "unmarked_visit": "",
    "unmarked_part": "",
}
_ROWS = {"insert": ["NEW"], "delete": ["OLD"], "update": ["OLD", "NEW"]}


def trigger_statements(*, is_sqlite: bool) -> Iterator[str]:
    """The statements that create the triggers, with the functions that those of PostgreSQL call."""
    for marks in _MARKS:
        for event, rows in _ROWS.items():
            if is_sqlite:
                yield _sqlite_trigger(marks, event, rows)
            else:
                yield from _postgresql_trigger(marks, event, rows)


def _sqlite_trigger(marks: _Marks, event: str, rows: Sequence[str]) -> str:
    timing = f"AFTER {event.upper()} ON {marks.table}"
    if event == "update":
        differs = _differ(marks.columns, "IS NOT")
        timing = f"AFTER UPDATE OF {marks.columns} ON {marks.table} WHEN {differs}"
    changed = _rows_of_trigger(marks, rows)
    statements = (each.format(changed=changed, **_SQLITE_PARTS) for each in marks.statements)
    return f"CREATE TRIGGER {marks.name}_{event}_{marks.table} {timing} BEGIN {'; '.join(statements)}; END"


def _postgresql_trigger(marks: _Marks, event: str, rows: Sequence[str]) -> Iterator[str]:
    name = f"{marks.name}_{event}_{marks.table}"
    timing = f"AFTER {event.upper()} ON {marks.table} REFERENCING {rows[0]} TABLE AS changed"
    changed = "changed"
    if event == "update":
        # Row by row: of many rows in which nothing of this changes, both versions would be kept.
        differs = _differ(marks.columns, "IS DISTINCT FROM")
        timing = f"AFTER UPDATE OF {marks.columns} ON {marks.table} FOR EACH ROW WHEN ({differs})"
        changed = _rows_of_trigger(marks, rows)
    elif marks.table == "positions":
        # Of positions that are deleted with their photos, the triggers on these say it.
        timing += " WHEN (pg_trigger_depth() = 0)"
    statements = (each.format(changed=changed, **_POSTGRESQL_PARTS) for each in marks.statements)
    yield (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" {'; '.join(statements)}; RETURN NULL; END $$"
    )
    yield f"CREATE TRIGGER {name} {timing} EXECUTE FUNCTION {name}()"


def _rows_of_trigger(marks: _Marks, rows: Sequence[str]) -> str:
    """The changed row before and after, as far as there is one, as a table."""
    names = marks.columns.split(", ")
    selected = (f"SELECT {', '.join(f'{row}.{name} AS {name}' for name in names)}" for row in rows)
    return f"({' UNION ALL '.join(selected)}) AS changed"


def _differ(columns: str, operator: str) -> str:
    old, new = (", ".join(f"{row}.{name}" for name in columns.split(", ")) for row in ("OLD", "NEW"))
    return f"({old}) {operator} ({new})"
