"""Learns the taught landmarks of a model from verdicts, and stores their classifiers.

A classifier follows from the verdicts alone: whoever changes verdicts calls `learn_landmarks`, in any order and as often as
they like. Nothing is compared here (see comparison).
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
from sqlalchemy import Connection, delete, func, insert, select

from tagger.database.connection import Database
from tagger.database.statements import pages
from tagger.database.tables import classifiers, embeddings, taught_tags
from tagger.errors import EmbeddingsMissing, ModelRefused
from tagger.library.catalog.registered_models import RegisteredModel
from tagger.library.query.photo_conditions import off_index
from tagger.library.teaching.classifiers import (
    Classifier,
    Direction,
    EmbeddingSpace,
    calibrate,
    fit_direction,
)
from tagger.library.teaching.comparison import compare_again, delete_taught_tags, next_version
from tagger.library.teaching.embeddings import Embeddings
from tagger.library.teaching.examples import Evidence, find_evidence, load_embeddings
from tagger.model.artifact import Embedding, read_background

LIBRARY_SAMPLE = 4000
"""The number of images that show what else is in the library."""


def learn_landmarks(
    database: Database, model: RegisteredModel, landmark_ids: Collection[int] | None = None
) -> frozenset[int]:
    """Learn the landmarks whose verdicts have changed: of these, or of all. Returns their ids.

    A landmark that no confirmed image with an embedding shows any more loses its classifier and its tags.

    Raises:
        EmbeddingsMissing: the model gives no embeddings.
        ModelFileNotFound, ModelRefused: the model's file cannot be read, or its embeddings cannot be used.
    """
    learner = Learner(database, model)
    with database.read() as connection:
        changed = changed_landmarks(connection, model.id, landmark_ids)
    for landmark_id in sorted(changed):
        learner.learn(landmark_id)
    return changed


def changed_landmarks(
    connection: Connection, model_id: int, landmark_ids: Collection[int] | None = None
) -> frozenset[int]:
    """The ids of landmarks whose verdicts have changed since they were learned: of these, or of all."""
    evidence = find_evidence(connection, model_id, landmark_ids)
    stored = _stored_evidence(connection, model_id, landmark_ids)
    stale = {key for key, each in evidence.items() if stored.get(key) != each.digest}
    return frozenset(stale | (stored.keys() - evidence.keys()))


def embedding_of(model: RegisteredModel) -> Embedding:
    """What the manifest says of the model's embeddings.

    Raises:
        EmbeddingsMissing: it gives none.
    """
    embedding = model.manifest.embedding
    if embedding is None:
        raise EmbeddingsMissing(name=model.name)
    return embedding


class Learner:
    """Learns landmarks of one model one after the other.

    Raises:
        EmbeddingsMissing: the model gives no embeddings.
    """

    def __init__(self, database: Database, model: RegisteredModel) -> None:
        self._database = database
        self._model = model
        self._embedding = embedding_of(model)
        self._library: list[int] | None = None

    @cached_property
    def space(self) -> EmbeddingSpace:
        """The space of the model's embeddings.

        Raises:
            ModelFileNotFound, ModelRefused: the model's file cannot be read.
        """
        return EmbeddingSpace.of(read_background(self._model.file, self._model.digest, self._embedding))

    def directions(self, landmark_ids: Collection[int]) -> dict[int, Direction]:
        """What the verdicts of now teach of those of these landmarks that can be taught, by id.

        Raises:
            ModelFileNotFound, ModelRefused: as `learn_landmarks`.
        """
        with self._database.read() as connection:
            found = find_evidence(connection, self._model.id, landmark_ids)
            return {key: self._direction(connection, evidence) for key, evidence in found.items()}

    def library_sample(self) -> Embeddings:
        """Embeddings of random images of the library."""
        with self._database.read() as connection:
            return self._load(connection, _library_sample(connection, self._model.id))

    def learn(self, landmark_id: int) -> None:
        """Learn a landmark from its verdicts of now and store it, and again if they change meanwhile."""
        while True:
            with self._database.read() as connection:
                evidence = self._evidence(connection, landmark_id)
                classifier = None if evidence is None else self._classifier(connection, evidence)
            with self._database.write() as connection:
                # Others who learn the landmark, merge it or remove it wait from here on.
                version = next_version(connection, self._model.id)
                if self._evidence(connection, landmark_id) == evidence:
                    self._store(connection, landmark_id, version, evidence, classifier)
                    return

    def _evidence(self, connection: Connection, landmark_id: int) -> Evidence | None:
        return find_evidence(connection, self._model.id, [landmark_id]).get(landmark_id)

    def _classifier(self, connection: Connection, evidence: Evidence) -> Classifier:
        if self._library is None:
            self._library = _library_sample(connection, self._model.id)
        judged = {*evidence.confirmed, *evidence.rejected}
        library = [content_id for content_id in self._library if content_id not in judged]
        direction = self._direction(connection, evidence)
        with self._refuse_on_error():
            return calibrate(direction, self._load(connection, library))

    def _direction(self, connection: Connection, evidence: Evidence) -> Direction:
        confirmed, rejected = (
            self._load(connection, content_ids) for content_ids in (evidence.confirmed, evidence.rejected)
        )
        with self._refuse_on_error():
            return fit_direction(self.space, confirmed, rejected)

    def _load(self, connection: Connection, content_ids: Sequence[int]) -> Embeddings:
        return load_embeddings(connection, content_ids, self._embedding.dimension)

    @contextmanager
    def _refuse_on_error(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:  # also numpy's LinAlgError
            reason = f"no landmark can be learned from its embeddings ({error})"
            raise ModelRefused(path=self._model.file, reason=reason) from error

    def _store(
        self,
        connection: Connection,
        landmark_id: int,
        version: int,
        evidence: Evidence | None,
        classifier: Classifier | None,
    ) -> None:
        """Replace the landmark's classifier. Without one, its tags go too, and those of packs come back."""
        model_id = self._model.id
        connection.execute(
            delete(classifiers).where(
                classifiers.c.landmark_id == landmark_id,
                classifiers.c.model_id == model_id,
                classifiers.c.pack == "",
            )
        )
        if evidence is None or classifier is None:
            delete_taught_tags(
                connection,
                taught_tags.c.landmark_id == landmark_id,
                taught_tags.c.model_id == model_id,
                taught_tags.c.pack == "",
            )
            compare_again(connection, model_id, version, [landmark_id])
            return
        connection.execute(
            insert(classifiers).values(
                landmark_id=landmark_id,
                model_id=model_id,
                version=version,
                examples=len(evidence.confirmed),
                rejected=len(evidence.rejected),
                evidence=evidence.digest,
                data=classifier.to_bytes(),
                applied=False,
                learned_at=datetime.now(UTC),
            )
        )


