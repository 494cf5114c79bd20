"""Learns the taught landmarks of a model from verdicts, and stores their classifiers.

A classifier follows from the verdicts alone: `learn_landmarks` runs after they change (see
Database.after_decisions), in any order and as often as one likes. Then all images that have an embedding are
compared with what is new (see comparison).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, select

from tagger.database.connection import Database
from tagger.database.enums import TagState, VerdictKind
from tagger.database.statements import among, unindexed
from tagger.database.tables import (
    classifiers,
    contents,
    effective_tags,
    embeddings,
    landmarks,
    model_labels,
    models,
    photos,
    taught_tags,
    verdicts,
)
from tagger.errors import EmbeddingsMissing, ModelRefused
from tagger.landmarks.landmarks import Landmark
from tagger.model.artifact import Embedding, read_background
from tagger.registry.registered_models import RegisteredModel
from tagger.tags.causes import TaughtTags, replace_taught_tags
from tagger.tags.contents import has_photo, is_classified_by
from tagger.teaching.classifiers import (
    Classifier,
    Direction,
    Embeddings,
    EmbeddingSpace,
    calibrate,
    fit_direction,
)
from tagger.teaching.comparison import Progress, compare_all, next_version
from tagger.teaching.examples import (
    Evidence,
    NamedOtherwise,
    doubtful_otherwise,
    find_evidence,
    kept_otherwise,
    load_embeddings,
)

# The number of images that show what else is in the library.
LIBRARY_SAMPLE = 4000


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
    query = select(classifiers.c.landmark_id, classifiers.c.evidence)
    rows = connection.execute(query.where(*_of_landmarks(model_id, landmark_ids)))
    stored = {row.landmark_id: row.evidence for row in rows}
    stale = {key for key, each in evidence.items() if stored.get(key) != each.digest}
    return frozenset(stale | (stored.keys() - evidence.keys()))


def unfinished_landmarks(database: Database, model_id: int, *, is_taught: bool) -> Sequence[str]:
    """The slugs of landmarks not learned from all verdicts, if the model `is_taught`, or not yet compared."""
    with database.read() as connection:
        unapplied = select(classifiers.c.landmark_id).where(
            classifiers.c.model_id == model_id, ~classifiers.c.applied
        )
        ids = {
            *connection.scalars(unapplied),
            *(changed_landmarks(connection, model_id) if is_taught else ()),
        }
        slugs = select(landmarks.c.slug).where(among(landmarks.c.id, ids)).order_by(landmarks.c.slug)
        return connection.scalars(slugs).all()


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

    def learn(self, landmark_id: int) -> None:
        """Learn a landmark from its current verdicts and store it, and again if they change meanwhile."""
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
        return load_embeddings(connection, self._model.id, content_ids, self._embedding.dimension)

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
        """Replace the landmark's classifier. Without one, its tags go too."""
        model_id = self._model.id
        connection.execute(delete(classifiers).where(*_of_landmarks(model_id, [landmark_id])))
        if evidence is None or classifier is None:
            is_landmark = taught_tags.c.landmark_id == landmark_id
            tagged = select(taught_tags.c.content_id).where(is_landmark, taught_tags.c.model_id == model_id)
            without: TaughtTags = {content_id: {} for content_id in connection.scalars(tagged)}
            replace_taught_tags(connection, model_id, without, is_landmark)
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


def _of_landmarks(model_id: int, landmark_ids: Collection[int] | None) -> Iterator[ColumnElement[bool]]:
    """The conditions on `classifiers` for a model: of these landmarks, or of all."""
    yield classifiers.c.model_id == model_id
    if landmark_ids is not None:
        yield classifiers.c.landmark_id.in_(landmark_ids)


def _library_sample(connection: Connection, model_id: int) -> list[int]:
    """Content ids of random images with an embedding: the same ones each time, unless images are added."""
    last = connection.scalar(select(func.max(embeddings.c.content_id))) or 0
    if last <= LIBRARY_SAMPLE:
        wanted: list[int] = list(range(1, last + 1))
    else:
        draws = np.random.default_rng(0).choice(last, LIBRARY_SAMPLE, replace=False) + 1
        wanted = sorted(map(int, draws))
    # Otherwise, SQLite reads all images of the model along another index.
    drawn = among(embeddings.c.content_id, wanted), unindexed(embeddings.c.model_id) == model_id
    query = select(embeddings.c.content_id).where(*drawn).order_by(embeddings.c.content_id)
    return list(connection.scalars(query))


@dataclass(frozen=True)
class TaughtState:
    """What is known of a taught landmark, in photos.

    `examples` and `rejected` are the images that its classifier was learned from; both are 0 if there is
    none. `tagged` counts photos, and `suggested` images, without a verdict that the model itself does not
    tag. `precision` is the part of the tagged ones that is probably right, by their scores; None without any.
    `is_label`: the model knows the landmark itself. `doubtful`: the other landmarks whose tags are doubtful
    because of it; `kept`: those of which the model is nearly certain, so that the landmark is only suggested.
    """

    examples: int
    rejected: int
    tagged: int
    suggested: int
    precision: float | None
    is_label: bool
    doubtful: Sequence[NamedOtherwise] = ()
    kept: Sequence[NamedOtherwise] = ()


