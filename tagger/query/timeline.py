"""A sorted result in parts: the numbers of photos of months, and photos from any place in one; reads only."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, select

from tagger.database.connection import Database
from tagger.database.statements import day_of
from tagger.database.tables import contents, photos, positions
from tagger.kept.days import ASPECT, IS_TAGGED, day_of_part, kept_places
from tagger.query.filters import ResolvedQuery, counts_copies_once
from tagger.query.find import QueryReader, ScanPosition
from tagger.query.options import PhotoQuery
from tagger.query.photo_conditions import IMAGE, Condition, has_tag
from tagger.query.tagged_photos import select_photos
from tagger.roots.roots import RootPaths
from tagger.texts.names import city_name

FEWEST_TO_READ_ALL = 300_000
# Results of so many photos, or of the tenth of a library, are counted by reading all photos.
_SHARE_TO_READ_ALL = 10
# A day with so many photos is a part of its own in its month.
MANY_OF_A_DAY = 12


@dataclass(frozen=True)
class SectionPart:
    """The photos of a month from the `first` to the `last` day. `place`: their city, or region."""

    first: date
    last: date
    photos: int
    place: str | None = None


# A region and a city.
Area = tuple[str | None, str | None]
# Numbers of photos by their areas.
Places = Mapping[Area, int]
# The share of a part's photos that its place has.
_MOST = 0.6


def section_parts(
    days: Iterable[tuple[date, int]], places: Mapping[date, Places], *, by_day: bool
) -> list[SectionPart]:
    """The parts of a month, in order: days with many photos, and those between them; `by_day`: each day.

    `days` have these numbers of photos. Parts of a month without such a day have no place.
    """
    counted = list(days)
    is_named = by_day or any(photos >= MANY_OF_A_DAY for _, photos in counted)
    parts = []
    for _, some in groupby(
        counted, lambda each: each[0] if by_day or each[1] >= MANY_OF_A_DAY else None
    ):
        days_of_part, photos = zip(*some, strict=True)
        of_part = [places.get(day, {}) for day in days_of_part]
        place = _place(of_part, sum(photos)) if is_named else None
        parts.append(SectionPart(min(days_of_part), max(days_of_part), sum(photos), place))
    return parts


def _place(places: Sequence[Places], photos: int) -> str | None:
    """The city, else the region, with most of so many photos."""
    for level in (1, 0):
        numbers = Counter[str]()
        for (region, city), number in (entry for each in places for entry in each.items()):
            name = region if level == 0 else city and city_name(city, region)
            numbers[name or ""] += number
        name, number = max(numbers.items(), key=lambda entry: entry[1], default=("", 0))
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
    *,
    with_places: bool = True,
) -> list[Section]:
    """The sections of the sorted result, in its order. Reads all its photos.

    `with_places` false: no part has a place, and no position is read.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound, TripNotFound: no such name.
    """
    names_places = with_places and _is_by_date(query)
    with database.snapshot() as connection:
        if _selects_all(query):
            groups = list(_kept_groups(connection, query))
        else:
            groups = _read_groups(connection, query, root_paths or {}, names_places=names_places)
    days = list(_days(groups))
    has_places = names_places and _has_places(days, query)
    places = _places(groups) if has_places else {}
    dated = [each for each in days if each.day is not None]
    dated.sort(key=lambda each: each.day or "", reverse=query.sort == "newest")
    undated = (each for each in days if each.day is None)
    return list(_sections((*dated, *undated), places, by_day=query.trip is not None))


def _is_by_date(query: PhotoQuery) -> bool:
    return query.sort in ("newest", "oldest")


def _selects_all(query: PhotoQuery) -> bool:
    """Whether it has no filter, but for the outcome."""
    return query == PhotoQuery(
        sort=query.sort, any_rank=query.any_rank, limit=query.limit, distinct=True
    )


def _kept_groups(connection: Connection, query: PhotoQuery) -> Iterator["_Group"]:
    """The photos of all days, by area."""
    kept = kept_places(connection).c
    keys = (kept.part, kept.region, kept.city) if _is_by_date(query) else ()
    counted = "classified" if query.any_rank else "tagged"
    number_of = func.sum(kept[counted])
    groups = select(number_of, func.sum(kept[f"{counted}_aspect"]), *keys).group_by(*keys)
    for number, aspect, *key in connection.execute(groups.having(number_of > 0)):
        part, *area = key or (0,)
        day = day_of_part(part)
        yield _Group(number, aspect / number, str(day) if day else None, *area)


def _read_groups(
    connection: Connection, query: PhotoQuery, root_paths: RootPaths, *, names_places: bool
) -> list["_Group"]:
    """The photos of a query by day; by area too, where these are named or few."""
    keys = (day_of(photos.c.taken_at),) if _is_by_date(query) else ()
    resolved = ResolvedQuery.resolve(connection, query, root_paths)
    photos_at_most = connection.scalar(select(func.max(photos.c.id))) or 0
    limit = min(FEWEST_TO_READ_ALL, photos_at_most // _SHARE_TO_READ_ALL + 1)
    narrowest, is_small = resolved.narrowest(connection, limit)
    # Where copies may differ, their conditions would be tried on all photos again.
    has_copies = counts_copies_once(query) and resolved.copies_may_differ
    selected = replace(resolved, query=replace(query, distinct=False)) if has_copies else resolved
    found = select_photos().where(*_by_outcome(selected.conditions()))
    if narrowest is not None and is_small:
        found = found.where(narrowest.among)
    # Finding the photos takes most of the time. If they or their days are few, or of an area, their cities
    # are few too.
    is_dated = bool(query.year or query.taken_after or query.taken_before)
    has_areas = names_places and (is_small or is_dated or bool(resolved.areas))
    groups = _groups(connection, found, *keys, *(_AREA if has_areas else ()), has_copies=has_copies)
    if names_places and not has_areas and _has_places(list(_days(groups)), query):
        groups = _groups(connection, found, *keys, *_AREA, has_copies=has_copies)
    return groups


def _by_outcome(conditions: Iterable[Condition]) -> Iterator[Condition]:
    """The conditions, with the outcome of an image in place of its accepted tags, which say the same."""
    return (IS_TAGGED if each.compare(has_tag()) else each for each in conditions)


def count_all(database: Database, query: PhotoQuery, root_paths: RootPaths | None = None) -> int:
    """How many photos the query finds. Raises as `timeline_sections`."""
    in_one = replace(query, sort=None)
    number = sum(section.photos for section in timeline_sections(database, in_one, root_paths))
    return number if query.limit is None else min(number, query.limit)


class _Group(NamedTuple):
    """Photos of a day, or of one area of it, with their mean aspect."""

    photos: int
    aspect: float
    day: str | None = None
    region: str | None = None
    city: str | None = None


_AREA = positions.c.region, positions.c.city


def _groups(
    connection: Connection, found: Select[Any], *keys: ColumnElement[Any], has_copies: bool
) -> list[_Group]:
    """The photos of a query by these keys; of copies, if it has them, the first one."""
    columns = [
        ASPECT.label("aspect"),
        *(key.label(f"key_{number}") for number, key in enumerate(keys)),
    ]
    if has_copies:
        columns.append(
            func.row_number().over(partition_by=IMAGE, order_by=photos.c.id).label("copy")
        )
    rows = found.with_only_columns(*columns, maintain_column_froms=True).subquery()
    _, *by = list(rows.c)[: len(keys) + 1]
    counted = select(func.count(), func.avg(rows.c.aspect), *by).group_by(*by)
    if has_copies:
        counted = counted.where(rows.c.copy == 1)
    groups = []
    for number, aspect, *key in connection.execute(counted):
        if number:
            day, *area = key or (None,)
            groups.append(_Group(number, float(aspect), day and str(day)[:10], *area))
    return groups


def _days(groups: Iterable[_Group]) -> Iterator[_Group]:
    """The days, each as one group."""
    groups_of = defaultdict[str | None, list[_Group]](list)
    for group in groups:
        groups_of[group.day].append(group)
    for day, some in groups_of.items():
        photos = sum(each.photos for each in some)
        yield _Group(photos, sum(each.photos * each.aspect for each in some) / photos, day)


def _has_places(days: Sequence[_Group], query: PhotoQuery) -> bool:
    """Whether headings name places, of which no more photos are read than `FEWEST_TO_READ_ALL`."""
    is_small = sum(each.photos for each in days) <= FEWEST_TO_READ_ALL
    return is_small and (
        query.trip is not None or any(each.photos >= MANY_OF_A_DAY for each in days)
    )


def _places(groups: Iterable[_Group]) -> Mapping[date, Places]:
    """Where the photos were taken on each day."""
    places = defaultdict[date, dict[Area, int]](dict)
    for group in groups:
        if group.day is not None and group.city is not None:
            places[date.fromisoformat(group.day)][group.region, group.city] = group.photos
    return places


def _sections(
    days: Iterable[_Group], places: Mapping[date, Places], *, by_day: bool
) -> Iterator[Section]:
    for month, some in groupby(days, lambda each: each.day and each.day[: len("2024-06")]):
        found = list(some)
        photos = sum(each.photos for each in found)
        aspect = sum(each.photos * each.aspect for each in found) / photos
        dated = ((date.fromisoformat(each.day), each.photos) for each in found if each.day)
        yield Section(month, photos, aspect, section_parts(dated, places, by_day=by_day))


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
    search = QueryReader.start(database, query, root_paths, start.after, month=start.month)
    with database.read() as connection:
        return search.ids(connection, search.begin, limit, start.skip)


def count_photos(database: Database, query: PhotoQuery, limit: int) -> int:
    """How many photos the sorted result has, counted up to `limit`. Raises as `find_tagged_page`."""
    ids, _ = find_section_ids(database, query, None, SectionStart(), limit)
    return len(ids)


def count_copies(database: Database, digests: Collection[str]) -> dict[str, int]:
    """How many photos that exist have each image, by its digest."""
    counted = (
        select(contents.c.digest, func.count())
        .join(photos, photos.c.content_id == contents.c.id)
        .where(contents.c.digest.in_(digests), photos.c.gone_since.is_(None))
        .group_by(contents.c.digest)
    )
    with database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(counted)}