def _stored_evidence(
    connection: Connection, model_id: int, landmark_ids: Collection[int] | None
) -> dict[int, str]:
    """The digests of the evidence that classifiers were learned from, by landmark id."""
    query = select(classifiers.c.landmark_id, classifiers.c.evidence).where(
        classifiers.c.model_id == model_id, classifiers.c.pack == ""
    )
    if landmark_ids is not None:
        query = query.where(classifiers.c.landmark_id.in_(landmark_ids))
    return {row.landmark_id: row.evidence for row in connection.execute(query)}


def _library_sample(connection: Connection, model_id: int) -> list[int]:
    """Content ids of random images with an embedding: the same ones each time, unless images are added."""
    last = connection.scalar(select(func.max(embeddings.c.content_id))) or 0
    if last <= LIBRARY_SAMPLE:
        wanted: list[int] = list(range(1, last + 1))
    else:
        draws = np.random.default_rng(0).choice(last, LIBRARY_SAMPLE, replace=False) + 1
        wanted = sorted(map(int, draws))
    found: list[int] = []
    for page in pages(wanted):
        # Otherwise, SQLite reads all images of the model along another index.
        drawn = embeddings.c.content_id.in_(page), off_index(embeddings.c.model_id) == model_id
        query = select(embeddings.c.content_id).where(*drawn).order_by(embeddings.c.content_id)
        found.extend(connection.scalars(query))
    return found