def undo_command(landmark: Landmark, state: TaughtState) -> str:
    """The command that takes back what was taught. A landmark of the model stays."""
    if state.is_label:
        return f"tagger confirm --withdraw {landmark.slug} PHOTO…"
    return f"tagger landmark remove {landmark.slug} --with-verdicts"


@dataclass(frozen=True)
class Lessons:
    """The landmarks that a model has learned again, by their ids, and how many images were compared."""

    model: RegisteredModel
    learned: frozenset[int]
    compared: int


def update_taught(
    database: Database,
    model: RegisteredModel,
    landmark_ids: Collection[int] | None = None,
    on_progress: Progress = lambda _count: None,
) -> Lessons:
    """Learn the landmarks whose verdicts have changed (of these, or all), and compare all embeddings.

    Raises:
        EmbeddingsMissing: the model gives no embeddings.
        ModelFileNotFound, ModelRefused: the model's file cannot be read.
    """
    learned = frozenset(learn_landmarks(database, model, landmark_ids))
    return Lessons(model, learned, compare_all(database, model.id, on_progress))


def taught_state(database: Database, model: RegisteredModel, landmark: Landmark) -> TaughtState:
    """The state of a landmark now."""
    with database.read() as connection:
        learned = connection.execute(
            select(classifiers.c.examples, classifiers.c.rejected).where(
                *_of_landmarks(model.id, [landmark.id])
            )
        ).one_or_none()
        label = select(model_labels.c.position).where(
            model_labels.c.model_id == model.id, model_labels.c.landmark_id == landmark.id
        )
        is_label = connection.scalar(label) is not None
        counts = {row.state: row for row in _counts(connection, landmark)}
        doubtful, kept = (
            tuple(find(connection, landmark.id)) for find in (doubtful_otherwise, kept_otherwise)
        )
    tagged, suggested = counts.get(TagState.ACCEPTED), counts.get(TagState.SUGGESTED)
    return TaughtState(
        examples=learned.examples if learned else 0,
        rejected=learned.rejected if learned else 0,
        tagged=tagged.photos if tagged else 0,
        suggested=suggested.images if suggested else 0,
        precision=float(tagged.score) if tagged else None,
        is_label=is_label,
        doubtful=doubtful,
        kept=kept,
    )


def images_without_embedding(database: Database, model: RegisteredModel) -> int:
    """The number of images that only other models have classified: they have no embedding to compare."""
    by_other = and_(contents.c.model_id.is_not(None), ~is_classified_by(model.id))
    with database.read() as connection:
        query = select(func.count()).select_from(contents).where(by_other, has_photo(contents.c.id))
        return int(connection.execute(query).scalar_one())


def landmarks_of_other_models(database: Database, model_ids: Collection[int]) -> Mapping[str, list[str]]:
    """Landmarks that other models have learned, and these cannot, without an example. Slugs by model."""
    examples = exists().where(
        verdicts.c.landmark_id == landmarks.c.id, verdicts.c.verdict == VerdictKind.CONFIRMED
    )
    is_known = embeddings.c.content_id == verdicts.c.content_id, among(embeddings.c.model_id, model_ids)
    query = (
        select(models.c.name, landmarks.c.slug)
        .join(classifiers, classifiers.c.model_id == models.c.id)
        .join(landmarks, landmarks.c.id == classifiers.c.landmark_id)
        .where(models.c.id.not_in(model_ids))
        .where(examples.where(has_photo(verdicts.c.content_id)), ~examples.where(*is_known))
        .order_by(models.c.id, landmarks.c.slug)
    )
    found: dict[str, list[str]] = {}
    with database.read() as connection:
        for name, slug in connection.execute(query):
            found.setdefault(name, []).append(slug)
    return found


def _counts(connection: Connection, landmark: Landmark) -> Sequence[Any]:
    """Numbers of photos and images, and their mean score, by state, where teaching finds the landmark."""
    of_present = and_(photos.c.content_id == effective_tags.c.content_id, photos.c.gone_since.is_(None))
    return connection.execute(
        select(
            effective_tags.c.state,
            func.count().label("photos"),
            func.count(effective_tags.c.content_id.distinct()).label("images"),
            func.avg(effective_tags.c.score).label("score"),
        )
        .join(photos, of_present)
        .where(
            effective_tags.c.landmark_id == landmark.id,
            effective_tags.c.source == "taught",
            effective_tags.c.state.in_((TagState.ACCEPTED, TagState.SUGGESTED)),
        )
        .group_by(effective_tags.c.state)
    ).all()
