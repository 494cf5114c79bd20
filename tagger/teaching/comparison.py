"""The classifiers of taught landmarks in SQL, and the tags that they give to stored embeddings.

A model counts the changes of its classifiers: `models.taught_version`. Whoever stores embeddings compares
them with the classifiers of the current version, in the same transaction (`compare_batch`). A lock on the
version's row keeps the version from changing until that transaction ends, so no embedding is ever missed: it
is either compared when it is stored, or stored before a new classifier is applied to all.

A classifier that was learned anew is compared with every stored embedding, page by page, in constant memory.
If that is interrupted, the classifier stays marked as not applied, and images that were not compared since it
was learned are outdated.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    exists,
    func,
    select,
    update,
)

from tagger.database.connection import Database
from tagger.database.statements import among, unindexed
from tagger.database.tables import classifiers, embeddings, models, taught_tags
from tagger.model import least_score
from tagger.tags import lock_contents
from tagger.tags.causes import ComparedBatch, TaughtTags, replace_taught_tags
from tagger.tags.settlement import EffectiveTags
from tagger.teaching.classifiers import (
    Embeddings,
    SeveralClassifiers,
    quantize,
    restore,
)


@dataclass(frozen=True)
class TaughtLandmarks:
    """The classifiers of a model at one version, each with its landmark's id; None without any landmark.

    `least`: the lowest score of each that is stored.
    """

    version: int
    landmark_ids: Sequence[int]
    classifiers: SeveralClassifiers | None
    least: Embeddings

    def tags(self, stored: Sequence[bytes]) -> list[dict[int, float]]:
        """The scores of the taught tags of each image, by landmark id, from stored embeddings."""
        tags: list[dict[int, float]] = [{} for _ in stored]
        if self.classifiers is not None:
            scores = self.classifiers.scores(
                restore(stored, len(self.classifiers.weights))
            )
            for row, column in np.argwhere(scores >= self.least).tolist():
                tags[row][self.landmark_ids[column]] = float(scores[row, column])
        return tags


class TaughtCache:
    """The taught landmarks of one model, read again only when their version has changed. Thread-safe."""

    def __init__(self, model_id: int) -> None:
        self.model_id = model_id
        self._taught: TaughtLandmarks | None = None

    def current(self, connection: Connection) -> TaughtLandmarks:
        """The current version, which does not change before the transaction ends."""
        version = lock_version(connection, self.model_id)
        if (taught := self._taught) is None or taught.version != version:
            self._taught = taught = load_classifiers(connection, self.model_id, version)
        return taught


def load_classifiers(
    connection: Connection,
    model_id: int,
    version: int,
    landmark_ids: Collection[int] | None = None,
) -> TaughtLandmarks:
    query = (
        select(classifiers.c.landmark_id, classifiers.c.data, classifiers.c.share)
        .where(classifiers.c.model_id == model_id)
        .order_by(classifiers.c.landmark_id)
    )
    if landmark_ids is not None:
        query = query.where(classifiers.c.landmark_id.in_(landmark_ids))
    rows = connection.execute(query).all()
    several = None
    if rows:
        dimension = models.c.manifest["embedding"]["dimension"].as_integer()
        several = SeveralClassifiers.of(
            [row.data for row in rows],
            connection.scalars(select(dimension).where(models.c.id == model_id)).one(),
        )
    least = np.array([least_score(row.share) for row in rows], np.float32)
    return TaughtLandmarks(version, [row.landmark_id for row in rows], several, least)


def next_version(connection: Connection, model_id: int) -> int:
    """Count a change of the model's classifiers, after all comparisons with the previous ones."""
    return int(
        connection.execute(
            update(models)
            .where(models.c.id == model_id)
            .values(taught_version=models.c.taught_version + 1)
            .returning(models.c.taught_version)
        ).scalar_one()
    )


def lock_version(connection: Connection, model_id: int) -> int:
    """The version of the model's classifiers, which does not change before the transaction ends."""
    return int(
        connection.execute(
            select(models.c.taught_version)
            .where(models.c.id == model_id)
            .with_for_update(read=True)
        ).scalar_one()
    )


# Embeddings that are compared at once: 40 MB. Each page with a tag takes a transaction.
PAGE = 8000

# Called with the number of images compared so far; may end the comparison by an exception.
CountProgress = Callable[[int], None]


def compare_batch(
    connection: Connection, taught: TaughtCache, found: Mapping[int, Embeddings | None]
) -> ComparedBatch:
    """Compare new embeddings of images, by content id, with what is taught, which stays until the commit."""
    tags: dict[int, Mapping[int, float]] = {content_id: {} for content_id in found}
    values = {
        content_id: each for content_id, each in found.items() if each is not None
    }
    if not values:
        return ComparedBatch(tags, [])
    landmarks = taught.current(connection)
    stored = quantize(np.stack(list(values.values())))
    # Compared as they are stored, so that a later comparison gives the same scores.
    tags |= zip(values, landmarks.tags(stored), strict=True)
    return ComparedBatch(
        tags,
        [
            (key, landmarks.version, data)
            for key, data in sorted(zip(values, stored, strict=True))
        ],
    )


