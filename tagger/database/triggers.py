"""Triggers that record what is out of date: days of visits and of trips, and parts of the photos' numbers.

They see each change, whoever makes it, and record it in `visit_changes`, `trip_changes` and `count_changes`.
"""

from collections.abc import Iterator

from tagger.database.statements import part_of


def visit_trigger_statements(*, is_sqlite: bool) -> Iterator[str]:
    """The statements that create the triggers, with the functions that those of PostgreSQL call."""
    if is_sqlite:
        yield from _sqlite_triggers()
    else:
        yield from _POSTGRESQL_FUNCTIONS
        yield from _postgresql_triggers()


def tag_trigger_statements(*, is_sqlite: bool) -> Iterator[str]:
    """The statements that create the triggers of tags. Those that change are deleted, and inserted again."""
    if not is_sqlite:
        yield _POSTGRESQL_TAGS
    for event, row in (("INSERT", "NEW"), ("DELETE", "OLD")):
        timing = f"AFTER {event} ON effective_tags"
        if is_sqlite:
            action = f"WHEN {row}.accepted BEGIN {_SQLITE_TAG.format(row=row)} END"
        else:
            action = f"REFERENCING {row} TABLE AS changed EXECUTE FUNCTION mark_trips_of_tags()"
        yield f"CREATE TRIGGER trips_{event.lower()}_tags {timing} {action}"


_SQLITE_TAG = """INSERT INTO trip_changes (day) SELECT DISTINCT substr(taken_at, 1, 10) FROM photos AS p
    WHERE content_id = {row}.content_id AND camera_id IS NOT NULL AND taken_at IS NOT NULL AND NOT EXISTS
    (SELECT 1 FROM trip_changes AS c WHERE c.day = substr(p.taken_at, 1, 10));"""
_POSTGRESQL_TAGS = """CREATE FUNCTION mark_trips_of_tags() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO trip_changes (day) SELECT DISTINCT p.taken_at::date
    FROM changed JOIN photos AS p ON p.content_id = changed.content_id
    WHERE changed.accepted AND p.camera_id IS NOT NULL AND p.taken_at IS NOT NULL;
    RETURN NULL; END $$"""
_OF_VISITS = "camera_id, taken_at, utc_offset_s, gone_since, origin, path, content_id"
"""The columns of a photo from which visits follow, and what its trip shows."""
_OF_PLACES = "latitude, longitude, source, country, region, city"
_SQLITE_MARK = """INSERT INTO visit_changes (camera_id, day) SELECT camera_id, substr(taken_at, 1, 10)
    FROM ({photo}) AS p WHERE camera_id IS NOT NULL AND taken_at IS NOT NULL AND NOT EXISTS (SELECT 1
    FROM visit_changes AS c WHERE c.camera_id = p.camera_id AND c.day = substr(p.taken_at, 1, 10));"""
_ROW = "SELECT {row}.camera_id AS camera_id, {row}.taken_at AS taken_at"
_PHOTO = "SELECT camera_id, taken_at FROM photos WHERE id = {row}.photo_id AND {row}.source <> 'trip'"
"""Positions that follow from trips make no visits."""
_POSTGRESQL_FUNCTIONS = (
    """CREATE FUNCTION mark_visits_of_photo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO visit_changes (camera_id, day) SELECT DISTINCT camera_id, taken_at::date
    FROM (VALUES (OLD.camera_id, OLD.taken_at), (NEW.camera_id, NEW.taken_at)) AS photo (camera_id, taken_at)
    WHERE camera_id IS NOT NULL AND taken_at IS NOT NULL; RETURN NULL; END $$""",
    """CREATE FUNCTION mark_visits_of_positions() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO visit_changes (camera_id, day) SELECT DISTINCT p.camera_id, p.taken_at::date
    FROM changed JOIN photos AS p ON p.id = changed.photo_id
    WHERE changed.source <> 'trip' AND p.camera_id IS NOT NULL AND p.taken_at IS NOT NULL;
    RETURN NULL; END $$""",
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


# ----- numbers of photos: with a photo, its copies change, since another may be the first -----

_COUNTED = {
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
        "content_id, landmark_id, state, accepted",
        """SELECT taken_at, id FROM photos WHERE content_id IN
        (SELECT content_id FROM {changed} WHERE accepted)""",
    ),
}
"""The columns that count, by table; and the photos that are to be counted again."""


def count_trigger_statements(*, is_sqlite: bool) -> Iterator[str]:
    """The statements that create the triggers, with the functions that those of PostgreSQL call."""
    for table, (columns, photos) in _COUNTED.items():
        for event, rows in (("INSERT", ["NEW"]), ("DELETE", ["OLD"]), ("UPDATE", ["OLD", "NEW"])):
            name = f"counts_{event.lower()}_{table}"
            changed = " UNION ALL ".join(
                f"SELECT {', '.join(f'{row}.{each} AS {each}' for each in columns.split(', '))}"
                for row in rows
            )
            timing = f"AFTER {event} ON {table}"
            if is_sqlite:
                if event == "UPDATE":
                    timing = f"AFTER UPDATE OF {columns} ON {table} WHEN {_differ(columns, 'IS NOT')}"
                mark = _sqlite_count_mark(photos.format(changed=f"({changed})"))
                yield f"CREATE TRIGGER {name} {timing} BEGIN {mark} END"
            elif event == "UPDATE":
                # Row by row: of many rows in which nothing of this changes, both versions would be kept.
                yield _postgresql_count_function(name, photos.format(changed=f"({changed}) AS changed"))
                when = _differ(columns, "IS DISTINCT FROM")
                timing = f"AFTER UPDATE OF {columns} ON {table} FOR EACH ROW WHEN ({when})"
                yield f"CREATE TRIGGER {name} {timing} EXECUTE FUNCTION {name}()"
            else:
                yield _postgresql_count_function(name, photos.format(changed="changed"))
                of_rows = f"REFERENCING {rows[0]} TABLE AS changed"
                yield f"CREATE TRIGGER {name} {timing} {of_rows} EXECUTE FUNCTION {name}()"


def _sqlite_count_mark(photos: str) -> str:
    parts = f"SELECT DISTINCT {part_of.sql('taken_at', 'id', is_sqlite=True)} AS part FROM ({photos})"  # noqa: S608 - names of columns
    unmarked = "NOT EXISTS (SELECT 1 FROM count_changes AS c WHERE c.part = p.part)"
    return f"INSERT INTO count_changes (part) SELECT part FROM ({parts}) AS p WHERE {unmarked};"  # noqa: S608


def _postgresql_count_function(name: str, photos: str) -> str:
    parts = f"SELECT DISTINCT {part_of.sql('taken_at', 'id', is_sqlite=False)} FROM ({photos}) AS p"  # noqa: S608 - names of columns
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" INSERT INTO count_changes (part) {parts}; RETURN NULL; END $$"
    )
