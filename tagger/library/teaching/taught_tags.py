"""The classifiers of taught landmarks in SQL, and the tags that they give.

A model counts the changes of its classifiers: `models.taught_version`. Whoever stores embeddings compares them with the
classifiers of the current version, in the same transaction. A lock on the version's row keeps the version from changing
until that transaction ends, so no embedding is ever missed: it is either compared when it is stored, or stored before a new
classifier is applied to all.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sqlalchemy import ColumnElement, Connection, Exists, and_, delete, exists, select, true, update

from tagger.database.statements import insert_page
from tagger.database.tables import classifiers, models, tags, taught_tags
from tagger.library.catalog.contents import record_contents
from tagger.library.teaching.classifiers import ACCEPTED_SCORE, SUGGESTED_SCORE, Classifier
from tagger.library.teaching.embeddings import Embeddings


@dataclass(frozen=True)
class TaughtTag:
    """A taught landmark that an image probably shows. `accepted`: a tag; otherwise a suggestion."""

    landmark_id: int
    score: float
    accepted: bool
    source: ClassVar[str] = "taught"


@dataclass(frozen=True)
class TaughtLandmarks:
    """The classifiers of a model by landmark id, at one version."""

    version: int
    classifiers: Mapping[int, Classifier]

    @property
    def dimension(self) -> int:
        """The dimension of the embeddings; there must be a classifier."""
        return len(next(iter(self.classifiers.values())).weights)

    def tags(self, embeddings: Embeddings) -> list[list[TaughtTag]]:
        """The taught tags of each image, from embeddings (N, D)."""
        tags: list[list[TaughtTag]] = [[] for _ in embeddings]
        for landmark_id, classifier in self.classifiers.items():
            scores = classifier.scores(embeddings)
            for row in np.flatnonzero(scores >= SUGGESTED_SCORE):
                score = float(scores[row])
                tags[row].append(TaughtTag(landmark_id, score, score >= ACCEPTED_SCORE))
        return tags


class TaughtCache:
    """The taught landmarks of one model, read again only when their version has changed. Thread-safe."""

    def __init__(self, model_id: int) -> None:
        self._model_id = model_id
        self._taught: TaughtLandmarks | None = None

    def current(self, connection: Connection) -> TaughtLandmarks:
        """The current version, which does not change before the transaction ends."""
        version = lock_version(connection, self._model_id)
        taught = self._taught
        if taught is None or taught.version != version:
            taught = load_classifiers(connection, self._model_id, version)
            self._taught = taught
        return taught


def load_classifiers(
    connection: Connection,
    model_id: int,
    version: int,
    landmark_ids: Collection[int] | None = None,
) -> TaughtLandmarks:
    """The classifiers of a model: of these landmarks, or of all."""
    query = (
        select(classifiers.c.landmark_id, classifiers.c.data)
        .where(classifiers.c.model_id == model_id)
        .order_by(classifiers.c.landmark_id)
    )
    if landmark_ids is not None:
        query = query.where(classifiers.c.landmark_id.in_(landmark_ids))
    rows = connection.execute(query)
    return TaughtLandmarks(version, {row.landmark_id: Classifier.from_bytes(row.data) for row in rows})


def next_version(connection: Connection, model_id: int) -> int:
    """Count a change of the model's classifiers. Waits until no transaction compares embeddings with those of before."""
    connection.execute(
        update(models).where(models.c.id == model_id).values(taught_version=models.c.taught_version + 1)
    )
    return int(
        connection.execute(select(models.c.taught_version).where(models.c.id == model_id)).scalar_one()
    )


def replace_taught_tags(
    connection: Connection, model_id: int, tags: Mapping[int, Sequence[TaughtTag]]
) -> None:
    """Replace all taught tags of contents, by content id."""
    delete_taught_tags(connection, taught_tags.c.content_id.in_(tags))
    insert_taught_tags(connection, model_id, tags)


def delete_taught_tags(connection: Connection, *conditions: ColumnElement[bool]) -> None:
    """Delete the taught tags with these conditions."""
    deleted = connection.scalars(delete(taught_tags).where(*conditions).returning(taught_tags.c.content_id))
    record_contents(connection, deleted)


def insert_taught_tags(
    connection: Connection, model_id: int, tags: Mapping[int, Sequence[TaughtTag]]
) -> None:
    """Insert taught tags of contents, by content id."""
    rows = [
        (content_id, tag.landmark_id, tag.score, tag.accepted, model_id)
        for content_id in sorted(tags)
        for tag in tags[content_id]
    ]
    if rows:
        names = ("content_id", "landmark_id", "score", "accepted", "model_id")
        insert_page(connection, taught_tags, names, rows)
        record_contents(connection, [content_id for content_id in tags if tags[content_id]])


def is_tagged_by_model() -> Exists:
    """The condition on `taught_tags` that the model itself has given the image this tag."""
    return exists().where(
        tags.c.content_id == taught_tags.c.content_id,
        tags.c.landmark_id == taught_tags.c.landmark_id,
        tags.c.accepted == true(),
    )


def is_suggestion() -> ColumnElement[bool]:
    """The condition on `taught_tags` that it is to confirm or reject: not one of a photo that was taken far from the landmark."""
    return and_(~taught_tags.c.accepted, taught_tags.c.doubtful.is_(None))


def lock_version(connection: Connection, model_id: int) -> int:
    """The version of the model's classifiers, which does not change before the transaction ends."""
    query = select(models.c.taught_version).where(models.c.id == model_id).with_for_update(read=True)
    return int(connection.execute(query).scalar_one())
