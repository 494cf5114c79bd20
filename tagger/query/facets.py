"""How many photos each choice of a filter leaves, together with all other filters of a query; reads only.

A choice has the same number as a query with it. Where a query reads too many photos, only the newest are counted: there are more.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from sqlalchemy import CompoundSelect, Connection, Select, case, false, func, null, or_, select, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Text

from tagger.catalog.cameras import camera_models
from tagger.catalog.landmarks import all_landmarks
from tagger.catalog.roots import Root, RootPaths, list_roots
from tagger.database.connection import Database
from tagger.database.tables import landmarks, photos, positions
from tagger.errors import QueryOptionInvalid
from tagger.photos import path_text
from tagger.query.areas import Area
from tagger.query.filters import Adding, ResolvedQuery, ScanRole
from tagger.query.options import PhotoQuery, PositionOption, VerdictOption, refuse_contradictions
from tagger.query.plans import ids_of_scans, scan_plans, scans_size, smallest_plan
from tagger.query.tag_conditions import shown_landmarks
from tagger.query.tagged_photos import select_photos

MOST_READ = 50_000
"""A query that reads more photos is counted among as many of the newest ones."""
MOST_VALUES = 200
"""Choices of a facet, the most frequent ones."""

FacetName = Literal["landmark", "country", "year", "camera", "position", "outcome", "verdict", "folder"]
OUTCOMES = ("any_rank", "unknown", "untagged", "dismissed")
"""Options that select photos by outcome; at most one of them is set."""


@dataclass(frozen=True)
class FacetValue:
    """A choice: its text as an option, its name, and its number of photos; of a facet that is not exact, at least as many."""

    value: str
    name: str
    photos: int


@dataclass(frozen=True)
class Facet:
    """The choices of a filter that have photos: years and folders in order, others with most photos first."""

    facet: FacetName
    exact: bool
    values: tuple[FacetValue, ...]


def count_facets(
    database: Database, query: PhotoQuery, root_paths: RootPaths | None = None, *, most_read: int = MOST_READ
) -> list[Facet]:
    """The facets of `query`. Near a position, photos a little further away count too, as in `timeline_sections`.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound, TripNotFound, CameraNotFound: a name is not in the database.
    """
    with database.read() as connection:
        counts = _FacetCounts(connection, replace(query, limit=None), root_paths or {}, most_read)
        return [counts.facet(name) for name in get_args(FacetName)]


@dataclass(frozen=True)
class _Matches:
    """The photos of a query as a table: id, content_id, camera_id, root_id, path, taken_at, source, country, and `unit`, which is
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
        try:
            exact, values = getattr(self, f"_{name}")()
        except QueryOptionInvalid:  # the facet cannot be combined with the other filters
            return Facet(name, True, ())
        return Facet(name, exact, tuple(values)[:MOST_VALUES])

    def _landmark(self) -> tuple[bool, Iterable[FacetValue]]:
        refuse_contradictions(replace(self.query, landmark="any"))
        matches = self._matches(replace(self.query, landmark=None), "landmark")
        pairs = self._landmark_pairs(matches).subquery()
        # A photo that is in an area by a landmark alone shows no other landmark there.
        located = (
            or_(pairs.c.landmark_id.in_(area.landmarks), pairs.c[name]) for name, area in matches.areas
        )
        counts = self._counts(
            select(pairs.c.landmark_id, func.count(pairs.c.unit.distinct()))
            .where(*located)
            .group_by(pairs.c.landmark_id)
        )
        known = {landmark.id: landmark for landmark in all_landmarks(self.connection)}
        values = (
            FacetValue(known[id_].slug, known[id_].display_name, count) for id_, count in counts.items()
        )
        return matches.exact, _most_first(values)

    def _country(self) -> tuple[bool, Iterable[FacetValue]]:
        refuse_contradictions(replace(self.query, country="any"))
        matches = self._matches(replace(self.query, country=None), "place")
        rows = matches.rows
        located = select(rows.c.unit, rows.c.country).where(rows.c.country.is_not(None))
        shown = self._landmark_pairs(matches).subquery()
        of_landmarks = (
            select(shown.c.unit, landmarks.c.country)
            .join(landmarks, landmarks.c.id == shown.c.landmark_id)
            .where(landmarks.c.country.is_not(None))
        )
        if self.query.landmark is not None:
            of_landmarks = of_landmarks.where(landmarks.c.id == self._resolved(self.query).landmark_id)
        pairs = located.union(of_landmarks).subquery()
        counts = self._counts(select(pairs.c.country, func.count()).group_by(pairs.c.country))
        return matches.exact, _most_first(FacetValue(name, name, count) for name, count in counts.items())

    def _year(self) -> tuple[bool, Iterable[FacetValue]]:
        matches = self._matches(replace(self.query, taken_after=None, taken_before=None))
        counts = self._grouped(matches, year_of(matches.rows.c.taken_at))
        years = sorted((year for year in counts if year is not None), reverse=True)
        return matches.exact, [FacetValue(year, year, counts[year]) for year in years]

    def _camera(self) -> tuple[bool, Iterable[FacetValue]]:
        matches = self._matches(replace(self.query, camera=()))
        counts = self._grouped(matches, matches.rows.c.camera_id)
        models = camera_models(self.connection)
        found = ((name, sum(counts.get(id_, 0) for id_ in ids)) for name, ids in models.items())
        return matches.exact, _most_first(FacetValue(name, name, count) for name, count in found)

    def _position(self) -> tuple[bool, Iterable[FacetValue]]:
        refuse_contradictions(replace(self.query, position="any"))
        matches = self._matches(replace(self.query, position=None), "place")
        counts = Counter(self._grouped(matches, matches.rows.c.source))
        counts["none"] = counts.pop(None, 0)
        counts["any"] = counts.total() - counts["none"]
        return matches.exact, _with_photos(get_args(PositionOption), counts)

    def _outcome(self) -> tuple[bool, Iterable[FacetValue]]:
        plain: dict[str, Any] = dict.fromkeys(OUTCOMES, False)
        return self._alternatives({name: plain | {name: True} for name in OUTCOMES})

    def _verdict(self) -> tuple[bool, Iterable[FacetValue]]:
        return self._alternatives({name: {"verdict": name} for name in get_args(VerdictOption)})

    def _folder(self) -> tuple[bool, Iterable[FacetValue]]:
        matches = self._matches(replace(self.query, under=()))
        roots = list_roots(self.connection, self.root_paths)
        if self.query.under or len(roots) == 1:
            starts = (start for root in roots for start in self._open_folders(root))
            return matches.exact, [value for start in starts for value in self._subfolders(matches, *start)]
        counts = self._grouped(matches, matches.rows.c.root_id)
        return matches.exact, [
            FacetValue(str(root.folder), root.name, counts[root.id]) for root in roots if root.id in counts
        ]

    def _alternatives(
        self, alternatives: Mapping[str, Mapping[str, Any]]
    ) -> tuple[bool, Iterable[FacetValue]]:
        """Count the query with each of these options, except those that contradict others."""
        counts, exact = {}, True
        for name, options in alternatives.items():
            query = replace(self.query, **options)
            try:
                refuse_contradictions(query)
            except QueryOptionInvalid:
                continue
            matches = self._matches(query)
            counts[name] = self._counts(select(null(), func.count(matches.rows.c.unit.distinct())))[None]
            exact = exact and matches.exact
        return exact, _with_photos(alternatives, counts)

    def _open_folders(self, root: Root) -> Iterator[tuple[Root, str]]:
        """The folders of a root whose sub-folders are choices: that of the query and those that it is in."""
        inside = [path for path in self.query.under if path.is_relative_to(root.folder)]
        if not self.query.under:
            yield root, ""
        for path in inside[:1]:
            text, _ = path_text(path.relative_to(root.folder))
            parts = [] if text == "." else text.split("/")
            yield from (
                (root, "".join(f"{part}/" for part in parts[:depth])) for depth in range(len(parts) + 1)
            )

    def _subfolders(self, matches: _Matches, root: Root, folder: str) -> Iterator[FacetValue]:
        rows = matches.rows
        child = first_part(func.substr(rows.c.path, len(folder) + 1))
        inside = rows.c.root_id == root.id, rows.c.path >= folder, rows.c.path_bytes == b""
        before = () if not folder else (rows.c.path < folder[:-1] + chr(ord("/") + 1),)
        counts = self._counts(
            select(child, func.count(rows.c.unit.distinct())).where(*inside, *before).group_by(child)
        )
        for name in sorted(name for name in counts if name):
            yield FacetValue(str(root.folder / folder / name), name, counts[name])

    # ----- queries -----

    def _resolved(self, query: PhotoQuery, adding: Adding | None = None) -> ResolvedQuery:
        # Only sorted results are selected in SQL alone. Copies are counted by their unit.
        exact = replace(query, sort="newest", distinct=False)
        return replace(ResolvedQuery.resolve(self.connection, exact, self.root_paths), adding=adding)

    def _matches(self, query: PhotoQuery, adding: Adding | None = None) -> _Matches:
        """The photos of a query, to which an option of this kind will be added."""
        resolved = self._resolved(query, adding)
        plans = tuple(scan_plans(resolved))
        scans = plans[smallest_plan(self.connection, plans)].scans
        exact = scans_size(self.connection, scans, self.most_read) < self.most_read
        newest = func.coalesce(select(func.max(photos.c.id)).scalar_subquery(), 0) - self.most_read
        among = photos.c.id.in_(ids_of_scans(scans)) if exact else photos.c.id > newest
        is_once = query.distinct and not resolved.has_place_options
        unit = func.coalesce(photos.c.content_id, -photos.c.id) if is_once else photos.c.id
        columns = ("id", "content_id", "camera_id", "root_id", "path", "path_bytes", "taken_at")
        selected = select_photos().with_only_columns(
            *(photos.c[name] for name in columns),
            positions.c.source,
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
        return _Matches(selected.where(among, *resolved.conditions(ScanRole())).cte("matches"), exact, areas)

    def _landmark_pairs(self, matches: _Matches) -> CompoundSelect[Any]:
        """Each unit with each of its landmarks."""
        inside = [matches.rows.c[name] for name, _ in matches.areas]
        return shown_landmarks(
            matches.rows, inside, min_score=self.query.min_score, any_rank=self.query.any_rank
        )

    def _grouped(self, matches: _Matches, key: Any) -> Mapping[Any, int]:
        return self._counts(select(key, func.count(matches.rows.c.unit.distinct())).group_by(key))

    def _counts(self, query: Select[Any, int]) -> Mapping[Any, int]:
        return {row[0]: row[1] for row in self.connection.execute(query)}


def _most_first(values: Iterable[FacetValue]) -> list[FacetValue]:
    return sorted((value for value in values if value.photos), key=lambda value: (-value.photos, value.name))


def _with_photos(names: Iterable[str], counts: Mapping[str, int]) -> list[FacetValue]:
    return [FacetValue(name, name, counts[name]) for name in names if counts.get(name)]


class year_of(FunctionElement[str]):  # noqa: N801 - reads as a SQL function where it is used
    """The year of a time, as text."""

    inherit_cache = True
    type = Text()


@compiles(year_of)
def _compile_to_char(element: year_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"to_char({compiler.process(element.clauses, **options)}, 'YYYY')"


@compiles(year_of, "sqlite")
def _compile_substr(element: year_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"substr({compiler.process(element.clauses, **options)}, 1, 4)"


class first_part(FunctionElement[str]):  # noqa: N801 - reads as a SQL function where it is used
    """A relative path up to its first slash, without it; empty for a file that is in no folder."""

    inherit_cache = True
    type = Text()


@compiles(first_part)
def _compile_split(element: first_part, compiler: SQLCompiler, **options: Any) -> str:
    path = compiler.process(element.clauses, **options)
    return f"CASE WHEN strpos({path}, '/') > 0 THEN split_part({path}, '/', 1) ELSE '' END"


@compiles(first_part, "sqlite")
def _compile_instr(element: first_part, compiler: SQLCompiler, **options: Any) -> str:
    path = compiler.process(element.clauses, **options)
    return f"substr({path}, 1, max(instr({path}, '/') - 1, 0))"
