"""How many photos each choice of a filter leaves, together with all other filters of a query; reads only.

A choice has the same number as a query with it. Where a query reads too many photos, only those added last are counted: the numbers are lower bounds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    case,
    false,
    func,
    null,
    or_,
    select,
    true,
)

from tagger.catalog.cameras import camera_models
from tagger.catalog.roots import Root, RootPaths, list_roots
from tagger.database.connection import Database
from tagger.database.statements import among, first_part, year_of
from tagger.database.tables import landmarks, photos, positions
from tagger.errors import QueryOptionInvalid
from tagger.landmarks.landmarks import landmarks_by_id
from tagger.photos.paths import path_text
from tagger.query.areas import Area
from tagger.query.filters import AddedOption, ResolvedQuery
from tagger.query.options import PhotoQuery
from tagger.query.photo_conditions import Condition, shown_landmarks
from tagger.query.tagged_photos import select_photos

MOST_READ = 50_000
"""A query that reads more photos is counted among as many that were added last."""
MOST_VALUES = 200
"""Choices of a facet, the most frequent ones."""

FacetName = Literal["landmark", "country", "year", "camera", "outcome", "folder"]
FACETS: tuple[FacetName, ...] = get_args(FacetName)
OUTCOMES = ("favourite", "any_rank", "unknown", "untagged", "failed", "dismissed")
"""Options that select photos by outcome; at most one of them is set."""


@dataclass(frozen=True)
class FacetValue:
    """A choice: its text as an option, its name, and its number of photos; of a facet that is not exact, at least as many.

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
    `default`: for outcomes, the number of photos if none is chosen; None for other filters, and where the query needs an outcome.
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
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound, TripNotFound, CameraNotFound: a name is not in the database.
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


@dataclass(frozen=True)
class _Matches:
    """The photos of a query as a table: id, content_id, camera_id, root_id, path, taken_at, country, and `unit`, which is
    the same for photos that count once. `areas`: those of the query, each with the column that says whether the position is inside.
    """

    rows: Any
    exact: bool
    areas: Sequence[tuple[str, Area]]


