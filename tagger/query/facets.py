"""How many photos each choice of a filter leaves, together with all other filters of a query; reads only.

A choice has the number of a query with it; where that reads too many photos, of those added last.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, Literal, TypeVar, get_args

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    case,
    false,
    func,
    select,
    true,
)

from tagger.cameras import camera_models
from tagger.database.connection import Database
from tagger.database.statements import looked_up, year_of
from tagger.database.tables import photos, positions
from tagger.errors import QueryOptionInvalid
from tagger.landmarks import landmarks_by_id
from tagger.photos.paths import path_text
from tagger.query.filters import AddedOption, ResolvedQuery, counts_copies_once
from tagger.query.options import PhotoQuery
from tagger.query.photo_conditions import IMAGE, Area, shown_landmarks
from tagger.query.tagged_photos import select_photos
from tagger.roots import Root, RootPaths, list_roots
from tagger.things import all_things, kinds_of_images

_Key = TypeVar("_Key")

# A query that reads more photos is counted among as many that were added last.
MOST_READ = 50_000
# Choices of a facet, the most frequent ones.
MOST_VALUES = 200

FacetName = Literal[
    "landmark", "country", "thing", "year", "camera", "outcome", "folder"
]
FACETS: tuple[FacetName, ...] = get_args(FacetName)
# Options that select photos by outcome; at most one of them is set.
OUTCOMES = ("favourite", "any_rank", "unknown", "untagged", "failed", "dismissed")


@dataclass(frozen=True)
class FacetValue:
    """A choice: its text as an option, its name, and its number of photos, at least.

    `has_folders`: it is a folder with folders in it.
    """

    value: str
    name: str
    photos: int
    has_folders: bool = False


@dataclass(frozen=True)
class Facet:
    """The choices of a filter that have photos: years and folders in order, others with most photos first.

    `more`: how many choices are left out.
    `default`: for outcomes, the number of photos if none is chosen; None if the query needs one.
    """

    facet: FacetName
    exact: bool
    values: tuple[FacetValue, ...]
    default: int | None
    more: int


def count_facets(
    database: Database,
    query: PhotoQuery,
    root_paths: RootPaths | None = None,
    *,
    names: Sequence[FacetName] = FACETS,
) -> list[Facet]:
    """The facets of `query` with these names. Folders are the outermost ones, and those in the query's.

    Raises:
        NotFound, LandmarkAmbiguous: a name is not in the database, or that of several.
    """
    with database.read() as connection:
        counts = _FacetCounts(connection, replace(query, limit=None), root_paths or {})
        return [counts.facet(name) for name in names]


def count_photos(
    database: Database,
    queries: Iterable[PhotoQuery],
    root_paths: RootPaths,
) -> list[tuple[bool, int]]:
    """Whether the number of photos of each query is exact, and the number."""
    with database.read() as connection:
        counts = _FacetCounts(connection, PhotoQuery(), root_paths)
        return [counts.counted(query) for query in queries]


# The first of the columns that say whether a position is in each area.
_INSIDE = 8


@dataclass(frozen=True)
class _Matches:
    # The photos of a query with these areas; if not exact, there are more. Each `unit` counts once.
    photos: Sequence[Row[Any]]
    exact: bool
    areas: Sequence[Area]

    def shows_there(self, photo: Row[Any], landmark_id: int) -> bool:
        # Whether the landmark of a photo is in all areas.
        #
        # A photo that is in one by a landmark alone shows no other there.
        return all(
            is_inside or landmark_id in area.landmarks
            for area, is_inside in zip(self.areas, photo[_INSIDE:], strict=True)
        )


# Whether the numbers are exact, and the choices.
_Choices = tuple[bool, Sequence[FacetValue]]


@dataclass(frozen=True)
class _FacetCounts:
    connection: Connection
    query: PhotoQuery
    root_paths: RootPaths
    # What was read: all facets without a choice count the same photos.
    read: dict[tuple[PhotoQuery, AddedOption | None], _Matches] = field(
        default_factory=dict
    )
    # The landmarks of images, of which facets have many in common.
    landmarks_of: dict[int | None, list[int]] = field(default_factory=dict)

    def facet(self, name: FacetName) -> Facet:
        choices_of: Mapping[FacetName, Callable[[], _Choices]] = {
            "landmark": self._landmark,
            "country": self._country,
            "thing": self._thing,
            "year": self._year,
            "camera": self._camera,
            "outcome": self._outcome,
            "folder": self._folder,
        }
        try:
            exact, values = choices_of[name]()
        except QueryOptionInvalid:  # the facet contradicts the other filters
            return Facet(name, exact=True, values=(), default=None, more=0)
        default = None
        if name == "outcome" and (counted := self._counted_with(None)) is not None:
            exact, default = exact and counted[0], counted[1]
        more = max(0, len(values) - MOST_VALUES)
        return Facet(name, exact, tuple(values[:MOST_VALUES]), default, more)

    def counted(self, query: PhotoQuery) -> tuple[bool, int]:
        if matches := self.read.get((query, None)):
            return matches.exact, len({photo.unit for photo in matches.photos})
        selected, unit, exact, _ = self._select(query, None)
        statement = selected.with_only_columns(
            func.count(unit.distinct()), maintain_column_froms=True
        )
        return exact, self.connection.scalar(statement) or 0

    # ----- the choices of each facet -----

    def _landmark(self) -> _Choices:
        replace(
            self.query, landmark=("any",)
        )  # raises if another option contradicts it
        matches = self._matches(replace(self.query, landmark=()), "landmark")
        self._read_landmarks(matches)
        numbers = _count_units(
            (landmark_id, photo.unit)
            for photo in matches.photos
            for landmark_id in self.landmarks_of[photo.content_id]
            if matches.shows_there(photo, landmark_id)
        )
        # Some may have been removed in the meantime.
        known = landmarks_by_id(self.connection, numbers).values()
        return matches.exact, _most_first(
            FacetValue(landmark.slug, landmark.display_name, numbers[landmark.id])
            for landmark in known
        )

    def _country(self) -> _Choices:
        replace(self.query, country=("any",))  # as above
        matches = self._matches(replace(self.query, country=()), "place")
        self._read_landmarks(matches)
        landmark_ids = self._resolved(self.query).landmark_ids
        known = landmarks_by_id(
            self.connection,
            landmark_ids or set().union(*self.landmarks_of.values()),
        )
        country_of = {key: landmark.country for key, landmark in known.items()}
        units = set[tuple[str, int]]()
        for photo in matches.photos:
            shown = map(country_of.get, self.landmarks_of[photo.content_id])
            units.update(
                (country, photo.unit) for country in (photo.country, *shown) if country
            )
        return matches.exact, _most_first_names(_count_units(units))

    def _thing(self) -> _Choices:
        # A photo shows all things of a query, so those that are chosen stay.
        matches = self._matches(self.query)
        units_of = defaultdict[int, set[int]](set)
        for photo in matches.photos:
            if photo.content_id is not None:
                units_of[photo.content_id].add(photo.unit)
        shown = kinds_of_images(self.connection, sorted(units_of))
        numbers = _count_units(
            (slug, unit) for content_id, slug in shown for unit in units_of[content_id]
        )
        names = all_things(self.connection) if numbers else {}
        return matches.exact, _most_first(
            FacetValue(slug, names[slug].display_name, number)
            for slug, number in numbers.items()
        )

    def _year(self) -> _Choices:
        matches = self._matches(replace(self.query, year=()))
        numbers = _count_units(
            (photo.year, photo.unit)
            for photo in matches.photos
            if photo.year is not None
        )
        years = sorted(numbers, reverse=True)
        return matches.exact, [FacetValue(year, year, numbers[year]) for year in years]

    def _camera(self) -> _Choices:
        matches = self._matches(replace(self.query, camera=()))
        numbers = _count_units(
            (photo.camera_id, photo.unit) for photo in matches.photos
        )
        return matches.exact, _most_first_names(
            {
                name: sum(numbers[id_] for id_ in camera_ids)
                for name, camera_ids in camera_models(self.connection).items()
            }
        )

    def _outcome(self) -> _Choices:
        # Count the photos of each outcome, except those that other options contradict.
        is_exact = True
        values = []
        for outcome in OUTCOMES:
            if counted := self._counted_with(outcome):
                is_exact = is_exact and counted[0]
                values.append(FacetValue(outcome, outcome, counted[1]))
        return is_exact, [value for value in values if value.photos]

    def _counted_with(self, outcome: str | None) -> tuple[bool, int] | None:
        # The photos of an outcome, counted; None if other options contradict it.
        options: dict[str, Any] = {name: name == outcome for name in OUTCOMES}
        try:
            return self.counted(replace(self.query, **options))
        except QueryOptionInvalid:
            return None

    def _folder(self) -> _Choices:
        matches = self._matches(replace(self.query, under=()))
        roots = list_roots(self.connection, self.root_paths)
        values = []
        # A single root is no choice, unless it was chosen; its folders are.
        is_only = len(roots) == 1
        if not is_only or roots[0].folder in self.query.under:
            numbers = _count_units(
                (photo.root_id, photo.unit) for photo in matches.photos
            )
            with_folders = {
                photo.root_id for photo in matches.photos if "/" in photo.path
            }
            values += [
                FacetValue(
                    str(root.folder),
                    root.name,
                    numbers[root.id],
                    root.id in with_folders,
                )
                for root in roots
                if root.id in numbers
            ]
        for root in roots:
            # Sub-folders are choices in the folders of the query, and in those around them.
            open_folders = {""} if is_only else set()
            for path in self.query.under:
                if path.is_relative_to(root.folder):
                    text, _ = path_text(path.relative_to(root.folder))
                    names = [] if text == "." else text.split("/")
                    open_folders.update(
                        accumulate((f"{name}/" for name in names), initial="")
                    )
            for folder in sorted(open_folders):
                values += _subfolders(matches, root, folder)
        return matches.exact, values

    # ----- queries -----

    def _resolved(
        self, query: PhotoQuery, added: AddedOption | None = None
    ) -> ResolvedQuery:
        # Only sorted results are selected in SQL alone. Copies are counted by their unit.
        exact = replace(query, sort="newest", distinct=False)
        return replace(
            ResolvedQuery.resolve(self.connection, exact, self.root_paths),
            added=added,
        )

    def _select(
        self,
        query: PhotoQuery,
        added: AddedOption | None,
    ) -> tuple[Select[Any], ColumnElement[int], bool, Sequence[Area]]:
        # The photos of a query with an added option, their unit, whether these are all, and its areas.
        resolved = self._resolved(query, added)
        narrowest, exact = resolved.narrowest(self.connection, MOST_READ)
        if narrowest is not None and exact:
            is_read = narrowest.among
        else:
            # As a number: PostgreSQL would expect a third of all photos after what a subquery finds.
            last = self.connection.scalar(select(func.max(photos.c.id))) or 0
            is_read = photos.c.id > last - MOST_READ
        unit = IMAGE if counts_copies_once(query) else photos.c.id
        conditions = resolved.conditions()
        if resolved.areas:
            conditions = tuple(map(looked_up, conditions))
        return select_photos().where(is_read, *conditions), unit, exact, resolved.areas

    def _matches(self, query: PhotoQuery, added: AddedOption | None = None) -> _Matches:
        # The photos of a query, to which an option of this kind will be added.
        if added == "landmark":
            # Mostly, all photos of the query that have a landmark are selected without the option, too.
            plain = self._resolved(query)
            if (
                plain.needs_accepted_tag
                == replace(plain, added=added).needs_accepted_tag
            ):
                added = None
        if (query, added) not in self.read:
            selected, unit, exact, areas = self._select(query, added)
            columns = (
                unit.label("unit"),
                photos.c.content_id,
                photos.c.camera_id,
                photos.c.root_id,
                photos.c.path,
                photos.c.path_bytes,
                year_of(photos.c.taken_at).label("year"),
                positions.c.country,
                *(case((area.has_position, true()), else_=false()) for area in areas),
            )
            rows = self.connection.execute(
                selected.with_only_columns(*columns, maintain_column_froms=True)
            ).all()
            self.read[query, added] = _Matches(rows, exact, areas)
        return self.read[query, added]

    def _read_landmarks(self, matches: _Matches) -> None:
        # Read the landmarks of each image.
        new = {photo.content_id for photo in matches.photos} - self.landmarks_of.keys()
        self.landmarks_of.update((content_id, []) for content_id in new)
        shown = shown_landmarks(
            sorted(new - {None}),
            min_score=self.query.min_score,
            any_rank=self.query.any_rank,
        )
        for content_id, landmark_id in self.connection.execute(shown).all():
            self.landmarks_of[content_id].append(landmark_id)


def _subfolders(matches: _Matches, root: Root, folder: str) -> Iterator[FacetValue]:
    # The folders in a folder, which ends with a slash, or is empty for the root itself.
    units = set[tuple[str, int]]()
    with_folders = set[str]()
    for photo in matches.photos:
        if (
            photo.root_id == root.id
            and photo.path.startswith(folder)
            and not photo.path_bytes
        ):
            name, *rest = photo.path[len(folder) :].split("/", 2)
            if rest:
                units.add((name, photo.unit))
            if len(rest) > 1:
                with_folders.add(name)
    numbers = _count_units(units)
    for name in sorted(numbers):
        path = str(root.folder / folder / name)
        yield FacetValue(path, name, numbers[name], name in with_folders)


def _count_units(pairs: Iterable[tuple[_Key, int]]) -> Counter[_Key]:
    # The number of different units of each choice.
    return Counter(choice for choice, _ in set(pairs))


def _most_first_names(numbers: Mapping[str, int]) -> list[FacetValue]:
    return _most_first(
        FacetValue(name, name, number) for name, number in numbers.items()
    )


def _most_first(values: Iterable[FacetValue]) -> list[FacetValue]:
    return sorted(
        (value for value in values if value.photos),
        key=lambda value: (-value.photos, value.name),
    )
