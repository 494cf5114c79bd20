"""Days of which something kept is out of date: who records them, and whether there are any.

Triggers see each change, whoever makes it. A photo, an image, a position and a tag may change in transactions
that do not see each other, so a row names what has changed, and not the days that follow from it: these are
found when the row is taken, after both have ended. Only a photo's own day, which is lost with the change, is
named at once. `tags/__init__.py` records evidence of positions, for which a row has the moment before, too.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sqlalchemy import Connection, exists, insert, or_, select

from tagger.database import JobState, KeptStep
from tagger.database.statements import part_of
from tagger.database.tables import changed_days, jobs, photos


class ChangedDay(NamedTuple):
    step: KeptStep
    part: int


def record_days(connection: Connection, days: Iterable[ChangedDay]) -> None:
    if rows := [day._asdict() for day in days]:
        connection.execute(insert(changed_days), rows)


def are_due(connection: Connection, *steps: KeptStep) -> bool:
    return bool(
        connection.scalar(select(exists().where(changed_days.c.step.in_(steps))))
    )


def are_consequences_due(connection: Connection) -> bool:
    """Whether positions, visits or trips do not follow all photos and verdicts yet.

    Numbers are left out: readers count the photos of changed days themselves.
    """
    return are_due(connection, KeptStep.POSITIONS, KeptStep.DAYS, KeptStep.TRIPS)


def are_left_due(connection: Connection) -> bool:
    is_of_photo = or_(
        photos.c.id == changed_days.c.photo_id,
        photos.c.content_id == changed_days.c.content_id,
    )
    is_dated = photos.c.camera_id.is_not(None) & photos.c.taken_at.is_not(None)
    of_trips = changed_days.c.step.in_((KeptStep.DAYS, KeptStep.TRIPS))
    due = (
        exists().where(changed_days.c.step == KeptStep.POSITIONS),
        exists().where(of_trips, changed_days.c.part > 0),
        exists().where(of_trips, changed_days.c.part.is_(None), is_of_photo, is_dated),
    )
    is_open = exists().where(
        jobs.c.state.not_in((JobState.FINISHED, JobState.CANCELLED))
    )
    return bool(connection.scalar(select(or_(*due)))) and not connection.scalar(
        select(is_open)
    )


class _Cause(NamedTuple):
    # A change that makes days outdated: `mark` of each changed row is inserted into the column `target`.
    #
    # `name`: of the triggers. `columns`: those that count. `step` and `mark` are SQL.
    name: str
    table: str
    columns: str
    step: str
    target: str
    mark: str
    condition: str = "true"


_CAUSES = (
    # Photos without a camera make no visits.
    _Cause(
        "days",
        "photos",
        "id, camera_id, taken_at, utc_offset_s, gone_since, origin, path, content_id",
        "CASE WHEN camera_id IS NULL THEN 'numbers' ELSE 'days' END",
        "part",
        "{part}",
        "{unmarked}",
    ),
    # Another photo of the image may be the first one now.
    _Cause(
        "copies",
        "photos",
        "id, taken_at, gone_since, content_id",
        "'numbers'",
        "content_id",
        "content_id",
        "content_id IS NOT NULL",
    ),
    # Positions that follow from trips make no visits.
    _Cause(
        "days",
        "positions",
        "photo_id, latitude, longitude, source, country, region, city, sight",
        "CASE source WHEN 'trip' THEN 'numbers' ELSE 'days' END",
        "photo_id",
        "photo_id",
    ),
    _Cause(
        "days",
        "contents",
        "id, outcome, width, height",
        "'numbers'",
        "content_id",
        "id",
    ),
    _Cause(
        "days",
        "effective_tags",
        "content_id, landmark_id, state, score, accepted",
        "'days'",
        "content_id",
        "content_id",
        "accepted",
    ),
)
_ROWS = {"insert": ("NEW",), "delete": ("OLD",), "update": ("OLD", "NEW")}
# SQLite has one writer, so a day that is marked needs no second mark.
_UNMARKED = (
    "NOT EXISTS (SELECT 1 FROM changed_days AS c "  # noqa: S608
    "WHERE (c.step = 'days' OR (c.step = 'numbers' AND changed.camera_id IS NULL)) AND c.part = "
    f"{part_of.sql('changed.taken_at', 'changed.id', is_sqlite=True)})"
)


def trigger_statements(*, is_sqlite: bool) -> Iterator[str]:
    """The statements that create the triggers, with the functions that those of PostgreSQL call."""
    words = {
        "part": part_of.sql("taken_at", "id", is_sqlite=is_sqlite),
        "unmarked": _UNMARKED if is_sqlite else "true",
    }
    for cause in _CAUSES:
        names = cause.columns.split(", ")
        old, new = (
            ", ".join(f"{row}.{name}" for name in names) for row in ("OLD", "NEW")
        )
        for event, rows in _ROWS.items():
            is_update = event == "update"
            name = f"{cause.name}_{event}_{cause.table}"
            of_rows = (
                f"SELECT {', '.join(f'{row}.{column} AS {column}' for column in names)}"
                for row in rows
            )
            changed = f"({' UNION ALL '.join(of_rows)}) AS changed"
            timing = f"AFTER {event.upper()}"
            if is_update:
                timing += f" OF {cause.columns}"
            timing += f" ON {cause.table}"
            if is_sqlite and is_update:
                timing += f" WHEN ({old}) IS NOT ({new})"
            elif is_update:
                # Row by row: of many rows in which nothing of this changes, both versions would be kept.
                timing += f" FOR EACH ROW WHEN (({old}) IS DISTINCT FROM ({new}))"
            elif not is_sqlite:
                timing += f" REFERENCING {rows[0]} TABLE AS changed"
                changed = "changed"
            insertion = (
                f"INSERT INTO changed_days (step, {cause.target}) SELECT DISTINCT {cause.step}, {cause.mark}"  # noqa: S608
                f" FROM {changed} WHERE {cause.condition}"
            ).format(**words)
            if is_sqlite:
                yield f"CREATE TRIGGER {name} {timing} BEGIN {insertion}; END"
            else:
                body = f"BEGIN {insertion}; RETURN NULL; END"
                yield f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"
                yield f"CREATE TRIGGER {name} {timing} EXECUTE FUNCTION {name}()"
