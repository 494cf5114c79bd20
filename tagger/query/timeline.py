"""A sorted result in parts: the numbers of photos of months, and photos from any place in one; reads only."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, select

from tagger.database.connection import Database, display_language
from tagger.database.statements import day_of
from tagger.database.tables import contents, photos, positions
from tagger.kept import ASPECT, IS_TAGGED, day_of_part, kept_places
from tagger.query.filters import ResolvedQuery, counts_copies_once
from tagger.query.find import QueryReader
from tagger.query.options import PhotoQuery
from tagger.query.photo_conditions import IMAGE, has_tag
from tagger.query.sorted_scan import ScanPosition
from tagger.query.tagged_photos import select_photos
from tagger.roots import RootPaths
from tagger.texts.names import city_name

FEWEST_TO_READ_ALL = 300_000
# Results of so many photos, or of the tenth of a library, are counted by reading all photos.
_SHARE_TO_READ_ALL = 10
# A day with so many photos is a part of its own in its month.
MANY_OF_A_DAY = 12


@dataclass(frozen=True)
class SectionPart:
    """The photos of a month from the `first` to the `last` day. `place`: their sight and city, or region."""

    first: date
    last: date
    photos: int
    place: str | None = None


# A sight, a region and a city.
Area = tuple[str | None, str | None, str | None]
# The numbers of photos of a day by where they were taken.
Places = Mapping[Area, int]
# The share of a part's photos that its place has.
_MOST = 0.6


def section_parts(
    days: Iterable[tuple[date, int]],
    places: Mapping[date, Places],
    *,
    by_day: bool,
) -> list[SectionPart]:
    """The parts of a month, in order: days with many photos, and those between them; `by_day`: each day.

    `days` have these numbers of photos. Parts of a month without such a day have no place.
    """
    counted_days = list(days)

    def is_apart(counted_day: tuple[date, int]) -> bool:
        return by_day or counted_day[1] >= MANY_OF_A_DAY

    is_named = any(map(is_apart, counted_days))
    # A day apart is a run of its own: its date differs from all others.
    runs = groupby(counted_days, lambda each: each[0] if is_apart(each) else None)
    parts = []
    for _, run in runs:
        days_of_part, numbers = zip(*run, strict=True)
        photos, place = sum(numbers), None
        if is_named:
            place = _place([places.get(day, {}) for day in days_of_part], photos)
        parts.append(SectionPart(min(days_of_part), max(days_of_part), photos, place))
    return parts


def _place(places_of_days: Sequence[Places], photos: int) -> str | None:
    # The sight with its city, else the city, else the region, with most of so many photos.
    sights, cities, regions = Counter[str](), Counter[str](), Counter[str]()
    for places in places_of_days:
        for (sight, region, city), number in places.items():
            name = city_name(city, region) if city else ""
            sights[", ".join(filter(None, (sight, name))) if sight else ""] += number
            cities[name] += number
            regions[region or ""] += number
    for numbers in (sights, cities, regions):
        name, number = max(
            numbers.items(),
            key=itemgetter(1),
            default=("", 0),
        )
        if name and number >= _MOST * photos:
            return name
    return None


@dataclass(frozen=True)
class Section:
    """The photos of a month, or all of a result that is not in order of time.

    `month` is like `2024-06`; None: without a date. `aspect`: their mean width divided by height.
    `parts`: of a trip its days; of a month days of many photos, and those between them.
    """

    month: str | None
    photos: int
    aspect: float
    parts: Sequence[SectionPart] = ()


@dataclass(frozen=True)
class SectionStart:
    """A place in a section: `skip` photos after the position `after`; None: after the section's start.

    `month` is that of the section, `none` without a date; None where a result is not in order of time.
    """

    month: str | None = None
    after: ScanPosition | None = None
    skip: int = 0


def timeline_sections(
    database: Database,
    query: PhotoQuery,
    root_paths: RootPaths | None = None,
) -> list[Section]:
    """The sections of the sorted result, in its order. Reads all its photos.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound, TripNotFound: no such name.
    """
    is_by_date = query.sort in ("newest", "oldest")
    # No filter, but for the outcome.
    selects_all = query == PhotoQuery(
        sort=query.sort,
        any_rank=query.any_rank,
        limit=query.limit,
        distinct=True,
    )
    with database.snapshot() as connection:
        if selects_all:
            groups = _kept_groups(connection, query, is_by_date=is_by_date)
        else:
            groups = _read_groups(
                connection, query, root_paths or {}, is_by_date=is_by_date
            )
        if is_by_date and (language := display_language(connection)):
            from tagger.sights import library_sights  # numpy

            name_in = library_sights(connection).name_in
            groups = [
                each._replace(sight=each.sight and name_in(each.sight, language))
                for each in groups
            ]
    days = _days(groups)
    places = defaultdict[date, dict[Area, int]](dict)
    if is_by_date and _has_places(days, query):
        for group in groups:
            if group.day is not None and group.city is not None:
                area = group.sight, group.region, group.city
                places[group.day][area] = group.photos
    days.sort(key=lambda each: each.day or date.min, reverse=query.sort == "newest")
    days.sort(key=lambda each: each.day is None)  # without a date last
    sections = []
    for month, run in groupby(
        days, lambda each: each.day and str(each.day)[: len("2024-06")]
    ):
        days_of_month = list(run)
        total = _sum(days_of_month)
        dated = ((each.day, each.photos) for each in days_of_month if each.day)
        parts = section_parts(dated, places, by_day=query.trip is not None)
        sections.append(Section(month, total.photos, total.aspect, parts))
    return sections


def count_all(
    database: Database, query: PhotoQuery, root_paths: RootPaths | None = None
) -> int:
    """Raises as `timeline_sections`."""
    sections = timeline_sections(database, replace(query, sort=None), root_paths)
    number = sum(section.photos for section in sections)
    return number if query.limit is None else min(number, query.limit)


class _Group(NamedTuple):
    photos: int
    aspect: float
    day: date | None = None
    sight: str | None = None
    region: str | None = None
    city: str | None = None


def _sum(groups: Sequence[_Group]) -> _Group:
    # The photos of several groups of a day or a month.
    photos = sum(each.photos for each in groups)
    aspect = sum(each.photos * each.aspect for each in groups) / photos
    return _Group(photos, aspect, groups[0].day)


def _days(groups: Iterable[_Group]) -> list[_Group]:
    groups_of = defaultdict[date | None, list[_Group]](list)
    for group in groups:
        groups_of[group.day].append(group)
    return list(map(_sum, groups_of.values()))


def _has_places(days: Sequence[_Group], query: PhotoQuery) -> bool:
    # Whether headings name places, of which no more photos are read than FEWEST_TO_READ_ALL.
    if sum(each.photos for each in days) > FEWEST_TO_READ_ALL:
        return False
    return query.trip is not None or any(each.photos >= MANY_OF_A_DAY for each in days)


def _kept_groups(
    connection: Connection, query: PhotoQuery, *, is_by_date: bool
) -> list[_Group]:
    # The photos of all days, by area.
    places = kept_places(connection).c
    names = ("part", "sight", "region", "city") if is_by_date else ()
    keys = [places[name] for name in names]
    counted = "classified" if query.any_rank else "tagged"
    number_of = func.sum(places[counted])
    statement = (
        select(number_of, func.sum(places[f"{counted}_aspect"]), *keys)
        .group_by(*keys)
        .having(number_of > 0)
    )
    groups = []
    for number, aspects, *key in connection.execute(statement):
        part, *area = key or (0,)
        groups.append(_Group(number, aspects / number, day_of_part(part), *area))
    return groups


_AREA = positions.c.sight, positions.c.region, positions.c.city


def _read_groups(
    connection: Connection,
    query: PhotoQuery,
    root_paths: RootPaths,
    *,
    is_by_date: bool,
) -> list[_Group]:
    # The photos of a query by day; by area too, where these are named or few.
    resolved = ResolvedQuery.resolve(connection, query, root_paths)
    photos_at_most = connection.scalar(select(func.max(photos.c.id))) or 0
    limit = min(FEWEST_TO_READ_ALL, photos_at_most // _SHARE_TO_READ_ALL + 1)
    narrowest, is_small = resolved.narrowest(connection, limit)
    # Where copies may differ, their conditions would be tried on all photos again.
    has_copies = counts_copies_once(query) and resolved.copies_may_differ
    if has_copies:
        resolved = replace(resolved, query=replace(query, distinct=False))
    # The outcome of an image says the same as its accepted tags, and is read faster.
    statement = select_photos().where(
        *(
            IS_TAGGED if condition.compare(has_tag()) else condition
            for condition in resolved.conditions()
        )
    )
    if narrowest is not None and is_small:
        statement = statement.where(narrowest.among)
    # Finding the photos takes most of the time. If they or their days are few, or of an area, their cities
    # are few too.
    is_dated = bool(query.year or query.taken_after or query.taken_before)
    if not is_by_date:
        return _groups(connection, statement, has_copies=has_copies)
    day = day_of(photos.c.taken_at)
    if not (is_small or is_dated or resolved.areas):
        groups = _groups(connection, statement, day, has_copies=has_copies)
        if not _has_places(_days(groups), query):
            return groups
    return _groups(connection, statement, day, *_AREA, has_copies=has_copies)


def _groups(
    connection: Connection,
    selected: Select[Any],
    *keys: ColumnElement[Any],
    has_copies: bool,
) -> list[_Group]:
    # The photos of a query by these keys: the day, sight, region and city; of copies, the first one.
    names = [f"key_{number}" for number in range(len(keys))]
    columns = [ASPECT.label("aspect")]
    columns += [key.label(name) for key, name in zip(keys, names, strict=True)]
    if has_copies:
        copies = func.row_number().over(partition_by=IMAGE, order_by=photos.c.id)
        columns.append(copies.label("copy"))
    rows = selected.with_only_columns(*columns, maintain_column_froms=True).subquery().c
    by = [rows[name] for name in names]
    counted = select(func.count(), func.avg(rows.aspect), *by).group_by(*by)
    if has_copies:
        counted = counted.where(rows.copy == 1)
    groups = []
    for number, aspect, *key in connection.execute(counted):
        if number:
            day, *area = key or (None,)
            # SQLite has a day as a text.
            date_of = day and date.fromisoformat(str(day)[: len("2024-06-01")])
            groups.append(_Group(number, float(aspect), date_of, *area))
    return groups


def find_section_ids(
    database: Database,
    query: PhotoQuery,
    root_paths: RootPaths | None,
    start: SectionStart,
    limit: int,
) -> tuple[Sequence[int], ScanPosition | None]:
    """The ids of at most `limit` photos, and the position of the next; without a month, of the whole result.

    Raises as `find_tagged_page`.
    """
    search = QueryReader.start(
        database, query, root_paths, start.after, month=start.month
    )
    with database.read() as connection:
        return search.ids(connection, search.begin, limit, start.skip)


def count_photos(database: Database, query: PhotoQuery, limit: int) -> int:
    """How many photos the sorted result has, counted up to `limit`. Raises as `find_tagged_page`."""
    ids, _ = find_section_ids(database, query, None, SectionStart(), limit)
    return len(ids)


def count_copies(database: Database, digests: Collection[str]) -> dict[str, int]:
    counted = (
        select(contents.c.digest, func.count().label("copies"))
        .join(photos, photos.c.content_id == contents.c.id)
        .where(contents.c.digest.in_(digests), photos.c.gone_since.is_(None))
        .group_by(contents.c.digest)
    )
    return {row.digest: row.copies for row in database.rows(counted)}
