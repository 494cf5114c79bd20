"""Query results for programs: JSON, CSV rows and GeoJSON features, the same from commands and the API.

All output streams as bytes, and file names are written unchanged (JSON escapes bytes that are not UTF-8).
Knows nothing of where the bytes go.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from tagger.photos import RESULT_FACTS
from tagger.query.tagged_photos import Position, Tag, TaggedPhoto, photo_document
from tagger.texts.documents import document_of, json_bytes

if TYPE_CHECKING:
    from tagger.landmarks import Landmark
    from tagger.query.counts import LandmarkCount
    from tagger.registry import RegisteredModel

PHOTO_COLUMNS = (
    *("path", "outcome", "digest", "width", "height", *RESULT_FACTS, "taken_source"),
    *("dismissed", "favourite", "damaged", "things"),
)
TAG_COLUMNS = (
    *("landmark", "name", "label", "score", "rank", "accepted", "verdict"),
    *("country", "latitude", "longitude", "model", "source"),
    *("doubtful", "position_odds", "distance_m", "reason"),
)
SIMILAR_PHOTO_COLUMNS = (*PHOTO_COLUMNS, "similarity")
# The photo's own; in CSV, with the prefix `position_`. Those of a tag are its landmark's.
POSITION_COLUMNS = (
    "latitude",
    "longitude",
    "error_m",
    "source",
    "country",
    "city",
    "sight",
)
LANDMARK_COLUMNS = (
    "landmark",
    "name",
    "country",
    "region",
    "city",
    "latitude",
    "longitude",
    "photos",
)


@dataclass(frozen=True)
class LandmarkDocument:
    """A landmark. `names`: by language; `edited`: columns that a person set; `own`: no model knows it."""

    landmark: str
    name: str
    names: dict[str, str]
    aliases: list[str]
    country: str | None
    region: str | None
    city: str | None
    latitude: float | None
    longitude: float | None
    extent: str | None
    edited: list[str]
    merged_slugs: list[str]
    own: bool
    dry_run: bool


def landmark_document(landmark: Landmark, *, dry_run: bool) -> LandmarkDocument:
    return document_of(
        LandmarkDocument, landmark, landmark=landmark.slug, dry_run=dry_run
    )


@dataclass(frozen=True)
class ModelDocument:
    name: str
    digest: str
    file: str
    in_use: bool
    shipped: bool
    labels: int
    threshold: float
    created_at: datetime
    metrics: dict[str, Any]


def model_document(model: RegisteredModel) -> ModelDocument:
    manifest = model.manifest
    return document_of(
        ModelDocument,
        model,
        file=model.file_text,
        labels=len(manifest.labels),
        threshold=manifest.threshold,
        created_at=manifest.created_at,
        metrics=manifest.metrics,
    )


def json_list_parts(documents: Iterable[object]) -> Iterator[bytes]:
    separator = b"["
    for document in documents:
        yield separator + json_bytes(document)
        separator = b",\n "
    yield b"]\n" if separator != b"[" else b"[]\n"


def json_line_parts(documents: Iterable[object]) -> Iterator[bytes]:
    return (json_bytes(document) + b"\n" for document in documents)


def csv_parts(
    columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> Iterator[bytes]:
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\r\n")
    for row in chain([columns], rows):
        writer.writerow(
            [value if value.__class__ in _NUMBERS else _cell(value) for value in row]
        )
        yield line.getvalue().encode(errors="surrogateescape")
        line.seek(0)
        line.truncate()


def photo_rows(photo: TaggedPhoto, columns: Sequence[str]) -> Iterator[list[object]]:
    """A row per tag, or one for a photo without tags: these columns, those of the tag and of the position."""
    photo_cells = [_photo_cell(photo, column) for column in columns]
    position_cells = (
        _NO_POSITION if photo.position is None else _POSITION_CELLS(photo.position)
    )
    for tag in photo.tags or [None]:
        yield [
            *photo_cells,
            *(_NO_TAG if tag is None else _TAG_CELLS(tag)),
            *position_cells,
        ]


def _photo_cell(photo: TaggedPhoto, column: str) -> object:
    if column == "things":
        return "; ".join(each.thing for each in photo.things)
    value: object = getattr(photo, _SIGNS.get(column, column))
    return (
        round(value, 4)
        if column == "similarity" and isinstance(value, float)
        else value
    )


_SIGNS = {"dismissed": "is_dismissed", "favourite": "is_favourite"}
_TAG_CELLS = attrgetter(*TAG_COLUMNS)
_POSITION_CELLS = attrgetter(*POSITION_COLUMNS[:-1], "sight_name")
_NO_TAG = (None,) * len(TAG_COLUMNS)
_NO_POSITION = (None,) * len(
    POSITION_COLUMNS,
)


def photo_csv_parts(
    photos: Iterable[TaggedPhoto], columns: Sequence[str] = PHOTO_COLUMNS
) -> Iterator[bytes]:
    """Photos with these columns as CSV, one row per tag, with the photo's position at its end."""
    rows = (
        [cell.isoformat() if isinstance(cell, datetime) else cell for cell in row]
        for photo in photos
        for row in photo_rows(photo, columns)
    )
    position_columns = (f"position_{column}" for column in POSITION_COLUMNS)
    return csv_parts((*columns, *TAG_COLUMNS, *position_columns), rows)


def photo_feature_parts(photos: Iterable[TaggedPhoto]) -> Iterator[bytes]:
    """Photos as GeoJSON, each at its position, else at the coordinates of its first tag that has some."""
    return _feature_parts(_photo_feature(photo) for photo in photos)


def landmark_feature_parts(counts: Iterable[LandmarkCount]) -> Iterator[bytes]:
    return _feature_parts(_feature(count, count) for count in counts)


def _feature_parts(features: Iterable[object]) -> Iterator[bytes]:
    yield b'{"type": "FeatureCollection", "features": '
    yield from json_list_parts(features)
    yield b"}\n"


# The types of cells that are written as they are.
_NUMBERS = frozenset((type(None), int, float))


def _cell(value: object) -> object:
    # The cell so that spreadsheets do not run it as a formula. Booleans are as in JSON.
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value


def _photo_feature(photo: TaggedPhoto) -> dict[str, Any]:
    located = [tag for tag in photo.tags if tag.latitude is not None]
    location = photo.position or (located[0] if located else None)
    return _feature(photo_document(photo), location)


def _feature(
    document: object, location: Position | Tag | LandmarkCount | None
) -> dict[str, Any]:
    geometry = None
    if (
        location is not None
        and location.latitude is not None
        and location.longitude is not None
    ):
        geometry = {
            "type": "Point",
            "coordinates": [location.longitude, location.latitude],
        }
    return {"type": "Feature", "geometry": geometry, "properties": document}
