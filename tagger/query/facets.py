"""How many photos each choice of a filter leaves, together with all other filters of a query; reads only.

A choice has the number of a query with it; where that reads too many photos, of those added last.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, get_args

from sqlalchemy import ColumnElement, Connection, Row, Select, case, false, func, select, true

from tagger.cameras import camera_models
from tagger.database.connection import Database
from tagger.database.statements import looked_up, year_of
from tagger.database.tables import photos, positions
from tagger.errors import QueryOptionInvalid
from tagger.landmarks.landmarks import landmarks_by_id
from tagger.photos.paths import path_text
from tagger.query.areas import Area
from tagger.query.filters import AddedOption, ResolvedQuery, counts_copies_once
from tagger.query.options import PhotoQuery
from tagger.query.photo_conditions import IMAGE, shown_landmarks
from tagger.query.tagged_photos import select_photos
from tagger.roots.roots import Root, RootPaths, list_roots

_Key = TypeVar("_Key")

# A query that reads more photos is counted among as many that were added last.
MOST_READ = 50_000
# Choices of a facet, the most frequent ones.
MOST_VALUES = 200

FacetName = Literal["landmark", "country", "year", "camera", "outcome", "folder"]
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
    most_read: int = MOST_READ,
) -> list[Facet]:
    """The facets of `query` with these names. Folders are the outermost ones, and those in the query's.

    Raises:
        NotFound, LandmarkAmbiguous: a name is not in the database, or that of several.
    """
    with database.read() as connection:
        plain = replace(query, limit=None)
        counts = _FacetCounts(connection, plain, root_paths or {}, most_read)
        return [counts.facet(name) for name in names]


def count_photos(
    database: Database, queries: Iterable[PhotoQuery], root_paths: RootPaths
) -> list[tuple[bool, int]]:
    """Whether the number of photos of each query is exact, and the number."""
    with database.read() as connection:
        counts = _FacetCounts(connection, PhotoQuery(), root_paths, MOST_READ)
        return [counts.counted(query) for query in queries]


# The first of the columns that say whether a position is in each area.
_INSIDE = 8


@dataclass(frozen=True)
class _Matches:
    """The photos of a query with these areas; if not exact, there are more. Each `unit` counts once."""

    photos: Sequence[Row[Any]]
    exact: bool
    areas: Sequence[Area]


@dataclass(frozen=True)
class _FacetCounts:
    connection: Connection
    query: PhotoQuery
    root_paths: RootPaths
    most_read: int
    # What was read: all facets without a choice count the same photos.
    read: dict[tuple[PhotoQuery, AddedOption | None], _Matches] = field(default_factory=dict)
    # The landmarks of images, of which facets have many in common.
    landmarks_of: dict[int | None, list[int]] = field(default_factory=dict)

    def facet(self, name: FacetName) -> Facet:
        """Count the choices of a facet."""
        count: Mapping[FacetName, Callable[[], tuple[bool, Iterable[FacetValue]]]] = {
            "landmark": self._landmark,
            "country": self._country,
            "year": self._year,
            "camera": self._camera,
            "outcome": self._outcome,
            "folder": self._folder,
        }
        try:
            exact, values = count[name]()
        except QueryOptionInvalid:  # the facet cannot be combined with the other filters
            return Facet(name, exact=True, values=(), default=None, more=0)
        default = self._counted_with(None) if name == "outcome" else None
        is_exact = exact and (default is None or default[0])
        found = tuple(values)
        more = max(0, len(found) - MOST_VALUES)
        return Facet(name, is_exact, found[:MOST_VALUES], default and default[1], more)

    def _landmark(self) -> tuple[bool, Iterable[FacetValue]]:
        replace(self.query, landmark=("any",))  # raises if the query contradicts it
        matches = self._matches(replace(self.query, landmark=()), "landmark")
        landmarks_of = self._landmarks_of(matches)
        counts = _numbers(
            (id_, photo.unit)
            for photo in matches.photos
            for id_ in landmarks_of[photo.content_id]
            if not matches.areas or _shows_there(id_, photo[_INSIDE:], matches.areas)
        )
        known = landmarks_by_id(self.connection, counts)
        values = (
            FacetValue(known[id_].slug, known[id_].display_name, count)
            for id_, count in counts.items()
            if id_ in known  # others were removed in the meantime
        )
        return matches.exact, _most_first(values)

    def _country(self) -> tuple[bool, Iterable[FacetValue]]:
        replace(self.query, country=("any",))  # as above
        matches = self._matches(replace(self.query, country=()), "place")
        landmarks_of = self._landmarks_of(matches)
        chosen = self._resolved(self.query).landmark_ids or set().union(*landmarks_of.values())
        countries = {
            id_: each.country for id_, each in landmarks_by_id(self.connection, chosen).items()
        }
        counts = _numbers(
            (country, photo.unit)
            for photo in matches.photos
            for country in (photo.country, *map(countries.get, landmarks_of[photo.content_id]))
            if country is not None
        )
        return matches.exact, _most_first(
            FacetValue(name, name, count) for name, count in counts.items()
        )

    def _year(self) -> tuple[bool, Iterable[FacetValue]]:
        matches = self._matches(replace(self.query, year=()))
        counts = _numbers(
            (photo.year, photo.unit) for photo in matches.photos if photo.year is not None
        )
        return matches.exact, [
            FacetValue(year, year, counts[year]) for year in sorted(counts, reverse=True)
        ]

    def _camera(self) -> tuple[bool, Iterable[FacetValue]]:
        matches = self._matches(replace(self.query, camera=()))
        counts = _numbers((photo.camera_id, photo.unit) for photo in matches.photos)
        models = camera_models(self.connection)
        found = ((name, sum(counts[id_] for id_ in ids)) for name, ids in models.items())
        return matches.exact, _most_first(FacetValue(name, name, count) for name, count in found)

    def _outcome(self) -> tuple[bool, Iterable[FacetValue]]:
        """Count the photos of each outcome, except those that other options contradict."""
        chosen = {name: self._counted_with(name) for name in OUTCOMES}
        found = {name: counted for name, counted in chosen.items() if counted}
        values = [FacetValue(name, name, count) for name, (_, count) in found.items() if count]
        return all(exact for exact, _ in found.values()), values

    def _counted_with(self, outcome: str | None) -> tuple[bool, int] | None:
        """The photos of an outcome, counted; None if other options contradict it."""
        options: dict[str, Any] = {name: name == outcome for name in OUTCOMES}
        try:
            return self.counted(replace(self.query, **options))
        except QueryOptionInvalid:
            return None

    def _folder(self) -> tuple[bool, Iterable[FacetValue]]:
        matches = self._matches(replace(self.query, under=()))
        roots = list_roots(self.connection, self.root_paths)
        is_only = (
            len(roots) == 1
        )  # a single root is no choice, unless it was chosen; its folders are
        lists_roots = not is_only or roots[0].folder in self.query.under
        outermost = self._root_values(matches, roots) if lists_roots else ()
        starts = [
            (root, start) for root in roots for start in self._open_folders(root, is_only=is_only)
        ]
        inside = (value for start in starts for value in self._subfolders(matches, *start))
        return matches.exact, (*outermost, *inside)

    def counted(self, query: PhotoQuery) -> tuple[bool, int]:
        """Whether the number of photos is exact, and the number."""
        if read := self.read.get((query, None)):
            return read.exact, len({photo.unit for photo in read.photos})
        selected, unit, exact, _ = self._select(query, None)
        number = func.count(unit.distinct())
        counted = selected.with_only_columns(number, maintain_column_froms=True)
        return exact, self.connection.scalar(counted) or 0

    def _open_folders(self, root: Root, *, is_only: bool) -> list[str]:
        """The folders of a root whose sub-folders are choices: those of the query and around them."""
        found = {""} if is_only else set()
        for path in self.query.under:
            if path.is_relative_to(root.folder):
                text, _ = path_text(path.relative_to(root.folder))
                parts = [] if text == "." else text.split("/")
                found |= {
                    "".join(f"{part}/" for part in parts[:depth]) for depth in range(len(parts) + 1)
                }
        return sorted(found)

    def _root_values(self, matches: _Matches, roots: Iterable[Root]) -> Iterator[FacetValue]:
        counts = _numbers((photo.root_id, photo.unit) for photo in matches.photos)
        with_folders = {photo.root_id for photo in matches.photos if "/" in photo.path}
        for root in roots:
            if root.id in counts:
                yield FacetValue(
                    str(root.folder), root.name, counts[root.id], root.id in with_folders
                )

    def _subfolders(self, matches: _Matches, root: Root, folder: str) -> Iterator[FacetValue]:
        inside = [
            (photo.path[len(folder) :].split("/", 2), photo.unit)
            for photo in matches.photos
            if photo.root_id == root.id and photo.path.startswith(folder) and not photo.path_bytes
        ]
        counts = _numbers((parts[0], unit) for parts, unit in inside if len(parts) > 1)
        with_folders = {parts[0] for parts, _ in inside if len(parts) > _DEPTH}
        for name in sorted(counts):
            yield FacetValue(
                str(root.folder / folder / name), name, counts[name], name in with_folders
            )

    # ----- queries -----

    def _resolved(self, query: PhotoQuery, added: AddedOption | None = None) -> ResolvedQuery:
        # Only sorted results are selected in SQL alone. Copies are counted by their unit.
        exact = replace(query, sort="newest", distinct=False)
        return replace(ResolvedQuery.resolve(self.connection, exact, self.root_paths), added=added)

    def _select(
        self, query: PhotoQuery, added: AddedOption | None
    ) -> tuple[Select[Any], ColumnElement[int], bool, Sequence[Area]]:
        """The photos of a query with an added option, their unit, whether these are all, and its areas."""
        resolved = self._resolved(query, added)
        narrowest, exact = resolved.narrowest(self.connection, self.most_read)
        # As a number: PostgreSQL would expect a third of all photos after what a subquery finds.
        newest = (self.connection.scalar(select(func.max(photos.c.id))) or 0) - self.most_read
        among = narrowest.among if narrowest is not None and exact else photos.c.id > newest
        unit = IMAGE if counts_copies_once(query) else photos.c.id
        conditions = resolved.conditions()
        if resolved.areas:
            conditions = tuple(map(looked_up, conditions))
        return select_photos().where(among, *conditions), unit, exact, resolved.areas

    def _matches(self, query: PhotoQuery, added: AddedOption | None = None) -> _Matches:
        """The photos of a query, to which an option of this kind will be added."""
        if added == "landmark" and self._selects_same(query, added):
            added = None
        if (query, added) not in self.read:
            selected, unit, exact, areas = self._select(query, added)
            columns = ("content_id", "camera_id", "root_id", "path", "path_bytes")
            year = year_of(photos.c.taken_at).label("year")
            every = (
                unit.label("unit"),
                *(photos.c[name] for name in columns),
                year,
                positions.c.country,
            )
            inside = (case((area.has_position, true()), else_=false()) for area in areas)
            found = selected.with_only_columns(*every, *inside, maintain_column_froms=True)
            self.read[query, added] = _Matches(self.connection.execute(found).all(), exact, areas)
        return self.read[query, added]

    def _selects_same(self, query: PhotoQuery, added: AddedOption) -> bool:
        """Whether all photos of the query that have a landmark are selected without the option, too."""
        plain = self._resolved(query)
        return plain.needs_accepted_tag == replace(plain, added=added).needs_accepted_tag

    def _landmarks_of(self, matches: _Matches) -> Mapping[int | None, Sequence[int]]:
        """The landmarks of each image."""
        new = {photo.content_id for photo in matches.photos} - self.landmarks_of.keys()
        ids = sorted(id_ for id_ in new if id_ is not None)
        shown = shown_landmarks(ids, min_score=self.query.min_score, any_rank=self.query.any_rank)
        self.landmarks_of.update((id_, []) for id_ in new)
        for content_id, landmark_id in self.connection.execute(shown).all():
            self.landmarks_of[content_id].append(landmark_id)
        return self.landmarks_of


# The parts of the path of a photo in a folder.
_DEPTH = 2


def _shows_there(landmark_id: int, inside: Sequence[bool], areas: Sequence[Area]) -> bool:
    """Whether it counts in all areas. A photo that is in one by a landmark alone shows no other there."""
    pairs = zip(areas, inside, strict=True)
    return all(is_inside or landmark_id in area.landmarks for area, is_inside in pairs)


def _numbers(pairs: Iterable[tuple[_Key, int]]) -> Counter[_Key]:
    """The number of different units of each choice."""
    return Counter(key for key, _ in set(pairs))


def _most_first(values: Iterable[FacetValue]) -> list[FacetValue]:
    return sorted(
        (value for value in values if value.photos), key=lambda value: (-value.photos, value.name)
    )
