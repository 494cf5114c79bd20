"""A photo as an answer: its path, how it ended, its effective tags with the names people know.

Reads rows and names; which photos are asked for is decided in query and details.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from tagger.landmarks import Landmark, all_landmarks
from tagger.roots import Places, Root, list_roots
from tagger.tables import Outcome, contents, effective_tags, model_labels, models, photos


@dataclass(frozen=True)
class Tag:
    """A landmark of a photo after verdicts. A person's word alone has no rank, score, label and model."""

    landmark: str
    name: str
    label: str | None
    score: float | None
    rank: int | None
    accepted: bool
    verdict: str | None
    country: str | None
    latitude: float | None
    longitude: float | None
    model: str | None


@dataclass(frozen=True)
class TaggedPhoto:
    """A photo with tags. `path` is absolute; bytes of it that are not UTF-8 are surrogate escapes, as everywhere in Python.

    `outcome` counts verdicts: tagged means that a tag is accepted now. None: nobody has looked yet.
    """

    id: int
    path: str
    outcome: Outcome | None
    digest: str | None
    width: int | None
    height: int | None
    taken_at: datetime | None
    tags: tuple[Tag, ...]


TagRows = Mapping[int, Sequence[Row[Any]]]
"""Rows of effective tags by content, best rank first."""


def photo_rows() -> Select[Any]:
    """Photos with what is known of their content; those whose file is gone included."""
    return select(
        photos.c.id,
        photos.c.root_id,
        photos.c.path,
        photos.c.path_bytes,
        photos.c.taken_at,
        photos.c.failure_kind,
        photos.c.content_id,
        contents.c.digest,
        contents.c.width,
        contents.c.height,
        contents.c.outcome,
    ).select_from(photos.outerjoin(contents, contents.c.id == photos.c.content_id))


def tag_rows(connection: Connection, content_ids: Collection[int]) -> TagRows:
    """The effective tags of these contents, rejected and not accepted ones included."""
    grouped: dict[int, list[Row[Any]]] = {}
    if content_ids:
        for row in connection.execute(
            select(effective_tags).where(effective_tags.c.content_id.in_(content_ids))
        ):
            grouped.setdefault(row.content_id, []).append(row)
    for rows in grouped.values():
        rows.sort(key=lambda row: (row.rank is None, row.rank or 0, row.landmark_id))
    return grouped


class Names:
    """What ids stand for: roots, landmarks, models and labels, read once and again only when a new id turns up."""

    def __init__(self, connection: Connection, places: Places) -> None:
        self._places = places
        self._read(connection)

    def photo(
        self, connection: Connection, row: Row[Any], known: Sequence[Row[Any]], shown: Sequence[Row[Any]]
    ) -> TaggedPhoto:
        """The photo of `row`; `known` are all of its tags, `shown` those to give."""
        return TaggedPhoto(
            id=row.id,
            path=self.path(connection, row),
            outcome=_outcome(row, known),
            digest=row.digest,
            width=row.width,
            height=row.height,
            taken_at=row.taken_at,
            tags=tuple(self._tag(connection, tag) for tag in shown),
        )

    def path(self, connection: Connection, row: Row[Any]) -> str:
        return str(self._root(connection, row.root_id).path_of(row.path, row.path_bytes))

    def landmark(self, connection: Connection, landmark_id: int) -> Landmark:
        if landmark_id not in self._landmarks:
            self._read(connection)
        return self._landmarks[landmark_id]

    def _root(self, connection: Connection, root_id: int) -> Root:
        if root_id not in self._roots:
            self._read(connection)
        return self._roots[root_id]

    def _tag(self, connection: Connection, row: Row[Any]) -> Tag:
        landmark = self.landmark(connection, row.landmark_id)
        if row.model_id is not None and row.model_id not in self._models:
            self._read(connection)
        return Tag(
            landmark=landmark.slug,
            name=landmark.name,
            label=self._labels(connection, row.model_id).get(row.landmark_id),
            score=row.score,
            rank=row.rank,
            accepted=bool(row.accepted),
            verdict=row.verdict,
            country=landmark.country,
            latitude=landmark.latitude,
            longitude=landmark.longitude,
            model=self._models.get(row.model_id),
        )

    def _labels(self, connection: Connection, model_id: int | None) -> Mapping[int, str]:
        if model_id is None:
            return {}
        if model_id not in self._labels_of:
            rows = connection.execute(select(model_labels).where(model_labels.c.model_id == model_id))
            self._labels_of[model_id] = {row.landmark_id: row.label for row in rows}
        return self._labels_of[model_id]

    def _read(self, connection: Connection) -> None:
        self._roots = {root.id: root for root in list_roots(connection, self._places)}
        self._landmarks = {landmark.id: landmark for landmark in all_landmarks(connection)}
        self._models = {row.id: row.name for row in connection.execute(select(models.c.id, models.c.name))}
        self._labels_of: dict[int, dict[int, str]] = {}


def _outcome(row: Row[Any], known: Sequence[Row[Any]]) -> Outcome | None:
    if any(tag.accepted for tag in known):
        return Outcome.TAGGED
    if row.outcome is not None:
        return Outcome.UNKNOWN
    return None if row.failure_kind is None else Outcome.FAILED
