"""The verdicts that a taught landmark is learned from: those on images that have an embedding of the model."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from blake3 import blake3
from sqlalchemy import Connection, Select, exists, func, or_, select

from tagger.database.statements import pages
from tagger.database.tables import embeddings, model_labels, tags, verdicts
from tagger.library.catalog.tag_acceptance import is_accepted_by_score
from tagger.library.teaching.embeddings import Embeddings, restore

LEAST_MISSED = 3
"""A landmark of the model is taught once this many confirmed images are among those that the model missed."""


@dataclass(frozen=True)
class Evidence:
    """Content ids of the images on which a landmark is confirmed, and of those on which it is rejected, in order."""

    confirmed: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def digest(self) -> str:
        """Identifies these verdicts."""
        return blake3(repr((self.confirmed, self.rejected)).encode()).hexdigest()


def find_evidence(
    connection: Connection, model_id: int, landmark_ids: Collection[int] | None = None
) -> dict[int, Evidence]:
    """The evidence of each landmark that can be taught, by its id: of these landmarks, or of all.

    A landmark of people's own is taught from its first confirmed image on, one of the model's if the model misses it.
    """
    query = (
        select(verdicts.c.landmark_id, verdicts.c.content_id, verdicts.c.verdict)
        .join(embeddings, embeddings.c.content_id == verdicts.c.content_id)
        .where(embeddings.c.model_id == model_id, verdicts.c.landmark_id.in_(_taught(model_id)))
        .order_by(verdicts.c.landmark_id, verdicts.c.content_id)
    )
    if landmark_ids is not None:
        query = query.where(verdicts.c.landmark_id.in_(landmark_ids))
    confirmed: dict[int, list[int]] = {}
    rejected: dict[int, list[int]] = {}
    for row in connection.execute(query):
        kind = confirmed if row.verdict == "confirmed" else rejected
        kind.setdefault(row.landmark_id, []).append(row.content_id)
    return {
        landmark_id: Evidence(tuple(ids), tuple(rejected.get(landmark_id, ())))
        for landmark_id, ids in confirmed.items()
    }


def _taught(model_id: int) -> Select[tuple[int]]:
    """The ids of landmarks that can be taught."""
    labels = select(model_labels.c.landmark_id).where(model_labels.c.model_id == model_id)
    is_tagged = exists().where(
        tags.c.content_id == verdicts.c.content_id,
        tags.c.landmark_id == verdicts.c.landmark_id,
        is_accepted_by_score(tags),
    )
    return (
        select(verdicts.c.landmark_id)
        .join(embeddings, embeddings.c.content_id == verdicts.c.content_id)
        .where(embeddings.c.model_id == model_id, verdicts.c.verdict == "confirmed", ~is_tagged)
        .group_by(verdicts.c.landmark_id)
        .having(or_(verdicts.c.landmark_id.not_in(labels), func.count() >= LEAST_MISSED))
    )


def load_embeddings(connection: Connection, content_ids: Sequence[int], dimension: int) -> Embeddings:
    """The embeddings (N, D) of these images, in their order."""
    stored: dict[int, bytes] = {}
    for page in pages(content_ids):
        query = select(embeddings.c.content_id, embeddings.c.data).where(embeddings.c.content_id.in_(page))
        stored |= {row.content_id: row.data for row in connection.execute(query)}
    return restore([stored[content_id] for content_id in content_ids if content_id in stored], dimension)