@dataclass(frozen=True)
class _FacetCounts:
    connection: Connection
    query: PhotoQuery
    root_paths: RootPaths
    most_read: int

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
        pairs = self._landmark_pairs(matches).subquery()
        # A photo that is in an area by a landmark alone shows no other landmark there.
        located = (
            or_(among(pairs.c.landmark_id, area.landmarks), pairs.c[name]) for name, area in matches.areas
        )
        counts = self._counts(
            select(pairs.c.landmark_id, func.count(pairs.c.unit.distinct()))
            .where(*located)
            .group_by(pairs.c.landmark_id)
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
        rows = matches.rows
        located = select(rows.c.unit, rows.c.country).where(rows.c.country.is_not(None))
        shown = self._landmark_pairs(matches).subquery()
        of_landmarks = (
            select(shown.c.unit, landmarks.c.country)
            .join(landmarks, landmarks.c.id == shown.c.landmark_id)
            .where(landmarks.c.country.is_not(None))
        )
        if self.query.landmark:
            of_landmarks = of_landmarks.where(landmarks.c.id.in_(self._resolved(self.query).landmark_ids))
        pairs = located.union(of_landmarks).subquery()
        counts = self._counts(select(pairs.c.country, func.count()).group_by(pairs.c.country))
        return matches.exact, _most_first(FacetValue(name, name, count) for name, count in counts.items())

    def _year(self) -> tuple[bool, Iterable[FacetValue]]:
        matches = self._matches(replace(self.query, year=()))
        counts = self._grouped(matches, year_of(matches.rows.c.taken_at))
        years = sorted((year for year in counts if year is not None), reverse=True)
        return matches.exact, [FacetValue(year, year, counts[year]) for year in years]

    def _camera(self) -> tuple[bool, Iterable[FacetValue]]:
        matches = self._matches(replace(self.query, camera=()))
        counts = self._grouped(matches, matches.rows.c.camera_id)
        models = camera_models(self.connection)
        found = ((name, sum(counts.get(id_, 0) for id_ in ids)) for name, ids in models.items())
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
        is_only = len(roots) == 1  # a single root is no choice, unless it was chosen; its folders are
        lists_roots = not is_only or roots[0].folder in self.query.under
        outermost: Iterable[FacetValue] = self._root_values(matches, roots) if lists_roots else ()
        starts = [(root, start) for root in roots for start in self._open_folders(root, is_only=is_only)]
        inside = (value for start in starts for value in self._subfolders(matches, *start))
        return matches.exact, (*outermost, *inside)

    def counted(self, query: PhotoQuery) -> tuple[bool, int]:
        """Whether the number of photos is exact, and the number."""
        matches = self._matches(query)
        return matches.exact, self._counts(select(null(), func.count(matches.rows.c.unit.distinct())))[None]

    def _open_folders(self, root: Root, *, is_only: bool) -> list[str]:
        """The folders of a root whose sub-folders are choices: those of the query, and those that these are in."""
        found = {""} if is_only else set()
        for path in self.query.under:
            if path.is_relative_to(root.folder):
                text, _ = path_text(path.relative_to(root.folder))
                parts = [] if text == "." else text.split("/")
                found |= {"".join(f"{part}/" for part in parts[:depth]) for depth in range(len(parts) + 1)}
        return sorted(found)

    def _root_values(self, matches: _Matches, roots: Iterable[Root]) -> Iterator[FacetValue]:
        rows = matches.rows
        found = {
            each[0]: each[1:] for each in self._folder_rows(matches, rows.c.root_id, rows.c.path.like("%/%"))
        }
        for root in roots:
            if root.id in found:
                yield FacetValue(str(root.folder), root.name, *found[root.id])

    def _subfolders(self, matches: _Matches, root: Root, folder: str) -> Iterator[FacetValue]:
        rows = matches.rows
        rest = func.substr(rows.c.path, len(folder) + 1)
        inside = rows.c.root_id == root.id, rows.c.path >= folder, rows.c.path_bytes == b""
        before = () if not folder else (rows.c.path < folder[:-1] + chr(ord("/") + 1),)
        found = self._folder_rows(matches, first_part(rest), rest.like("%/%/%"), *inside, *before)
        for name, number, has_folders in sorted(found):
            if name:
                yield FacetValue(str(root.folder / folder / name), name, number, has_folders)

    # ----- queries -----

    def _resolved(self, query: PhotoQuery, added: AddedOption | None = None) -> ResolvedQuery:
        # Only sorted results are selected in SQL alone. Copies are counted by their unit.
        exact = replace(query, sort="newest", distinct=False)
        return replace(ResolvedQuery.resolve(self.connection, exact, self.root_paths), added=added)

    def _matches(self, query: PhotoQuery, added: AddedOption | None = None) -> _Matches:
        """The photos of a query, to which an option of this kind will be added."""
        resolved = self._resolved(query, added)
        narrowest, exact = resolved.narrowest(self.connection, self.most_read)
        newest = func.coalesce(select(func.max(photos.c.id)).scalar_subquery(), 0) - self.most_read
        among = narrowest.among if narrowest is not None and exact else photos.c.id > newest
        is_once = query.distinct and not resolved.copies_may_differ
        unit = func.coalesce(photos.c.content_id, -photos.c.id) if is_once else photos.c.id
        columns = ("id", "content_id", "camera_id", "root_id", "path", "path_bytes", "taken_at")
        selected = select_photos().with_only_columns(
            *(photos.c[name] for name in columns),
            positions.c.country,
            unit.label("unit"),
            maintain_column_froms=True,
        )
        inside = [
            case((area.has_position, true()), else_=false()).label(f"inside_{n}")
            for n, area in enumerate(resolved.areas)
        ]
        areas = tuple((f"inside_{n}", area) for n, area in enumerate(resolved.areas))
        selected = selected.add_columns(*inside)
        return _Matches(selected.where(among, *resolved.conditions()).cte("matches"), exact, areas)

    def _landmark_pairs(self, matches: _Matches) -> CompoundSelect[Any]:
        """Each unit with each of its landmarks."""
        inside = [matches.rows.c[name] for name, _ in matches.areas]
        return shown_landmarks(
            matches.rows, inside, min_score=self.query.min_score, any_rank=self.query.any_rank
        )

    def _folder_rows(
        self, matches: _Matches, folder: ColumnElement[Any], is_deeper: Condition, *conditions: Condition
    ) -> list[tuple[Any, int, bool]]:
        """Each folder with its number of photos, and whether one of these is in a folder inside."""
        number = func.count(matches.rows.c.unit.distinct())
        deepest = func.max(case((is_deeper, 1), else_=0))
        rows = self.connection.execute(select(folder, number, deepest).where(*conditions).group_by(folder))
        return [(row[0], row[1], bool(row[2])) for row in rows]

    def _grouped(self, matches: _Matches, key: Any) -> Mapping[Any, int]:
        return self._counts(select(key, func.count(matches.rows.c.unit.distinct())).group_by(key))

    def _counts(self, query: Select[Any, int]) -> Mapping[Any, int]:
        return {row[0]: row[1] for row in self.connection.execute(query)}


def _most_first(values: Iterable[FacetValue]) -> list[FacetValue]:
    return sorted((value for value in values if value.photos), key=lambda value: (-value.photos, value.name))