def compare_all(
    database: Database, model_id: int, on_progress: CountProgress = lambda _count: None
) -> int:
    """Compare all stored embeddings of a model with the classifiers not applied. Returns how many."""
    with database.read() as connection:
        versions = _versions(connection, model_id, ~classifiers.c.applied)
        taught = load_classifiers(connection, model_id, 0, versions)
    if not versions:
        return 0
    count = 0
    for rows in stored_pages(database, model_id, PAGE):
        _replace_page(database, model_id, versions, _tags(rows, taught))
        count += len(rows)
        on_progress(count)
    compared = (
        classifiers.c.model_id == model_id,
        among(classifiers.c.landmark_id, versions),
        classifiers.c.version
        <= max(versions.values()),  # what was learned meanwhile has a later one
    )
    with database.write() as connection:
        connection.execute(update(classifiers).where(*compared).values(applied=True))
    return count


def stored_pages(
    database: Database, model_id: int, size: int, *conditions: ColumnElement[bool]
) -> Iterator[Sequence[Row[Any]]]:
    """The stored embeddings with these conditions, in the order of their images."""
    return database.row_pages(
        _stored(model_id, *conditions), embeddings.c.content_id, size=size
    )


def compare_images(
    connection: Connection,
    model_id: int,
    content_ids: Collection[int],
    taught: TaughtCache,
) -> EffectiveTags:
    """Compare some images with all current classifiers. Returns the effective tags by content id.

    Images without an embedding of the model are left out.
    """
    landmarks = taught.current(connection)
    lock_contents(connection, content_ids)
    found = _tags(
        connection.execute(
            _stored(model_id, embeddings.c.content_id.in_(content_ids))
        ).all(),
        landmarks,
    )
    connection.execute(
        update(embeddings)
        .where(embeddings.c.content_id.in_(found), embeddings.c.model_id == model_id)
        .values(taught_version=landmarks.version)
    )
    return replace_taught_tags(connection, model_id, found)


def outdated(model_id: int) -> ColumnElement[bool]:
    """The condition on `embeddings` for images not compared with a classifier since it was learned."""
    newest = (
        select(func.max(classifiers.c.version))
        .where(classifiers.c.model_id == model_id, ~classifiers.c.applied)
        .scalar_subquery()
    )
    return and_(embeddings.c.model_id == model_id, embeddings.c.taught_version < newest)


def has_unapplied(connection: Connection, model_id: int) -> bool:
    """Whether not all embeddings of a model were compared with its classifiers."""
    return bool(
        connection.scalar(
            select(
                exists().where(
                    classifiers.c.model_id == model_id, ~classifiers.c.applied
                )
            )
        )
    )


def mark_applied(connection: Connection, model_id: int) -> None:
    """Mark as applied the classifiers that every image was compared with."""
    connection.execute(
        update(classifiers)
        .where(
            classifiers.c.model_id == model_id,
            ~classifiers.c.applied,
            ~exists().where(
                embeddings.c.model_id == model_id,
                embeddings.c.taught_version < classifiers.c.version,
            ),
        )
        .values(applied=True)
    )


def _stored(model_id: int, *conditions: ColumnElement[bool]) -> Select[Any]:
    # Otherwise, SQLite reads all images of the model along another index, and sorts them for each page.
    return select(embeddings.c.content_id, embeddings.c.data).where(
        unindexed(embeddings.c.model_id) == model_id, *conditions
    )


def _tags(
    rows: Sequence[Row[Any]], taught: TaughtLandmarks
) -> dict[int, dict[int, float]]:
    # The taught tags of stored embeddings, by content id.
    content_ids = (row.content_id for row in rows)
    return dict(zip(content_ids, taught.tags([row.data for row in rows]), strict=True))


def _versions(
    connection: Connection, model_id: int, *conditions: ColumnElement[bool]
) -> dict[int, int]:
    # The versions of a model's classifiers, by landmark id.
    query = select(classifiers.c.landmark_id, classifiers.c.version).where(
        classifiers.c.model_id == model_id, *conditions
    )
    return {row.landmark_id: row.version for row in connection.execute(query)}


def _replace_page(
    database: Database,
    model_id: int,
    versions: Mapping[int, int],
    found: TaughtTags,
) -> None:
    # Replace the tags of a page of images, except those of landmarks that were learned anew meanwhile.
    with database.read() as connection:
        stored = set(
            connection.scalars(
                select(taught_tags.c.content_id).where(
                    taught_tags.c.content_id.between(min(found), max(found)),
                    taught_tags.c.model_id == model_id,
                    among(taught_tags.c.landmark_id, versions),
                )
            )
        )
    changed = sorted(
        stored | {content_id for content_id, tags in found.items() if tags}
    )
    if not changed:
        return
    with database.write() as connection:
        # A landmark is learned anew before this transaction, or after it.
        lock_version(connection, model_id)
        lock_contents(connection, changed)
        current = _versions(connection, model_id)
        same = {key for key, version in versions.items() if current.get(key) == version}
        kept = set(
            connection.scalars(
                select(embeddings.c.content_id).where(
                    among(embeddings.c.content_id, changed),
                    unindexed(embeddings.c.model_id) == model_id,
                )
            )
        )
        tags_of_same = {
            content_id: {
                key: score
                for key, score in found.get(content_id, {}).items()
                if key in same
            }
            for content_id in kept
        }
        replace_taught_tags(
            connection, model_id, tags_of_same, among(taught_tags.c.landmark_id, same)
        )
