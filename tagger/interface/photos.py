"""Photos as scripts name them and find them: paths, conditions, and the photos of a query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict, Unpack

from tagger.database.connection import Database
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.documents import PHOTO_COLUMNS, POSITION_COLUMNS, TAG_COLUMNS, photo_rows
from tagger.library.query.find import find_tagged
from tagger.library.query.options import (
    PhotoQuery,
    PositionOption,
    SortOption,
    VerdictOption,
    parse_query,
)
from tagger.library.query.tagged_photos import TaggedPhoto
from tagger.library.search.text_query import text_query
from tagger.photos.paths import ObjectPath, absolute_path, parse_path

Photo = TaggedPhoto
Named = str | Path | Photo
"""A photo, by its path or address, or as `Library.photos` returns it."""


class BackfillFilter(TypedDict, total=False):
    """The conditions of `Library.backfill`: those of `tagger backfill`, where docs/reference/cli.md explains them.

    `near` and `box` are (latitude, longitude) and (south, west, north, east), in degrees. Dates are in the camera's local time.
    """

    landmark: str | Sequence[str]
    country: str | Sequence[str]
    near: tuple[float, float]
    radius_km: float
    box: tuple[float, float, float, float]
    position: PositionOption
    trip: str
    job: int
    min_score: float
    verdict: VerdictOption
    camera: str | Sequence[str]
    under: str | Path | Sequence[str | Path]
    year: int | Sequence[int]
    calendar_month: int | Sequence[int]
    taken_after: str | date
    taken_before: str | date


class PhotoFilter(BackfillFilter, total=False):
    """The conditions of `Library.photos`: those of `tagger query`. `text` is its TEXT: "paris 2019"."""

    text: str
    model: str
    unknown: bool
    untagged: bool
    failed: bool
    dismissed: bool
    favourite: bool
    any_rank: bool
    sort: SortOption
    limit: int


@dataclass(frozen=True)
class Photos:
    """The photos of a query. Each loop reads them anew, in pages: memory does not grow with their number."""

    _database: Database
    _roots: RootPaths
    _query: PhotoQuery
    _text: str = ""

    def __iter__(self) -> Iterator[Photo]:
        """Yield each photo once.

        Raises:
            LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name is not in the database.
            SearchTextInvalid: the text is not understood.
            QueryOptionInvalid: the text contradicts a condition.
        """
        query = self._query
        if self._text:
            query = text_query(self._database, self._text, self._roots).within(query)
        return find_tagged(self._database, query, self._roots)

    def to_dataframe(self) -> Any:
        """Return a data frame of pandas, or else of polars: one row for each tag, and one for a photo without tags.

        Its columns are those of `tagger query --format csv`.

        Raises:
            ModuleNotFoundError: neither is installed.
        """
        names = [*PHOTO_COLUMNS, *TAG_COLUMNS, *(f"position_{name}" for name in POSITION_COLUMNS)]
        rows = (row for photo in self for row in photo_rows(photo, PHOTO_COLUMNS))
        columns = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=False)}
        data = {name: columns.get(name, []) for name in names}
        return import_module("pandas" if find_spec("pandas") else "polars").DataFrame(data)


def paths_of(photos: Named | Iterable[Named]) -> list[Path]:
    """Return the paths of one photo, or of several."""
    return [path_of(photo) for photo in ([photos] if isinstance(photos, str | Path | Photo) else photos)]


def path_of(photo: Named) -> Path:
    """Return the path, with ~ for the home folder, as in a shell."""
    text = photo.path if isinstance(photo, Photo) else photo
    path = parse_path(text)
    return path if isinstance(path, ObjectPath) else path.expanduser()


def query_of(**conditions: Unpack[PhotoFilter]) -> PhotoQuery:
    options: dict[str, Any] = dict(conditions)
    for name in ("near", "box"):
        if name in options:
            options[name] = ",".join(map(str, options[name]))
    for name in ("taken_after", "taken_before"):
        if isinstance(options.get(name), date):
            options[name] = options[name].isoformat()
    for name in ("camera", "year", "calendar_month"):
        if isinstance(options.get(name), str | int):
            options[name] = (options[name],)
    if "under" in options:
        options["under"] = tuple(map(absolute_path, paths_of(options["under"])))
    return parse_query(**options)
