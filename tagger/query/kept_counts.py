"""Numbers of all photos by day, with their places and landmarks, which the tables `day_…` keep.

A part is the photos of a day, or those without a time among 10,000 ids. Triggers record in `count_changes`
which parts have changed since, or photos and images whose parts have. Reading counts the photos of these
again, but no more than `MOST_READ`: the numbers of others are old. `update_counts` stores them, and jobs some
after each chunk.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Row,
    Select,
    Subquery,
    Table,
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

from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.recorded_changes import MOST_TAKEN, follow_some, take_marks, wait_for_others
from tagger.database.statements import AdvisoryLock, among, part_of, rounded_down, try_lock, unindexed
from tagger.database.tables import (
    contents,
    count_changes,
    day_landmarks,
    day_places,
    effective_tags,
    photos,
    positions,
)
from tagger.query.photo_conditions import Condition, has_tag, is_first_copy, looked_up

# The size of a cell in the database. Coarser ones are twice, four times, … as large, and have whole
# ones.
FINEST_DEGREES = 0.25
# The width of a photo whose size is unknown, divided by its height.
_USUAL_ASPECT = 4 / 3
ASPECT = case((contents.c.height > 0, cast(contents.c.width, Float) / contents.c.height), else_=_USUAL_ASPECT)
_HAS_OUTCOME = unindexed(contents.c.outcome).is_not(None)
# Whether it has an accepted tag: the outcome of a classified image says the same, and is read
# faster.
IS_TAGGED = case((_HAS_OUTCOME, contents.c.outcome == Outcome.TAGGED), else_=looked_up(has_tag()))
# Photos that reading counts again, in half a second to a whole one.
MOST_READ = 50_000
# Photos that one transaction counts again, if there are several parts, in a tenth of a second.
_MOST_STORED = 5_000
# A number below all parts.
BEFORE_ALL = -(2**31)
# Parts whose photos are counted first: twice as many each time, as the size of a library is not
# known.
_FEW = 4
_PART = part_of(photos.c.taken_at, photos.c.id)


def kept_places(connection: Connection) -> Subquery:
    """The rows of `day_places` as they are now, in a snapshot."""
    return _kept(connection, day_places)


def kept_landmarks(connection: Connection) -> Subquery:
    """The rows of `day_landmarks` as they are now, in a snapshot."""
    return _kept(connection, day_landmarks)


def _kept(connection: Connection, table: Table) -> Subquery:
    stored = select(*_columns(table))
    changed = _first_parts(connection, sorted(_changed_parts(connection, MOST_READ)), MOST_READ)
    if not changed:
        return stored.subquery()
    unchanged = stored.where(~among(table.c.part, changed))
    return union_all(unchanged, _COUNTED[table](among(_PART, changed))).subquery()


def update_counts(database: Database, on_page: Callable[[], object] = lambda: None) -> None:
    """Store the numbers that have changed until now, some days per transaction."""
    last: int | None = BEFORE_ALL
    while last is not None:
        step = partial(update_some_counts, after=last)
        last = wait_for_others(partial(follow_some, database, has_changed_counts, step), on_page)
        if last is not None:
            on_page()


def record_count_changes(connection: Connection, parts: Iterable[int]) -> None:
    """Record parts whose photos are counted again."""
    if rows := [{"part": part} for part in parts]:
        connection.execute(insert(count_changes), rows)


def has_changed_counts(connection: Connection) -> bool:
    """Whether photos have changed since their numbers were stored."""
    return bool(connection.scalar(select(exists(count_changes.c.id))))


def update_some_counts(connection: Connection, after: int = BEFORE_ALL) -> int | None:
    """Store the numbers of some parts that have changed: the first ones after a part.

    Returns the last of them, after which the next call continues; None: there were none.

    Raises:
        LockTimedOut: another process counts.
    """
    try_lock(connection, AdvisoryLock.COUNT_PHOTOS)
    marks = take_marks(connection, count_changes, count_changes.c.part)
    record_count_changes(connection, _parts_of(connection, marks))
    if len(marks) == MOST_TAKEN:
        return after  # first all photos and images, so that each part is counted once
    is_marked = count_changes.c.part > after
    parts = connection.scalars(select(count_changes.c.part).where(is_marked).distinct()).all()
    changed = _first_parts(connection, sorted(parts), _MOST_STORED)
    if not changed:
        return None
    # First: a change that is too late for this is recorded again.
    connection.execute(delete(count_changes).where(among(count_changes.c.part, changed)))
    for table in _COUNTED:
        connection.execute(delete(table).where(among(table.c.part, changed)))
        names = [column.name for column in _columns(table)]
        connection.execute(insert(table).from_select(names, _COUNTED[table](among(_PART, changed))))
    return changed[-1]


def day_of_part(part: int) -> date | None:
    """The day of a part; None: its photos have no time."""
    return date.fromordinal(part) if part > 0 else None


def miscounted_parts(connection: Connection) -> Iterator[int]:
    """The parts whose stored numbers are not those of their photos, without those recorded as changed."""
    wrong = set[int]()
    for table in _COUNTED:
        # A sum of fractions depends on their order.
        compared = [column.name for column in _columns(table) if not column.name.endswith("_aspect")]
        counted = _COUNTED[table]().subquery()
        stored, found = (
            {tuple(row) for row in connection.execute(select(*(rows.c[name] for name in compared)))}
            for rows in (table, counted)
        )
        wrong |= {part for part, *_ in stored ^ found}
    yield from sorted(wrong - _changed_parts(connection))


def _changed_parts(connection: Connection, most_marks: int | None = None) -> set[int]:
    """The parts that have changed; of marks of photos and images, the first ones."""
    parts = set(connection.scalars(select(count_changes.c.part).distinct()))
    if None not in parts:
        return parts
    of_rows = select(count_changes).where(count_changes.c.part.is_(None)).limit(most_marks)
    return parts - {None} | _parts_of(connection, connection.execute(of_rows).all())


def _parts_of(connection: Connection, marks: Sequence[Row[Any]]) -> set[int]:
    """The parts of marked photos, and of all photos of their images and of marked ones."""
    if not marks:
        return set()
    photo_ids = {each.photo_id for each in marks if each.photo_id is not None}
    content_ids = {each.content_id for each in marks if each.content_id is not None}
    of_photos = select(_PART, photos.c.content_id).where(among(photos.c.id, photo_ids)).distinct()
    parts = set[int]()
    for part, content_id in connection.execute(of_photos):
        parts.add(part)
        if content_id is not None:
            content_ids.add(content_id)
    of_images = select(_PART).where(among(photos.c.content_id, content_ids)).distinct()
    return parts.union(connection.scalars(of_images))


def _first_parts(connection: Connection, changed: Sequence[int], most_photos: int) -> list[int]:
    """The first of these parts, with so many photos, or one."""
    found = list[int]()
    while len(found) < len(changed):
        page = changed[len(found) : 2 * len(found) + _FEW]
        sizes = select(_PART, func.count()).where(among(_PART, page)).group_by(_PART)
        photos_of = {row[0]: row[1] for row in connection.execute(sizes)}
        for part in page:
            most_photos -= photos_of.get(part, 0)
            if found and most_photos < 0:
                return found
            found.append(part)
    return found


def _columns(table: Table) -> Sequence[Any]:
    return [column for column in table.columns if not column.primary_key]


def _select(table: Table, *values: ColumnElement[Any]) -> Select[Any]:
    """These values of the table's columns. Sums have the columns' types: else PostgreSQL adds up decimals."""
    pairs = zip(_columns(table), values, strict=True)
    return select(*(cast(value, column.type).label(column.name) for column, value in pairs))


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
_IS_LOCATED = positions.c.photo_id.is_not(None)


def _places(*conditions: Condition) -> Select[Any]:
    rows = (
        select(
            _PART.label("part"),
            photos.c.id,
            case((contents.c.outcome.is_not(None), 1), else_=0).label("is_classified"),
            case((IS_TAGGED, 1), else_=0).label("is_tagged"),
            ASPECT.label("aspect"),
            *positions.columns,
            case((_IS_FIRST, 1), (_IS_LOCATED & IS_FIRST_THERE, 0)).label("is_first"),
        )
        .select_from(photos)
        .outerjoin(contents, contents.c.id == photos.c.content_id)
        .outerjoin(positions, positions.c.photo_id == photos.c.id)
        .where(photos.c.gone_since.is_(None), *conditions)
        .cte("counted")
        .prefix_with("MATERIALIZED")  # else conditions on copies are asked again for each column
    )
    keys = (
        *(rows.c[name] for name in ("part", "country", "region", "city")),
        rounded_down((rows.c.latitude + 90) / FINEST_DEGREES),
        rounded_down((rows.c.longitude + 180) / FINEST_DEGREES),
    )
    classified, tagged = rows.c.is_first * rows.c.is_classified, rows.c.is_first * rows.c.is_tagged
    numbers = func.sum(classified), func.sum(tagged), func.count(rows.c.photo_id)
    aspects = func.sum(classified * rows.c.aspect), func.sum(tagged * rows.c.aspect)
    extremes = (
        each(column) for column in (rows.c.latitude, rows.c.longitude) for each in (func.min, func.max)
    )
    counted = _select(day_places, *keys, *numbers, *aspects, *extremes, func.max(rows.c.id))
    return counted.where(rows.c.is_first.is_not(None)).group_by(*keys)


def _landmarks(*conditions: Condition) -> Select[Any]:
    keys = _PART, effective_tags.c.landmark_id
    return (
        _select(day_landmarks, *keys, func.count(), func.sum(case((_IS_FIRST, 1), else_=0)))
        .select_from(photos)
        .join(effective_tags, effective_tags.c.content_id == photos.c.content_id)
        .where(effective_tags.c.accepted == true(), photos.c.gone_since.is_(None), *conditions)
        .group_by(*keys)
    )


_COUNTED: Mapping[Table, Callable[..., Select[Any]]] = {day_places: _places, day_landmarks: _landmarks}
