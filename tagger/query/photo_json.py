"""Photos as documents: in JSON and CSV, with their landmarks; and those that a job has processed."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, Row, Select, select

from tagger.database import Outcome
from tagger.database.connection import Database
from tagger.database.statements import among
from tagger.database.tables import chunks, contents, job_items, photos
from tagger.landmarks import Landmark
from tagger.ledger.job_control import model_ids_of_job
from tagger.model import LabelPrediction
from tagger.photos import RESULT_FACTS
from tagger.query.tagged_photos import (
    NameCache,
    Position,
    Tag,
    TaggedPhoto,
    photo_document,
    tag_rows,
)
from tagger.roots import RootPaths
from tagger.tags.rule import Candidate, best_predictions, decide
from tagger.texts import document_of, json_bytes
from tagger.things import ShownThing, things_of_images

if TYPE_CHECKING:
    from tagger.query.counts import LandmarkCount
    from tagger.registry import RegisteredModel


@dataclass(frozen=True)
class JobPhoto:
    """A photo that a job has processed, its outcome there, and what is known of it now.

    `tags` are rows of `tag_rows`, each with the name of its landmark: the effective ones and the guess.
    """

    path: str
    outcome: Outcome
    reason: str | None
    text: str | None
    is_damaged: bool
    tags: Sequence[tuple[Row[Any], str]]
    guess: tuple[Row[Any], str] | None
    things: Sequence[ShownThing]


class JobPhotos:
    """The photos that a job processes, each once, as soon as its outcome is stored by any process.

    Photos that the scan skipped are not among them, nor those with a hidden outcome.
    """

    def __init__(
        self,
        database: Database,
        root_paths: RootPaths,
        job_id: int,
        hidden: Collection[Outcome] = (),
    ) -> None:
        self._database, self._job_id, self._hidden = database, job_id, hidden
        with database.read() as connection:
            self._names = NameCache(connection, root_paths)
            self._model_ids = model_ids_of_job(connection, job_id)
        # All claimed chunks before this one are done, and all their photos were returned.
        self._first_chunk = 0
        self._closed_chunks: set[int] = set()
        # The positions of photos in other chunks that were returned.
        self._positions: set[int] = set()

    def next(self) -> list[JobPhoto]:
        columns = chunks.c.chunk, chunks.c.first, chunks.c.last, chunks.c.done
        is_claimed = (
            chunks.c.chunk >= self._first_chunk,
            chunks.c.claimed_at.is_not(None),
        )
        claimed = select(*columns).where(chunks.c.job_id == self._job_id, *is_claimed)
        with self._database.snapshot() as connection:
            rows = connection.execute(claimed.order_by(chunks.c.chunk)).all()
            others = [row for row in rows if row.chunk not in self._closed_chunks]
            # The positions of all photos in these chunks that were processed.
            is_in_chunk = job_items.c.position.between(chunks.c.first, chunks.c.last)
            is_processed = (
                job_items.c.outcome != Outcome.CANCELLED,
                job_items.c.attempts > 0,
            )
            query = (
                select(job_items.c.position)
                .join(chunks, (chunks.c.job_id == job_items.c.job_id) & is_in_chunk)
                .where(
                    chunks.c.job_id == self._job_id,
                    chunks.c.chunk.in_([row.chunk for row in others]),
                    *is_processed,
                )
            )
            positions = set(connection.scalars(query)) - self._positions
            stored = self._photos(connection, positions)
        self._positions |= positions
        for row in others:
            if row.done:
                self._closed_chunks.add(row.chunk)
                self._positions.difference_update(range(row.first, row.last + 1))
        if rows:
            open_chunks = (row.chunk for row in rows if not row.done)
            self._first_chunk = min(open_chunks, default=rows[-1].chunk + 1)
        self._closed_chunks = {
            chunk for chunk in self._closed_chunks if chunk >= self._first_chunk
        }
        return stored

    def _photos(
        self, connection: Connection, positions: Collection[int]
    ) -> list[JobPhoto]:
        if not positions:
            return []
        query: Select[Any] = (
            select(
                photos.c.root_id,
                photos.c.path,
                photos.c.path_bytes,
                photos.c.content_id,
                job_items.c.outcome,
                job_items.c.reason,
                job_items.c.error_text,
                contents.c.damaged,
            )
            .join_from(job_items, photos, photos.c.id == job_items.c.photo_id)
            .outerjoin(contents, contents.c.id == photos.c.content_id)
            .where(
                job_items.c.job_id == self._job_id,
                among(job_items.c.position, positions),
                job_items.c.outcome.not_in(self._hidden),
            )
            .order_by(job_items.c.position)
        )
        rows = connection.execute(query).all()
        images = {row.content_id for row in rows} - {None}
        tags_of = tag_rows(connection, images, accepted_suffice=True) if images else {}
        things = things_of_images(connection, images, model_ids=self._model_ids)

        def named(tag: Row[Any]) -> tuple[Row[Any], str]:
            return tag, self._names.landmark(connection, tag.landmark_id).display_name

        job_photos = []
        for row in rows:
            tags = tags_of.get(row.content_id, ())
            guess = best_guess(tags)
            job_photos.append(
                JobPhoto(
                    path=self._names.path(connection, row),
                    outcome=Outcome(row.outcome),
                    reason=row.reason,
                    text=row.error_text,
                    is_damaged=bool(row.damaged),
                    tags=[named(tag) for tag in tags if tag.state is not None],
                    guess=None if guess is None else named(guess),
                    things=things.get(row.content_id, ()),
                )
            )
        return job_photos


def is_guess(scores: Sequence[float]) -> bool:
    """Whether the first of the best scores is worth a guess.

    It is if the landmark is likelier than all that is not among them: other landmarks, and none at all.
    """
    return bool(scores) and scores[0] > 1.0 - sum(scores)


def best_guess(tags: Sequence[Row[Any]]) -> Row[Any] | None:
    """The guess among a photo's tags, best first; None if one is accepted, or a verdict spoke against it."""
    if any(tag.accepted for tag in tags):
        return None
    predicted = [
        tag for tag in tags if tag.score is not None and tag.source != "taught"
    ]
    if not is_guess(
        [tag.score for tag in predicted if tag.model_id == predicted[0].model_id]
    ):
        return None
    best = predicted[0]
    return best if best.verdict is None else None


