"""Query results for programs: JSON documents, CSV rows and GeoJSON features, the same from the command line and the API.

All output streams as bytes, and file names are written unchanged (JSON escapes characters outside ASCII). Knows nothing of
where the bytes go.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tagger.errors import PhotoFailure
    from tagger.library.catalog.landmark_edits import EditedLandmark
    from tagger.library.catalog.landmark_removal import MergedLandmark, RemovedLandmark
    from tagger.library.catalog.landmarks import Landmark
    from tagger.library.catalog.registered_models import RegisteredModel
    from tagger.library.query.counts import LandmarkCount
    from tagger.library.query.details import PhotoDetails
    from tagger.library.query.position_clusters import PositionCell
    from tagger.library.query.tagged_photos import Tag, TaggedPhoto
    from tagger.library.query.trip_summaries import TripSummary
    from tagger.model.predictions import Prediction

PHOTO_COLUMNS = ("path", "outcome", "digest", "width", "height", "taken_at", "dismissed")
TAG_COLUMNS = (
    *("landmark", "name", "label", "score", "rank", "accepted", "verdict"),
    *("country", "latitude", "longitude", "model", "source"),
    *("position_odds", "distance_m", "reason"),
)
SIMILAR_PHOTO_COLUMNS = (*PHOTO_COLUMNS, "similarity")
POSITION_COLUMNS = ("latitude", "longitude", "error_m", "source", "country", "city")
"""The photo's own; in CSV, with the prefix `position_`. Those of a tag are its landmark's."""
LANDMARK_COLUMNS = ("landmark", "name", "country", "region", "city", "latitude", "longitude", "photos")


def photo_document(photo: TaggedPhoto) -> dict[str, Any]:
    """A photo as JSON."""
    document: dict[str, Any] = {
        "path": photo.path,
        "outcome": photo.outcome,
        "digest": photo.digest,
        "width": photo.width,
        "height": photo.height,
        "taken_at": photo.taken_at and photo.taken_at.isoformat(),
        "dismissed": photo.is_dismissed,
        "files": photo.files,
        "position": photo.position and vars(photo.position),
        "tags": [_tag_document(tag) for tag in photo.tags],
    }
    if photo.similarity is not None:
        document["similarity"] = round(photo.similarity, 4)
    return document


def prediction_document(
    path: str, predictions: Sequence[Prediction], registered: RegisteredModel, landmarks: Sequence[Landmark]
) -> dict[str, object]:
    """The predictions of a model for a photo that is not stored, as JSON. `landmarks` are those of the model's labels."""
    tags = []
    for prediction in predictions:
        label, landmark = registered.manifest.labels[prediction.position], landmarks[prediction.position]
        tags.append(
            {
                "landmark": landmark.slug,
                "name": landmark.display_name,
                "label": label.label,
                "score": prediction.score,
                "rank": prediction.rank,
                "accepted": prediction.accepted,
                "country": landmark.country,
                "latitude": landmark.latitude,
                "longitude": landmark.longitude,
                "model": registered.name,
            }
        )
    outcome = "tagged" if any(prediction.accepted for prediction in predictions) else "unknown"
    return {"path": path, "outcome": outcome, "tags": tags}


def failed_prediction_document(path: str, failure: PhotoFailure) -> dict[str, object]:
    """The failure of a photo that is not stored, as JSON."""
    return {"path": path, "outcome": "failed", "kind": failure.kind, "text": failure.text}


def details_document(details: PhotoDetails) -> dict[str, Any]:
    """The details of a photo as JSON."""
    document = photo_document(details.photo)
    for name, value in vars(details).items():
        if name in {"job", "failure", "dismissal"}:
            document[name] = value and vars(value)
        elif name == "evidence":
            document[name] = value and asdict(value)
        elif name in {"verdicts", "metadata"}:
            document[name] = [vars(entry) for entry in value]
        elif name != "photo":
            document[name] = value
    return document


def position_cell_document(cell: PositionCell) -> dict[str, Any]:
    """The photos of a cell, as JSON: they are in a circle around the position."""
    columns = ("source", "photos", "latitude", "longitude", "radius_km", "city", "country")
    return {column: getattr(cell, column) for column in columns}


def landmark_document(count: LandmarkCount) -> dict[str, Any]:
    """A landmark with its number of photos, as JSON."""
    columns = {column: getattr(count, column) for column in LANDMARK_COLUMNS}
    return columns | {"other_names": list(count.other_names), "own": count.own}


def landmark_row(document: dict[str, Any]) -> list[object]:
    """The columns of a landmark's document, for CSV."""
    return [document[column] for column in LANDMARK_COLUMNS]


def landmark_facts(landmark: Landmark) -> dict[str, Any]:
    """What is known of a landmark itself, as JSON."""
    facts = {"landmark": landmark.slug} | vars(landmark)
    return {name: value for name, value in facts.items() if name not in {"id", "slug", "display_name"}}


def edited_landmark_document(result: EditedLandmark) -> dict[str, Any]:
    """A landmark after an edit, and the names of the columns that changed, as JSON."""
    return landmark_facts(result.landmark) | {"changed": sorted(result.changes)}


