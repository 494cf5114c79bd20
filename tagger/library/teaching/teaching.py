"""Teaching a landmark: verdicts on examples, its classifier, and the tags of all images that have an embedding; and its JSON."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, exists, func, select

from tagger.database.connection import Database
from tagger.database.tables import classifiers, contents, model_labels, photos, taught_tags
from tagger.library.catalog.contents import (
    has_verdict_on,
    is_dismissed,
    is_undisputed,
)
from tagger.library.catalog.landmarks import Landmark
from tagger.library.catalog.registered_models import RegisteredModel
from tagger.library.teaching.comparison import Progress, compare_all, is_tagged_by_model
from tagger.library.teaching.examples import NamedOtherwise
from tagger.library.teaching.learning import learn_landmarks
from tagger.system.documents import document_of


@dataclass(frozen=True)
class TaughtState:
    """What is known of a taught landmark, in photos.

    `examples` and `rejected` are the images that its classifier was learned from; both are 0 if there is none. `tagged` counts photos, and
    `suggested` images, without a verdict that the model itself does not tag. `precision` is the part of the tagged ones that is probably right, by their
    scores; None without any. `is_label`: the model knows the landmark itself.
    """

    examples: int
    rejected: int
    tagged: int
    suggested: int
    precision: float | None
    is_label: bool


@dataclass(frozen=True)
class TaughtDocument:
    """A landmark after it was taught: from how many `examples`, how many photos were `compared`, and what was found.

    `precision`: the part of the tagged photos that is probably right. `named_otherwise`: what the model gives examples of this request.
    """

    landmark: str
    examples: int
    rejected: int
    compared: int
    tagged: int
    suggested: int
    precision: float | None
    named_otherwise: Sequence[NamedOtherwise]
    seconds: float


def taught_document(
    landmark: Landmark,
    state: TaughtState,
    named_otherwise: Sequence[NamedOtherwise],
    compared: int,
    seconds: float,
) -> TaughtDocument:
    """What is known of a landmark after it was taught. `compared`: the number of images."""
    return document_of(
        TaughtDocument,
        state,
        landmark=landmark.slug,
        named_otherwise=named_otherwise,
        compared=compared,
        seconds=round(seconds, 3),
    )


def update_taught(
    database: Database,
    model: RegisteredModel,
    landmark_ids: Collection[int] | None = None,
    on_progress: Progress = lambda _count: None,
) -> int:
    """Learn the landmarks whose verdicts have changed (of these, or of all), and compare all embeddings with them.

    Returns how many images were compared.

    Raises:
        EmbeddingsMissing: the model gives no embeddings.
        ModelFileNotFound, ModelRefused: the model's file cannot be read.
    """
    learn_landmarks(database, model, landmark_ids)
    return compare_all(database, model.id, on_progress)


def taught_state(database: Database, model: RegisteredModel, landmark: Landmark) -> TaughtState:
    """The state of a landmark now."""
    with database.read() as connection:
        learned = connection.execute(
            select(classifiers.c.examples, classifiers.c.rejected).where(
                classifiers.c.landmark_id == landmark.id,
                classifiers.c.model_id == model.id,
                classifiers.c.pack == "",
            )
        ).one_or_none()
        is_label = _is_label(connection, model.id, landmark.id)
        counts = {
            bool(row.accepted): (row.photos, row.images, float(row.score))
            for row in _counts(connection, landmark)
        }
    tagged, _, score = counts.get(True, (0, 0, 0.0))
    return TaughtState(
        examples=learned.examples if learned else 0,
        rejected=learned.rejected if learned else 0,
        tagged=tagged,
        suggested=counts.get(False, (0, 0, 0.0))[1],
        precision=score if tagged else None,
        is_label=is_label,
    )


def images_without_embedding(database: Database, model: RegisteredModel) -> int:
    """The number of images that another model classified last: they have no embedding to compare."""
    by_other = and_(contents.c.model_id.is_not(None), contents.c.model_id != model.id)
    is_present = exists().where(photos.c.content_id == contents.c.id, photos.c.gone_since.is_(None))
    with database.read() as connection:
        query = select(func.count()).select_from(contents).where(by_other, is_present)
        return int(connection.execute(query).scalar_one())


def _is_label(connection: Connection, model_id: int, landmark_id: int) -> bool:
    of_model = and_(model_labels.c.model_id == model_id, model_labels.c.landmark_id == landmark_id)
    return connection.execute(select(model_labels.c.position).where(of_model)).first() is not None


def _counts(connection: Connection, landmark: Landmark) -> Sequence[Any]:
    """Number of photos without a verdict or a tag of the model, and of images, and their mean score, by whether the taught tag is accepted."""
    of_present = and_(photos.c.content_id == taught_tags.c.content_id, photos.c.gone_since.is_(None))
    return connection.execute(
        select(
            taught_tags.c.accepted,
            func.count().label("photos"),
            func.count(taught_tags.c.content_id.distinct()).label("images"),
            func.avg(taught_tags.c.score).label("score"),
        )
        .join(photos, of_present)
        .where(
            taught_tags.c.landmark_id == landmark.id,
            taught_tags.c.doubtful.is_(None),
            ~has_verdict_on(taught_tags),
            ~is_dismissed(taught_tags.c.content_id),
            is_undisputed(taught_tags),
            ~is_tagged_by_model(),
        )
        .group_by(taught_tags.c.accepted)
    ).all()