@dataclass(frozen=True)
class ModelPredictions:
    model: RegisteredModel
    threshold: float
    predictions: Sequence[LabelPrediction]

    @property
    def none_of_them(self) -> float:
        """The chance of none of the landmarks; at most that, if some predictions are missing."""
        return max(0.0, 1.0 - sum(each.score for each in self.predictions))


@dataclass(frozen=True)
class NamedPrediction:
    """`accepted`: the photo would get the tag."""

    landmark: Landmark
    label: str
    score: float
    rank: int
    accepted: bool
    of: ModelPredictions


def named_predictions(
    database: Database,
    predictions_of_models: Sequence[ModelPredictions],
    top_k: int,
) -> list[NamedPrediction]:
    """The best landmarks that models, in order of their use, give a photo."""
    from tagger.registry.registration import (
        landmarks_of_labels,
    )  # numpy; jobs start without it

    best = [
        (order, of, prediction)
        for order, of in enumerate(predictions_of_models)
        for prediction in of.predictions[:top_k]
    ]
    labels = [
        of.model.manifest.labels[prediction.position] for _, of, prediction in best
    ]
    with database.read() as connection:
        landmarks = landmarks_of_labels(connection, labels)
    numbers = {landmark.slug: number for number, landmark in enumerate(landmarks)}
    prediction_of = {}
    for (order, of, prediction), label, landmark in zip(
        best, labels, landmarks, strict=True
    ):
        candidate = Candidate(
            numbers[landmark.slug],
            prediction.score,
            prediction.accepted,
            of.threshold,
            order,
            prediction.rank,
            model_order=order,
        )
        prediction_of[candidate] = landmark, label, of
    accepted = {tag.landmark_id for tag in decide(prediction_of, {}) if tag.is_accepted}
    in_order = sorted(
        best_predictions(prediction_of).values(),
        key=lambda candidate: (-candidate.score, candidate.rank or 0),
    )
    predictions = []
    for rank, candidate in enumerate(in_order[:top_k], 1):
        landmark, label, of = prediction_of[candidate]
        is_accepted = candidate.landmark_id in accepted
        predictions.append(
            NamedPrediction(
                landmark,
                label.label,
                candidate.score,
                rank,
                is_accepted,
                of,
            )
        )
    return predictions


@dataclass(frozen=True)
class PredictedTag:
    landmark: str
    name: str
    label: str
    score: float
    rank: int
    accepted: bool
    country: str | None
    latitude: float | None
    longitude: float | None
    model: str


@dataclass(frozen=True)
class PredictionDocument:
    """The top-k of a photo that is not stored. `damaged`: a part is missing, so none is accepted."""

    path: str
    outcome: Literal["tagged", "unknown"]
    damaged: bool
    tags: list[PredictedTag]


@dataclass(frozen=True)
class FailedPredictionDocument:
    """Why a photo that is not stored was not classified."""

    path: str
    outcome: Literal["failed"]
    kind: str
    text: str


def prediction_document(
    path: str,
    predictions: Sequence[NamedPrediction],
    *,
    is_damaged: bool,
) -> PredictionDocument:
    tags = [
        PredictedTag(
            each.landmark.slug,
            each.landmark.display_name,
            each.label,
            each.score,
            each.rank,
            each.accepted,
            each.landmark.country,
            each.landmark.latitude,
            each.landmark.longitude,
            each.of.model.name,
        )
        for each in predictions
    ]
    is_tagged = any(each.accepted for each in predictions)
    return PredictionDocument(
        path,
        "tagged" if is_tagged else "unknown",
        is_damaged,
        tags,
    )


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


def model_document(model: RegisteredModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "digest": model.digest,
        "file": model.file_text,
        "in_use": model.in_use,
        "shipped": model.shipped,
        "labels": len(model.manifest.labels),
        "threshold": model.manifest.threshold,
        "created_at": model.manifest.created_at,
        "metrics": model.manifest.metrics,
    }


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
    if column == "similarity" and photo.similarity is not None:
        return round(photo.similarity, 4)
    return getattr(photo, _SIGNS.get(column, column))


_SIGNS = {"dismissed": "is_dismissed", "favourite": "is_favourite"}
_TAG_CELLS = attrgetter(*TAG_COLUMNS)
_POSITION_CELLS = attrgetter(*POSITION_COLUMNS[:-1], "sight_name")
_NO_TAG = (None,) * len(TAG_COLUMNS)
_NO_POSITION = (None,) * len(POSITION_COLUMNS)


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
    return _feature_parts(
        _feature(photo_document(photo), photo.position or _first_place(photo.tags))
        for photo in photos
    )


def _first_place(tags: Iterable[Tag]) -> Tag | None:
    for tag in tags:
        if tag.latitude is not None:
            return tag
    return None


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