def merged_landmark_document(result: MergedLandmark) -> dict[str, Any]:
    """A landmark after another one was merged into it, as JSON."""
    counts = ("verdicts", "tags", "replaced", "taught_tags")
    document = landmark_facts(result.landmark) | {"merged": result.merged.slug}
    return document | {name: getattr(result, name) for name in counts}


def removed_landmark_document(result: RemovedLandmark) -> dict[str, Any]:
    """A removed landmark with the numbers of its verdicts, as JSON."""
    return {
        "landmark": result.landmark.slug,
        "name": result.landmark.name,
        "confirmed": result.confirmed,
        "rejected": result.rejected,
        "taught_tags": result.taught_tags,
        "schedules": list(result.schedules),
    }


def trip_document(summary: TripSummary) -> dict[str, Any]:
    """A trip as JSON."""
    trip = summary.trip
    return {
        "trip": trip.id,
        "name": summary.name,
        "dates": trip.dates,
        "first": trip.first.isoformat(),
        "last": trip.last.isoformat(),
        "photos": summary.photos,
        "places": [vars(place) for place in trip.places],
        "landmarks": [vars(landmark) for landmark in summary.landmarks],
    }


def model_document(model: RegisteredModel) -> dict[str, Any]:
    """A registered model as JSON."""
    return {
        "name": model.name,
        "digest": model.digest,
        "file": model.file_text,
        "in_use": model.in_use,
        "shipped": model.shipped,
        "labels": len(model.manifest.labels),
        "threshold": model.manifest.threshold,
        "created_at": model.manifest.created_at.isoformat(),
        "metrics": model.manifest.metrics,
    }


def json_list_parts(documents: Iterable[object]) -> Iterator[bytes]:
    """A JSON list, one element a line."""
    separator = b"["
    for document in documents:
        yield separator + json.dumps(document, default=json_default).encode()
        separator = b",\n "
    yield b"]\n" if separator != b"[" else b"[]\n"


def json_line_parts(documents: Iterable[object]) -> Iterator[bytes]:
    """JSON documents, one a line."""
    return (json.dumps(document, default=json_default).encode() + b"\n" for document in documents)


def csv_parts(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[bytes]:
    """A CSV file with a header row."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\r\n")
    for row in chain([columns], rows):
        writer.writerow([_escape_formula(value) for value in row])
        yield line.getvalue().encode(errors="surrogateescape")
        line.seek(0)
        line.truncate()


def photo_rows(photo: TaggedPhoto, columns: Sequence[str]) -> Iterator[list[object]]:
    """One row per tag, or one row for a photo without tags: these columns, then those of the tag and of the position."""
    document = photo_document(photo)
    photo_cells = [document[column] for column in columns]
    position = document["position"] or {}
    position_cells = [position.get(column) for column in POSITION_COLUMNS]
    for tag in document["tags"] or [dict.fromkeys(TAG_COLUMNS)]:
        yield [*photo_cells, *tag.values(), *position_cells]


def photo_csv_parts(photos: Iterable[TaggedPhoto], columns: Sequence[str] = PHOTO_COLUMNS) -> Iterator[bytes]:
    """Photos with these columns as CSV, one row per tag, with the photo's position at its end."""
    rows = (row for photo in photos for row in photo_rows(photo, columns))
    position_columns = (f"position_{column}" for column in POSITION_COLUMNS)
    return csv_parts((*columns, *TAG_COLUMNS, *position_columns), rows)


def photo_feature_parts(photos: Iterable[TaggedPhoto]) -> Iterator[bytes]:
    """Photos as GeoJSON, each at its position, else at the coordinates of its first tag that has some."""
    return _feature_parts(_photo_feature(photo) for photo in photos)


def landmark_feature_parts(documents: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Landmarks as GeoJSON, from their JSON documents."""
    return _feature_parts(_feature(document, document) for document in documents)


def _feature_parts(features: Iterable[object]) -> Iterator[bytes]:
    yield b'{"type": "FeatureCollection", "features": ['
    separator = b"\n"
    for feature in features:
        yield separator + json.dumps(feature, default=json_default).encode()
        separator = b",\n"
    yield b"\n]}\n"


def _tag_document(tag: Tag) -> dict[str, Any]:
    return {column: getattr(tag, column) for column in TAG_COLUMNS}


def _escape_formula(value: object) -> object:
    """The cell so that spreadsheets do not run it as a formula. Booleans are written as in JSON; numbers stay numbers."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value


def _photo_feature(photo: TaggedPhoto) -> dict[str, Any]:
    document = photo_document(photo)
    located = [tag for tag in document["tags"] if tag["latitude"] is not None]
    return _feature(document, document["position"] or (located[0] if located else None))


def _feature(document: dict[str, Any], location: dict[str, Any] | None) -> dict[str, Any]:
    geometry = None
    if location is not None and location["latitude"] is not None and location["longitude"] is not None:
        geometry = {"type": "Point", "coordinates": [location["longitude"], location["latitude"]]}
    return {"type": "Feature", "geometry": geometry, "properties": document}


def json_default(value: object) -> object:
    """A value without a JSON type, as text; for `json.dumps(default=…)`."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
