"""Compares photos with the taught landmarks while they are stored, and stores their embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, delete, insert

from tagger.database.tables import embeddings
from tagger.library.teaching.embeddings import quantize, restore
from tagger.library.teaching.taught_tags import TaughtCache, TaughtTag, replace_taught_tags
from tagger.pipeline.results import Classified


@dataclass(frozen=True)
class Compared:
    """The embeddings of contents, as they are stored, and their taught tags, by content id.

    A content whose model gives no embedding has no taught tags.
    """

    version: int
    embeddings: Mapping[int, bytes]
    tags: Mapping[int, Sequence[TaughtTag]]


def compare(connection: Connection, classified: Mapping[int, Classified], taught: TaughtCache) -> Compared:
    """Compare classified contents, by id, with the taught landmarks of now."""
    tags: dict[int, Sequence[TaughtTag]] = dict.fromkeys(classified, ())
    values = {
        content_id: result.embedding
        for content_id, result in classified.items()
        if result.embedding is not None
    }
    if not values:
        return Compared(0, {}, tags)
    stacked = np.stack(list(values.values()))
    landmarks = taught.current(connection)
    rows = quantize(stacked)
    # As they will be read: a later comparison of what is stored gives the same scores.
    tags |= zip(values, landmarks.tags(restore(rows, stacked.shape[1])), strict=True)
    return Compared(landmarks.version, dict(zip(values, rows, strict=True)), tags)


def store_compared(connection: Connection, model_id: int, compared: Compared) -> None:
    """Replace the embeddings and taught tags of the contents."""
    if not compared.tags:
        return
    connection.execute(delete(embeddings).where(embeddings.c.content_id.in_(compared.tags)))
    rows = [
        {"content_id": content_id, "model_id": model_id, "taught_version": compared.version, "data": data}
        for content_id, data in sorted(compared.embeddings.items())
    ]
    if rows:
        connection.execute(insert(embeddings), rows)
    replace_taught_tags(connection, model_id, compared.tags)
