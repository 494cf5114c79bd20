"""What is kept of what follows from photos: here of days, visits and numbers of photos by place and landmark.

A part is the photos of a day, or those without a time among 10,000 ids. Each of the tables in `KEPT` has rows
of parts, and a query that computes them. `changed_days` names parts, or photos and images whose parts have
changed. Reading computes these again; `store_days` stores them, for jobs some after each chunk.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Integer,
    Row,
    Select,
    Subquery,
    Table,
    and_,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    select,
    true,
    union_all,
)

from tagger.database import MEASURED, KeptStep, Outcome, PositionSource
from tagger.database.changed_days import ChangedDay, record_days
from tagger.database.statements import (
    among,
    calendar_day_of,
    is_midnight,
    looked_up,
    part_of,
    rounded_down,
    unindexed,
)
from tagger.database.tables import (
    changed_days,
    contents,
    day_landmarks,
    day_places,
    effective_tags,
    photos,
    positions,
    visits,
)
from tagger.tags import is_first_copy
from tagger.trips import Locality, Visit

# The size of a cell in the database. Coarser ones are twice, four times, … as large.
FINEST_DEGREES = 0.25
ASPECT = case(
    (
        contents.c.height > 0,
        cast(contents.c.width, Float) / contents.c.height,
    ),
    # The width of a photo whose size is unknown, divided by its height.
    else_=4 / 3,
)
# Whether it has an accepted tag: the outcome of a classified image says the same, and is read faster.
IS_TAGGED = case(
    (unindexed(contents.c.outcome).is_not(None), contents.c.outcome == Outcome.TAGGED),
    else_=looked_up(
        exists().where(
            effective_tags.c.content_id == photos.c.content_id,
            effective_tags.c.accepted == true(),
        )
    ),
)

# Marks of photos and images that one transaction replaces by those of their days.
MOST_MARKS = 10_000
# Photos that reading counts again, in half a second to a whole one. The numbers of others are old.
MOST_READ = 50_000
# Photos whose days one transaction stores, if there are several, in a fifth of a second.
MOST_STORED = 5_000
BEFORE_ALL = -(2**31)
# Parts whose photos are counted first: twice as many each time, as the size of a library is not known.
_FEW = 4
_PART = part_of(photos.c.taken_at, photos.c.id)
_Condition = ColumnElement[bool]
_ALWAYS = true()


def kept_places(connection: Connection) -> Subquery:
    return _kept(day_places, _parts_to_count(connection))


def kept_landmarks(connection: Connection) -> Subquery:
    return _kept(day_landmarks, _parts_to_count(connection))


def read_visits(
    connection: Connection,
    begin: date = date.min,
    end: date = date.max,
) -> Iterator[Visit]:
    """Of one day without a position too."""
    first, last = begin.toordinal(), end.toordinal()
    # Tags and images change no visits.
    changed = _changed_parts(connection, condition=changed_days.c.content_id.is_(None))
    rows = _kept(
        visits,
        sorted(part for part in changed if first <= part <= last),
        visits.c.part.between(first, last),
    )
    places: dict[tuple[str, str, str], Locality] = {}
    for row in connection.execute(select(rows)):
        key = row.country, row.region, row.city
        yield Visit(
            row.camera_id,
            date.fromordinal(row.part),
            places.get(key) or places.setdefault(key, Locality(*key)),
            row.latitude or 0.0,
            row.longitude or 0.0,
            row.photos,
            row.first_at,
            row.last_at,
            row.is_measured,
            row.is_dated,
            row.folder,
            is_located=row.latitude is not None,
        )


def _parts_to_count(connection: Connection) -> list[int]:
    return _first_parts(
        connection, sorted(_changed_parts(connection, MOST_READ)), MOST_READ
    )


def _kept(
    table: Table, changed: Sequence[int], condition: _Condition = _ALWAYS
) -> Subquery:
    # The rows that are stored, and those of changed parts as they are now.
    stored = select(*_columns(table)).where(condition)
    if not changed:
        return stored.subquery()
    unchanged = stored.where(~among(table.c.part, changed))
    return union_all(unchanged, KEPT[table](among(_PART, changed))).subquery()


def store_days(
    _reading: Connection,
    write: Callable[[], AbstractContextManager[Connection]],
    after: int,
) -> tuple[int, int] | None:
    """Store what has changed of some parts: the first ones after a part.

    Returns the last of them, after which the next call continues, and that no photo moved; None: there were
    none.
    """
    of_days = changed_days.c.step.in_((KeptStep.DAYS, KeptStep.NUMBERS))
    taken = delete(changed_days).returning(*changed_days.c)
    of_rows = (
        select(changed_days.c.id)
        .where(of_days, changed_days.c.part.is_(None))
        .limit(MOST_MARKS)
    )
    next_parts = (
        select(changed_days.c.part)
        .where(of_days, changed_days.c.part > after)
        .distinct()
    )
    with write() as connection:
        # Their days are found afterwards: a change that is too late for that is recorded again.
        marks = connection.execute(taken.where(changed_days.c.id.in_(of_rows))).all()
        for step in (KeptStep.DAYS, KeptStep.NUMBERS):
            of_step = [mark for mark in marks if mark.step == step]
            record_days(
                connection,
                (ChangedDay(step, part) for part in _parts_of(connection, of_step)),
            )
        if len(marks) == MOST_MARKS:
            # First all photos and images, so that each part is computed once.
            return after, 0
        parts = _first_parts(
            connection,
            sorted(connection.scalars(next_parts)),
            MOST_STORED,
        )
        if not parts:
            return None
        # First: a change that is too late for this is recorded again.
        done = connection.execute(
            taken.where(of_days, among(changed_days.c.part, parts))
        ).all()
        for table, computed in KEPT.items():
            connection.execute(delete(table).where(among(table.c.part, parts)))
            names = [column.name for column in _columns(table)]
            connection.execute(
                insert(table).from_select(names, computed(among(_PART, parts)))
            )
        days = {row.part for row in done if row.step == KeptStep.DAYS and row.part > 0}
        record_days(
            connection,
            (ChangedDay(KeptStep.TRIPS, day) for day in sorted(days)),
        )
    return parts[-1], 0


def trip_days(connection: Connection) -> set[date]:
    parts = _changed_parts(
        connection, condition=changed_days.c.step != KeptStep.NUMBERS
    )
    is_of_trips = changed_days.c.step == KeptStep.TRIPS
    parts.update(connection.scalars(select(changed_days.c.part).where(is_of_trips)))
    return {date.fromordinal(part) for part in parts if part > 0}


def day_of_part(part: int) -> date | None:
    return date.fromordinal(part) if part > 0 else None


def outdated_parts(connection: Connection) -> list[int]:
    """The parts of which something else is stored than is computed, without those recorded as changed."""
    outdated = set[int]()
    for table, computed in KEPT.items():
        stored = _comparable(connection, select(*_columns(table)))
        outdated.update(row[0] for row in stored ^ _comparable(connection, computed()))
    return sorted(outdated - _changed_parts(connection))


def _comparable(connection: Connection, query: Select[Any]) -> set[tuple[Any, ...]]:
    # The rows, with sums and means of fractions that do not depend on the order of the photos.
    return {
        tuple(round(value, 6) if isinstance(value, float) else value for value in row)
        for row in connection.execute(query)
    }


def _changed_parts(
    connection: Connection,
    most_marks: int | None = None,
    condition: _Condition = _ALWAYS,
) -> set[int]:
    # The parts whose days have changed; of marks of photos and images, the first ones.
    of_days = changed_days.c.step.in_((KeptStep.DAYS, KeptStep.NUMBERS)) & condition
    parts = set(
        connection.scalars(select(changed_days.c.part).where(of_days).distinct())
    )
    if None not in parts:
        return parts
    marks = (
        select(changed_days)
        .where(of_days, changed_days.c.part.is_(None))
        .limit(most_marks)
    )
    return parts - {None} | _parts_of(connection, connection.execute(marks).all())


def _parts_of(connection: Connection, marks: Sequence[Row[Any]]) -> set[int]:
    # The parts of marked photos, and of all photos of their images and of marked ones.
    if not marks:
        return set()
    photo_ids = {each.photo_id for each in marks if each.photo_id is not None}
    content_ids = {each.content_id for each in marks if each.content_id is not None}
    of_photos = (
        select(_PART, photos.c.content_id)
        .where(among(photos.c.id, photo_ids))
        .distinct()
    )
    parts = set[int]()
    for part, content_id in connection.execute(of_photos):
        parts.add(part)
        if content_id is not None:
            content_ids.add(content_id)
    of_images = select(_PART).where(among(photos.c.content_id, content_ids)).distinct()
    return parts.union(connection.scalars(of_images))


def _first_parts(
    connection: Connection, changed: Sequence[int], most_photos: int
) -> list[int]:
    # The first of these parts, with so many photos, or one.
    first_parts = list[int]()
    while len(first_parts) < len(changed):
        page = changed[len(first_parts) : 2 * len(first_parts) + _FEW]
        sizes = select(_PART, func.count()).where(among(_PART, page)).group_by(_PART)
        photos_of = {row[0]: row[1] for row in connection.execute(sizes)}
        for part in page:
            most_photos -= photos_of.get(part, 0)
            if first_parts and most_photos < 0:
                return first_parts
            first_parts.append(part)
    return first_parts


def _columns(table: Table) -> Sequence[Any]:
    return [column for column in table.columns if not column.primary_key]


def _select(table: Table, *values: ColumnElement[Any]) -> Select[Any]:
    # These values of the table's columns. Sums have the columns' types: else PostgreSQL adds up decimals.
    return select(
        *(
            cast(value, column.type).label(column.name)
            for column, value in zip(_columns(table), values, strict=True)
        )
    )


_other, _there = photos.alias("other"), positions.alias("there")
# Whether the photo has the lowest id of the existing ones with its image at its position.
IS_FIRST_THERE = ~exists(
    select(true())
    .select_from(_other.join(_there, _there.c.photo_id == _other.c.id))
    .where(
        _other.c.content_id == photos.c.content_id,
        _other.c.gone_since.is_(None),
        _other.c.id < photos.c.id,
        unindexed(_there.c.latitude) == positions.c.latitude,
        _there.c.longitude == positions.c.longitude,
    )
    .correlate(photos, positions)
)
_IS_FIRST = is_first_copy(())


def _places(*conditions: _Condition) -> Select[Any]:
    rows = (
        select(
            _PART.label("part"),
            photos.c.id,
            case((contents.c.outcome.is_not(None), 1), else_=0).label("is_classified"),
            case((IS_TAGGED, 1), else_=0).label("is_tagged"),
            ASPECT.label("aspect"),
            *positions.columns,
            case(
                (_IS_FIRST, 1), (positions.c.photo_id.is_not(None) & IS_FIRST_THERE, 0)
            ).label("is_first"),
        )
        .select_from(photos)
        .outerjoin(contents, contents.c.id == photos.c.content_id)
        .outerjoin(positions, positions.c.photo_id == photos.c.id)
        .where(photos.c.gone_since.is_(None), *conditions)
        .cte("counted")
        .prefix_with(
            "MATERIALIZED"
        )  # else conditions on copies are asked again for each column
    )
    keys = (
        *(rows.c[name] for name in ("part", "country", "region", "city", "sight")),
        rounded_down((rows.c.latitude + 90) / FINEST_DEGREES),
        rounded_down((rows.c.longitude + 180) / FINEST_DEGREES),
    )
    classified = rows.c.is_first * rows.c.is_classified
    tagged = rows.c.is_first * rows.c.is_tagged
    numbers = func.sum(classified), func.sum(tagged), func.count(rows.c.photo_id)
    aspects = func.sum(classified * rows.c.aspect), func.sum(tagged * rows.c.aspect)
    extremes = (
        each(column)
        for column in (rows.c.latitude, rows.c.longitude)
        for each in (func.min, func.max)
    )
    counted = _select(
        day_places,
        *keys,
        *numbers,
        *aspects,
        *extremes,
        func.max(rows.c.id),
    )
    return counted.where(rows.c.is_first.is_not(None)).group_by(*keys)


def _landmarks(*conditions: _Condition) -> Select[Any]:
    keys = _PART, effective_tags.c.landmark_id
    return (
        _select(
            day_landmarks,
            *keys,
            func.count(),
            func.sum(case((_IS_FIRST, 1), else_=0)),
        )
        .select_from(photos)
        .join(effective_tags, effective_tags.c.content_id == photos.c.content_id)
        .where(
            effective_tags.c.accepted == true(),
            photos.c.gone_since.is_(None),
            *conditions,
        )
        .group_by(*keys)
    )


# Places at the 180th meridian lie on both of its sides: photos of one visit lie on one.
_STRIP_DEGREES = 10
_FIRST_CLOCK_DAY = date(1990, 1, 1).toordinal()


def _visits(*conditions: _Condition) -> Select[Any]:
    # Visits at times of clocks (see `is_clock_time`). Those whose date says no zone are apart.
    of_position = and_(
        positions.c.photo_id == photos.c.id,
        positions.c.source != PositionSource.TRIP,
    )
    place = positions.c.country, positions.c.region, positions.c.city
    strip = cast((positions.c.longitude + 180) / _STRIP_DEGREES, Integer)
    has_no_zone = photos.c.utc_offset_s.is_(None)
    rows = (
        select(
            _PART.label("part"),
            photos.c.camera_id,
            *place,
            has_no_zone.label("has_no_zone"),
            func.avg(positions.c.latitude).label("latitude"),
            func.avg(positions.c.longitude).label("longitude"),
            func.count().label("photos"),
            func.min(photos.c.taken_at).label("first_at"),
            func.max(photos.c.taken_at).label("last_at"),
            func.max(case((positions.c.source.in_(MEASURED), 1), else_=0)).label(
                "is_measured"
            ),
            # The database would take longer to find the folder of each path than for all else.
            func.min(photos.c.path).label("first_path"),
            func.max(photos.c.path).label("last_path"),
            func.max(_slashes(photos.c.path)).label("depth"),
        )
        .select_from(photos)
        .outerjoin(positions, of_position)
        .where(
            photos.c.gone_since.is_(None),
            photos.c.origin.is_(None),
            photos.c.camera_id.is_not(None),
        )
        .where(photos.c.taken_at.is_not(None), ~is_midnight(photos.c.taken_at))
        .where(_PART >= _FIRST_CLOCK_DAY, *conditions)
        .group_by(_PART, photos.c.camera_id, *place, strip, has_no_zone)
        .subquery()
    )
    row = rows.c
    folder = func.rtrim(row.first_path, func.replace(row.first_path, "/", ""))
    begins_last_path = func.substr(row.last_path, 1, func.length(folder)) == folder
    is_dated = ~row.has_no_zone | (calendar_day_of(row.first_at) != "01-01")
    return select(
        row.part,
        row.camera_id,
        *(func.coalesce(name, "") for name in (row.country, row.region, row.city)),
        row.latitude,
        row.longitude,
        row.photos,
        row.first_at,
        row.last_at,
        row.is_measured == 1,
        is_dated,
        case(
            (begins_last_path & (_slashes(folder) == row.depth), folder),
            else_="",
        ),
    )


def _slashes(path: ColumnElement[str]) -> ColumnElement[int]:
    return func.length(path) - func.length(func.replace(path, "/", ""))


# To keep another number by day, add its table with a `part`, and the query that computes it.
KEPT: Mapping[Table, Callable[..., Select[Any]]] = {
    visits: _visits,
    day_places: _places,
    day_landmarks: _landmarks,
}
