"""Photos ranked by how much they resemble given ones, by their stored embeddings.

The similarity is the cosine of embeddings from which the mean of the model's background is subtracted. Whitened embeddings, as
teaching uses them, rank worse (see docs/explanation/teaching.md).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, false, or_, select, true

from tagger.database.connection import Database
from tagger.database.tables import contents, embeddings, photos
from tagger.library.catalog.registered_models import RegisteredModel
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.photo_conditions import off_index, path_ranges
from tagger.library.query.tagged_photos import NameCache, TaggedPhoto, first_photos, tag_rows
from tagger.library.teaching.embeddings import Embeddings, restore
from tagger.library.teaching.learning import embedding_of
from tagger.model.artifact import read_background

PAGE = 2000


def find_similar(
    database: Database,
    model: RegisteredModel,
    given: Embeddings,
    root_paths: RootPaths,
    *,
    limit: int,
    under: Sequence[Path] = (),
    without: Collection[int] = (),
) -> list[TaggedPhoto]:
    """The `limit` photos that resemble one of the given embeddings (N, D) most, with their accepted tags; the best first.

    Of copies of an image, one is listed. `without`: content ids of images to leave out.

    Raises:
        EmbeddingsMissing: the model gives no embeddings.
        ModelFileNotFound, ModelRefused: the model's file cannot be read.
    """
    rule = embedding_of(model)
    mean = read_background(model.file, model.digest, rule).mean
    directions = given - mean
    directions /= lengths(directions)[:, None]
    best_ids = np.empty(0, np.int64)
    best: Embeddings = np.empty(0, np.float32)
    for rows in _pages(database, model.id, under, root_paths):
        stored = restore([row.data for row in rows], rule.dimension)
        stored -= mean
        ids = np.array([row.content_id for row in rows], np.int64)
        similarities: Embeddings = (stored @ directions.T).max(axis=1) / lengths(stored)
        others = ~np.isin(ids, list(without))
        best_ids = np.concatenate([best_ids, ids[others]])
        best = np.concatenate([best, similarities[others]])
        order = np.argsort(-best, kind="stable")[:limit]
        best_ids, best = best_ids[order], best[order]
    similarity_of = dict(zip(best_ids.tolist(), best.tolist(), strict=True))
    with database.read() as connection:
        return _photos(connection, similarity_of, under, root_paths)


def content_with_embedding(connection: Connection, model_id: int, digest: str) -> int | None:
    """The content id of the image with this digest, if its embedding of the model is stored."""
    query = select(contents.c.id).join(embeddings, embeddings.c.content_id == contents.c.id)
    found = connection.execute(query.where(contents.c.digest == digest, embeddings.c.model_id == model_id))
    return found.scalar_one_or_none()


def lengths(vectors: Embeddings) -> Embeddings:
    """The lengths (N,) of vectors (N, D), 1 instead of 0."""
    found: Embeddings = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    found[found == 0] = 1
    return found


def _pages(
    database: Database, model_id: int, under: Sequence[Path], root_paths: RootPaths
) -> Iterator[Sequence[Row[Any]]]:
    """The stored embeddings of images of which a photo is present, in the order of the images."""
    with database.read() as connection:
        is_listed = _is_listed(connection, under, root_paths)
    has_photo = exists().where(photos.c.content_id == embeddings.c.content_id, is_listed)
    query: Select[Any] = (
        select(embeddings.c.content_id, embeddings.c.data).order_by(embeddings.c.content_id).limit(PAGE)
    )
    last_id = 0
    while True:
        of_page = and_(
            off_index(embeddings.c.model_id) == model_id, embeddings.c.content_id > last_id, has_photo
        )
        with database.read() as connection:
            rows = connection.execute(query.where(of_page)).all()
        if not rows:
            return
        yield rows
        last_id = rows[-1].content_id


def _is_listed(connection: Connection, under: Sequence[Path], root_paths: RootPaths) -> ColumnElement[bool]:
    """The condition for photos that are present, and below one of the folders if there are any."""
    below: ColumnElement[bool] = true()
    if under:
        below = or_(false(), *(range_.filter for range_ in path_ranges(connection, under, root_paths)))
    return and_(photos.c.gone_since.is_(None), below)


def _photos(
    connection: Connection, similarity_of: dict[int, float], under: Sequence[Path], root_paths: RootPaths
) -> list[TaggedPhoto]:
    """The first photo of each image, in the order of the images."""
    names = NameCache(connection, root_paths)
    rows = first_photos(connection, similarity_of, _is_listed(connection, under, root_paths))
    tags_of = tag_rows(connection, similarity_of)
    found = []
    for content_id, similarity in similarity_of.items():
        if content_id in rows:  # it may have gone meanwhile
            photo_tags = tags_of.get(content_id, ())
            accepted = [tag for tag in photo_tags if tag.accepted]
            photo = names.photo(connection, rows[content_id], photo_tags, accepted)
            found.append(replace(photo, similarity=similarity))
    return found
