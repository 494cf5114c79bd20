"""Photos as scripts name them and find them: paths, conditions, and the photos of a query."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from tagger.catalog.roots import RootPaths
from tagger.database.connection import Database
from tagger.errors import ArgumentInvalid, QueryOptionInvalid
from tagger.photos.paths import absolute_path, named_path, printable_path
from tagger.query.find import find_tagged
from tagger.query.options import QUERY_OPTIONS, PhotoQuery, options_used_by
from tagger.query.photo_json import PHOTO_COLUMNS, POSITION_COLUMNS, TAG_COLUMNS, photo_rows
from tagger.query.tagged_photos import TaggedPhoto
from tagger.search.text_query import text_query

SHOWN_ROWS = 20
"""Photos in the table that a notebook shows."""
MOST_SHOWN = 80
"""Characters of the conditions in the text of a query."""
CONDITIONS = (*QUERY_OPTIONS, "text")
"""The conditions of `Library.photos`: those of `tagger query`. `text` is its TEXT: "paris 2019"."""
BACKFILL_CONDITIONS = tuple(name for name in options_used_by("all") if name != "model")
"""The conditions of `Library.backfill`: those of `tagger backfill`."""
Photo = TaggedPhoto
Named = str | Path | Photo
"""A photo, by its path or address, or as `Library.photos` returns it."""


@dataclass(frozen=True)
class Photos:
    """The photos of a query. Each loop reads them anew, in pages: memory does not grow with their number."""

    _database: Database
    _roots: RootPaths
    _query: PhotoQuery
    _text: str = ""
    _conditions: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        shown = "".join(f" {name}={value}" for name, value in self._conditions.items() if value is not None)
        return f"<Photos{printable_path(shown if len(shown) < MOST_SHOWN else shown[:MOST_SHOWN] + '…')}>"

    def _repr_html_(self) -> str:
        """Return a table of the first photos, for notebooks."""
        photos = list(islice(self, SHOWN_ROWS + 1))
        rows = "".join(map(_html_row, photos[:SHOWN_ROWS]))
        heading = "".join(f"<th>{name}</th>" for name in ("Photo", "Landmarks", "Taken", "Place"))
        more = "<p>…</p>" if len(photos) > SHOWN_ROWS else ""
        return f"<table><thead><tr>{heading}</tr></thead><tbody>{rows}</tbody></table>{more}"

    def __iter__(self) -> Iterator[Photo]:
        """Yield each photo once.

        Raises:
            LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name is not in the database.
            ModelNotFound: so is that of a model.
            SearchTextInvalid: the text is not understood.
            QueryOptionInvalid: the text contradicts a condition.
        """
        query = self._query
        if self._text:
            query = text_query(self._database, self._text, self._roots).within(query)
        return find_tagged(self._database, query, self._roots)

    def to_dataframe(self) -> Any:
        """Return a data frame of pandas, or else of polars: a row for each tag, and for a photo without.

        Its columns are those of `tagger query --format csv`; `taken_at` is a datetime.

        Raises:
            ModuleNotFoundError: neither is installed.
        """
        names = [*PHOTO_COLUMNS, *TAG_COLUMNS, *(f"position_{name}" for name in POSITION_COLUMNS)]
        rows = (row for photo in self for row in photo_rows(photo, PHOTO_COLUMNS))
        columns = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=False)}
        data = {name: columns.get(name, []) for name in names}
        if find_spec("pandas"):
            return import_module("pandas").DataFrame(data).astype({"taken_at": "datetime64[us]"})
        if not find_spec("polars"):
            raise ModuleNotFoundError(
                "to_dataframe needs pandas or polars, and neither is installed. Run: pip install pandas"
            )
        polars = import_module("polars")
        return polars.DataFrame(data, schema_overrides={"taken_at": polars.Datetime})


def _html_row(photo: Photo) -> str:
    path = printable_path(photo.path)
    landmarks = ", ".join(tag.name for tag in photo.tags)
    taken = "" if photo.taken_at is None else f"{photo.taken_at:%Y-%m-%d %H:%M}"
    place = "" if photo.position is None else photo.position.place
    cells = "".join(f"<td>{escape(text)}</td>" for text in (landmarks, taken, place))
    return f'<tr><td title="{escape(path)}">{escape(path.rpartition("/")[2])}</td>{cells}</tr>'


def paths_of(photos: Named | Iterable[Named]) -> list[Path]:
    """Return the paths of one photo, or of several."""
    if isinstance(photos, str | bytes | Path | Photo) or not isinstance(photos, Iterable):
        return [path_of(photos)]
    return [path_of(photo) for photo in photos]


def path_of(photo: object) -> Path:
    """Return the path, with ~ for the home folder, as in a shell.

    Raises:
        ArgumentInvalid: it is something else than a path or a photo.
    """
    if not isinstance(photo, str | Path | Photo):
        reason = f"{photo!r} is not a path, an address, or a photo of library.photos"
        raise ArgumentInvalid(argument="path", reason=reason)
    return named_path(photo.path if isinstance(photo, Photo) else photo)


def query_of(conditions: Mapping[str, Any], possible: Collection[str]) -> PhotoQuery:
    """Return the query of conditions, whose names are among the `possible` ones.

    Raises:
        QueryOptionInvalid: a condition is none of these, has an invalid value, or contradicts another one.
    """
    for name in conditions:
        if name not in possible:
            reason = f"there is no such condition here. Choose one of {', '.join(possible)}"
            raise QueryOptionInvalid(option=name, reason=reason)
    options = {name: value for name, value in conditions.items() if name != "text" and value is not None}
    if "under" in options:
        options["under"] = tuple(map(absolute_path, paths_of(options["under"])))
    return PhotoQuery(**options)
