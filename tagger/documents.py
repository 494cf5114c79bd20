"""How programs read answers: documents for JSON, rows for CSV, features for GeoJSON; the command line and the API write the same.

Everything streams as bytes: nothing is kept of what was written, and what people's files are called comes out as it is
(JSON escapes what is not ASCII). Knows nothing of where the bytes go.
"""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tagger.errors import PhotoFailure
    from tagger.query import LandmarkCount, PhotoDetails, TaggedPhoto
    from tagger.query.tagged import Tag
    from tagger.registry import RegisteredModel
    from tagger.results import Prediction

PHOTO_COLUMNS = ("path", "outcome", "digest", "width", "height", "taken_at")
TAG_COLUMNS = (
    *("landmark", "name", "label", "score", "rank", "accepted", "verdict"),
    *("country", "latitude", "longitude", "model"),
)
LANDMARK_COLUMNS = ("landmark", "name", "country", "region", "city", "latitude", "longitude", "photos")


def photo_document(photo: TaggedPhoto) -> dict[str, Any]:
    """The JSON of a photo, as people's scripts know it."""
    return {
        "path": photo.path,
        "outcome": photo.outcome,
        "digest": photo.digest,
        "width": photo.width,
        "height": photo.height,
        "taken_at": photo.taken_at and photo.taken_at.isoformat(),
        "tags": [_tag_document(tag) for tag in photo.tags],
    }


def look_document(
    path: str, predictions: Sequence[Prediction], registered: RegisteredModel
) -> dict[str, object]:
    """The JSON of what a model sees in a photo that nobody stored."""
    tags = []
    for prediction in predictions:
        label = registered.manifest.labels[prediction.position]
        tags.append(
            {
                "landmark": label.slug,
                "name": label.name,
                "label": label.label,
                "score": prediction.score,
                "rank": prediction.rank,
                "accepted": prediction.accepted,
                "country": label.country,
                "latitude": label.latitude,
                "longitude": label.longitude,
                "model": registered.name,
            }
        )
    outcome = "tagged" if any(prediction.accepted for prediction in predictions) else "unknown"
    return {"path": path, "outcome": outcome, "tags": tags}


def failed_look_document(path: str, failure: PhotoFailure) -> dict[str, object]:
    """The same of a photo that could not be looked at."""
    return {"path": path, "outcome": "failed", "kind": failure.kind, "text": failure.text}


def details_document(details: PhotoDetails) -> dict[str, Any]:
    """The JSON of all that is known of a photo."""
    document = photo_document(details.photo)
    for name, value in vars(details).items():
        if name in {"job", "failure"}:
            document[name] = value and vars(value)
        elif name in {"verdicts", "metadata"}:
            document[name] = [vars(each) for each in value]
        elif name != "photo":
            document[name] = value
    return document


def landmark_document(count: LandmarkCount) -> dict[str, Any]:
    """The JSON of a landmark with its number of photos."""
    return {column: getattr(count, column) for column in LANDMARK_COLUMNS}


def model_document(model: RegisteredModel) -> dict[str, Any]:
    """The JSON of a registered model."""
    return {
        "name": model.name,
        "digest": model.digest,
        "file": str(model.file),
        "in_use": model.in_use,
        "shipped": model.shipped,
        "labels": len(model.manifest.labels),
        "threshold": model.manifest.threshold,
        "created_at": model.manifest.created_at.isoformat(),
        "metrics": model.manifest.metrics,
    }


def json_list_parts(documents: Iterable[object]) -> Iterator[bytes]:
    """The bytes of a JSON list, an element a line."""
    between = b"["
    for document in documents:
        yield between + json.dumps(document, default=plain).encode()
        between = b",\n "
    yield b"]\n" if between != b"[" else b"[]\n"


def json_line_parts(documents: Iterable[object]) -> Iterator[bytes]:
    """The bytes of JSON documents, one a line."""
    return (json.dumps(document, default=plain).encode() + b"\n" for document in documents)


def csv_parts(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[bytes]:
    """The bytes of a CSV file, a title first."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\r\n")
    for row in chain([columns], rows):
        writer.writerow([_inert(value) for value in row])
        yield line.getvalue().encode(errors="surrogateescape")
        line.seek(0)
        line.truncate()


def photo_csv_parts(photos: Iterable[TaggedPhoto]) -> Iterator[bytes]:
    """The CSV of photos, a row per tag."""
    return csv_parts((*PHOTO_COLUMNS, *TAG_COLUMNS), (row for photo in photos for row in _csv_rows(photo)))


def photo_feature_parts(photos: Iterable[TaggedPhoto]) -> Iterator[bytes]:
    """The GeoJSON of photos, each where its first tag with a place is."""
    return _feature_parts(_photo_feature(photo) for photo in photos)


def landmark_feature_parts(documents: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """The GeoJSON of landmarks' documents."""
    return _feature_parts(_feature(document, document) for document in documents)


def _feature_parts(features: Iterable[object]) -> Iterator[bytes]:
    yield b'{"type": "FeatureCollection", "features": ['
    between = b"\n"
    for feature in features:
        yield between + json.dumps(feature, default=plain).encode()
        between = b",\n"
    yield b"\n]}\n"


def _tag_document(tag: Tag) -> dict[str, Any]:
    return {column: getattr(tag, column) for column in TAG_COLUMNS}


def _csv_rows(photo: TaggedPhoto) -> Iterator[list[object]]:
    """A row per tag; a photo without tags, which only some queries give, has one row."""
    document = photo_document(photo)
    of_photo = [document[column] for column in PHOTO_COLUMNS]
    if not photo.tags:
        yield of_photo + [None] * len(TAG_COLUMNS)
    for tag in document["tags"]:
        yield of_photo + list(tag.values())


def _inert(value: object) -> object:
    """A cell that no spreadsheet takes for a formula; truth is written as in JSON, numbers stay numbers."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value


def _photo_feature(photo: TaggedPhoto) -> dict[str, Any]:
    placed = [tag for tag in photo.tags if tag.latitude is not None and tag.longitude is not None]
    return _feature(photo_document(photo), _tag_document(placed[0]) if placed else None)


def _feature(document: dict[str, Any], place: dict[str, Any] | None) -> dict[str, Any]:
    geometry = None
    if place is not None and place["latitude"] is not None and place["longitude"] is not None:
        geometry = {"type": "Point", "coordinates": [place["longitude"], place["latitude"]]}
    return {"type": "Feature", "geometry": geometry, "properties": document}


def plain(value: object) -> object:
    """What JSON has no word for, as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
