"""Photos that resemble given ones, groups of unknown photos that look alike, and sketches to find both.

The similarity is the cosine of embeddings from which the mean of the model's background is subtracted.
Whitened embeddings, as teaching uses them, rank worse (see docs/explanation/teaching.md).

A group begins with a first image, and those that are at least as similar to it as `LEAST_SIMILARITY`. Images
are compared in blocks with the first images of the groups so far, so that memory grows with the number of
images, not with its square. Then groups that resemble each other on average are joined, and each image goes
to the group that it resembles most. So photos of one place can be named at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from math import log10
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    exists,
    false,
    insert,
    or_,
    select,
    true,
)

from tagger.database import Outcome
from tagger.database.connection import Database
from tagger.database.statements import among, unindexed
from tagger.database.tables import (
    SKETCHED_BLOCK,
    contents,
    embeddings,
    models,
    photos,
    sketches,
)
from tagger.model.artifact import BackgroundStatistics, read_background
from tagger.query.photo_conditions import path_ranges
from tagger.query.tagged_photos import (
    NameCache,
    TaggedPhoto,
    accepted_tags,
    first_photos,
)
from tagger.registry import RegisteredModel
from tagger.roots import RootPaths
from tagger.tags import has_photo, is_dismissed
from tagger.teaching.classifiers import (
    Embeddings,
    embedding_bytes,
    lengths,
    quantize,
    restore,
    restore_joined,
)
from tagger.teaching.comparison import CountProgress, stored_pages
from tagger.teaching.learning import embedding_of

PAGE = 2000
# Images with the most similar sketches, of which embeddings are compared: at least, and for each
# result.
COMPARED, COMPARED_PER_PHOTO = 4000, 8

ContentIds = npt.NDArray[np.int64]


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
    """The `limit` photos that resemble one of the given embeddings (N, D) most, best first, with their tags.

    Of copies of an image, one is listed. `without`: content ids of images to leave out.

    Raises:
        EmbeddingsMissing: the model gives no embeddings.
        ModelFileNotFound, ModelRefused: the model's file cannot be read.
    """
    rule = embedding_of(model)
    space = SketchSpace.of(read_background(model.file, model.digest, rule))
    directions = space.directions(given)
    with database.read() as connection:
        is_listed = _is_listed(connection, under, root_paths)
        of_listed = select(photos.c.content_id).where(
            is_listed, photos.c.content_id.is_not(None)
        )
        below = np.fromiter(connection.scalars(of_listed), np.int64) if under else None
    similarity_of: dict[int, float] = {}
    has_listed = exists().where(
        photos.c.content_id == embeddings.c.content_id, is_listed
    )
    number = max(COMPARED, COMPARED_PER_PHOTO * limit)
    for likely in _likely(database, model.id, space, directions, below, number):
        for rows in stored_pages(
            database,
            model.id,
            PAGE,
            among(embeddings.c.content_id, set(likely.tolist()).difference(without)),
            has_listed,
        ):
            compared = space.directions(
                restore([row.data for row in rows], rule.dimension)
            )
            similarities = (compared @ directions.T).max(axis=1).tolist()
            similarity_of.update(
                zip((row.content_id for row in rows), similarities, strict=True)
            )
        if len(similarity_of) >= limit:
            break
    best = nlargest(limit, similarity_of, key=similarity_of.__getitem__)
    with database.read() as connection:
        return _similar_photos(
            connection, {key: similarity_of[key] for key in best}, under, root_paths
        )


def _likely(
    database: Database,
    model_id: int,
    space: SketchSpace,
    directions: Embeddings,
    below: ContentIds | None,
    number: int,
) -> Iterator[ContentIds]:
    # All images or those `below` folders, so many at a time, those with the most similar sketches first.
    sketched = (directions @ space.axes).T
    content_ids, similarities = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for block in read_sketches(database, model_id, space):
        content_ids.append(block.content_ids)
        similarities.append((block.sketches @ sketched).max(axis=1))
    rest, similarity = np.concatenate(content_ids), np.concatenate(similarities)
    if below is not None:
        is_below = np.isin(rest, below)
        rest, similarity = rest[is_below], similarity[is_below]
    while len(rest):
        order = np.argpartition(-similarity, min(number, len(rest) - 1))
        yield rest[order[:number]]
        rest, similarity = rest[order[number:]], similarity[order[number:]]


def content_with_embedding(
    connection: Connection,
    model_id: int,
    digest: str,
) -> int | None:
    """The content id of the image with this digest, if its embedding of the model is stored."""
    return connection.execute(
        select(contents.c.id)
        .join(embeddings, embeddings.c.content_id == contents.c.id)
        .where(contents.c.digest == digest, embeddings.c.model_id == model_id)
    ).scalar_one_or_none()


def _is_listed(
    connection: Connection,
    under: Sequence[Path],
    root_paths: RootPaths,
) -> ColumnElement[bool]:
    # The condition for photos that are present, and below one of the folders if there are any.
    below: ColumnElement[bool] = true()
    if under:
        below = or_(
            false(),
            *(
                range_.condition(unindexed(photos.c.root_id))
                for range_ in path_ranges(connection, under, root_paths)
            ),
        )
    return and_(photos.c.gone_since.is_(None), below)


def _similar_photos(
    connection: Connection,
    similarity_of: dict[int, float],
    under: Sequence[Path],
    root_paths: RootPaths,
) -> list[TaggedPhoto]:
    # The first photo of each image, in the order of the images.
    names = NameCache(connection, root_paths)
    rows = first_photos(
        connection,
        similarity_of,
        _is_listed(connection, under, root_paths),
    )
    in_order = [
        rows[content_id] for content_id in similarity_of if content_id in rows
    ]  # some may have gone
    return [
        replace(photo, similarity=similarity_of[row.content_id])
        for photo, row in zip(
            names.photos(connection, in_order, accepted_tags),
            in_order,
            strict=True,
        )
    ]


# From this similarity on, photos are in the group of a first one (see
# docs/explanation/teaching.md).
LEAST_SIMILARITY = 0.5
# From this mean similarity on, groups show the same place, and a photo that of a group.
LEAST_MEAN_SIMILARITY = 0.4
# Groups that are compared with each other, the largest ones.
MOST_JOINED = 2000
LEAST_PHOTOS = 3
# Images that are compared, the ones added last. Comparing as many takes seconds of one processor.
MOST_IMAGES = 20_000
MOST_GROUPS = 50
BLOCK = 512


@dataclass(frozen=True)
class LookAlikes:
    """Groups of content ids, the largest first; `compared` are those added last of all if `is_limited`."""

    groups: tuple[tuple[int, ...], ...]
    compared: int
    is_limited: bool


def find_look_alikes(
    database: Database,
    model: RegisteredModel,
    *,
    on_progress: CountProgress = lambda _count: None,
) -> LookAlikes:
    """Group the unknown images that have an embedding of the model.

    Raises:
        EmbeddingsMissing: the model gives no embeddings.
        ModelFileNotFound, ModelRefused: the model's file cannot be read.
    """
    rule = embedding_of(model)
    mean = read_background(model.file, model.digest, rule).mean
    ids, stored = _unknown_embeddings(database, model.id)
    is_limited = len(ids) > MOST_IMAGES
    ids, stored = ids[:MOST_IMAGES], stored[:MOST_IMAGES]
    directions = np.empty((len(ids), rule.dimension), np.float32)
    for start in range(0, len(ids), PAGE):
        page = restore(stored[start : start + PAGE], rule.dimension) - mean
        directions[start : start + PAGE] = page / lengths(page)[:, None]
    del stored
    begun = group_directions(directions, LEAST_SIMILARITY, on_progress)
    groups = merge_groups(directions, begun, LEAST_MEAN_SIMILARITY)
    large = sorted(
        (group for group in groups if len(group) >= LEAST_PHOTOS),
        key=len,
        reverse=True,
    )
    return LookAlikes(
        tuple(tuple(ids[index] for index in group) for group in large[:MOST_GROUPS]),
        len(ids),
        is_limited,
    )


def group_directions(
    directions: Embeddings,
    least_similarity: float,
    on_progress: CountProgress = lambda _count: None,
) -> list[list[int]]:
    """Groups of rows (N, D) of length 1: each row is in that of the most similar first image, or first."""
    firsts = np.empty_like(directions)  # the first images, in the order of their groups
    groups: list[list[int]] = []
    for start in range(0, len(directions), BLOCK):
        block = directions[start : start + BLOCK]
        similarities = block @ firsts[: len(groups)].T
        nearest = (
            similarities.argmax(axis=1) if groups else np.zeros(len(block), np.int64)
        )
        in_group = (
            similarities.max(axis=1) >= least_similarity
            if groups
            else np.zeros(len(block), bool)
        )
        for row in np.flatnonzero(in_group):
            groups[nearest[row]].append(start + int(row))
        begun = len(groups)
        for row in np.flatnonzero(~in_group):
            new = firsts[begun : len(groups)] @ block[row]
            if len(new) and new.max() >= least_similarity:
                groups[begun + int(new.argmax())].append(start + int(row))
            else:
                firsts[len(groups)] = block[row]
                groups.append([start + int(row)])
        on_progress(min(start + BLOCK, len(directions)))
    return groups


def merge_groups(
    directions: Embeddings,
    groups: Sequence[Sequence[int]],
    least_similarity: float,
) -> list[list[int]]:
    """The groups of two or more rows (N, D), similar ones joined; each row is in the most similar one."""
    several = sorted(
        (group for group in groups if len(group) > 1),
        key=len,
        reverse=True,
    )[:MOST_JOINED]
    if not several:
        return []
    begun = _means(directions, several)
    joined = join_groups(begun @ begun.T, several, least_similarity)
    means = _means(directions, joined)
    found: list[list[int]] = [[] for _ in joined]
    for start in range(0, len(directions), BLOCK):
        similarities = directions[start : start + BLOCK] @ means.T
        nearest = similarities.argmax(axis=1)
        for row in np.flatnonzero(similarities.max(axis=1) >= least_similarity):
            found[nearest[row]].append(start + int(row))
    return found


def join_groups(
    similarities: Embeddings,
    groups: Sequence[Sequence[int]],
    least_similarity: float,
) -> list[list[int]]:
    """Join the two groups that are most similar on average, as long as there are such.

    Args:
        similarities: (G, G), the mean similarity of each two groups. It is changed.
        groups: the rows of each group.
        least_similarity: that of groups that are joined.
    """
    members = [list(group) for group in groups]
    np.fill_diagonal(similarities, -1)
    while members:
        one, other = divmod(int(similarities.argmax()), len(members))
        if similarities[one, other] < least_similarity:
            break
        merged = np.average(
            similarities[[one, other]],
            axis=0,
            weights=[len(members[one]), len(members[other])],
        )
        merged[[one, other]] = -1
        similarities[one], similarities[:, one] = merged, merged
        similarities[other], similarities[:, other] = -1, -1
        members[one] += members[other]
        members[other] = []
    return [group for group in members if group]


def _means(directions: Embeddings, groups: Sequence[Sequence[int]]) -> Embeddings:
    # The mean direction (G, D) of each group: its product with a row is the row's mean similarity.
    found: Embeddings = np.stack([directions[group].mean(axis=0) for group in groups])
    return found


def photos_of_groups(
    database: Database,
    groups: Sequence[Collection[int]],
    root_paths: RootPaths,
) -> list[list[TaggedPhoto]]:
    """The photos of each group that are still unknown, one of each image: the likeliest places first.

    Groups that became small are left out.
    """
    with database.read() as connection:
        names = NameCache(connection, root_paths)
        found = [_unknown_photos(connection, names, group) for group in groups]
    large = (of_group for of_group in found if len(of_group) >= LEAST_PHOTOS)
    return sorted(large, key=place_likelihood, reverse=True)


# Groups of rooms, people and things are mostly less likely places (see
# docs/explanation/teaching.md).
LEAST_LIKELIHOOD = -2.75


def place_likelihood(group: Sequence[TaggedPhoto]) -> float:
    """How likely photos that look alike show one place: from -6 to 1.

    It is the mean logarithm of the chance that models give any landmark, and the part of the photos that were
    taken at the same place on the same day.
    """
    chances = (
        log10(max(1e-6, sum(tag.score or 0.0 for tag in photo.tags))) for photo in group
    )
    together = Counter(_place_and_day(photo) for photo in group if photo.taken_at)
    return fmean(chances) + max(together.values(), default=0) / len(group)


def _place_and_day(photo: TaggedPhoto) -> tuple[object, ...]:
    # The day, and the position within about a kilometre if the camera or a track knows it.
    position = photo.position
    if (
        photo.taken_at is None
        or position is None
        or position.source not in ("camera", "track")
    ):
        return (photo.taken_at and photo.taken_at.date(),)
    return (
        photo.taken_at.date(),
        round(position.latitude, 2),
        round(position.longitude, 2),
    )


def _unknown_photos(
    connection: Connection,
    names: NameCache,
    content_ids: Collection[int],
) -> list[TaggedPhoto]:
    rows = first_photos(
        connection,
        content_ids,
        ~is_dismissed(photos.c.content_id),
    )
    in_order = [rows[content_id] for content_id in content_ids if content_id in rows]
    tagged = names.photos(connection, in_order, list)
    return [photo for photo in tagged if not any(tag.accepted for tag in photo.tags)]


def _unknown_embeddings(
    database: Database, model_id: int
) -> tuple[list[int], list[bytes]]:
    # Content ids and stored embeddings of the unknown images that were added last, more than are compared.
    query = (
        select(embeddings.c.content_id, embeddings.c.data)
        .join(contents, contents.c.id == embeddings.c.content_id)
        .where(
            contents.c.outcome == Outcome.UNKNOWN,
            unindexed(embeddings.c.model_id) == model_id,
        )
        .where(has_photo(contents.c.id), ~is_dismissed(contents.c.id))
        .order_by(contents.c.id.desc())
        .limit(PAGE)
    )
    ids: list[int] = []
    stored: list[bytes] = []
    while len(ids) <= MOST_IMAGES:
        page = query.where(contents.c.id < ids[-1]) if ids else query
        with database.read() as connection:
            rows = connection.execute(page).all()
        ids += [row.content_id for row in rows]
        stored += [row.data for row in rows]
        if len(rows) < PAGE:
            break
    return ids, stored


# Sketches of embeddings: with them, similar images are found among a million without reading all
# embeddings.
#
# A sketch is the direction of an embedding from the mean of the model's background, in the 64
# dimensions in which the background varies most, stored as embeddings are. It takes 40 bytes
# instead of 648. Then embeddings are compared, of the images with the most similar sketches (see
# docs/explanation/teaching.md).
#
# The table `sketches` keeps them in blocks of images. Whoever stores embeddings deletes their
# blocks, in the same transaction; what is missing is computed from the embeddings. A sketch without
# an embedding does no harm.

DIMENSIONS = 64
# More steps bring the dimensions nearer to those of the greatest variance, which finds no more
# photos.
STEPS = 4
IDENTITY_SHARE = 0.01
# Blocks that are read at once: 5 MB.
SKETCHED_PAGE = 32
# Blocks that are computed each time, in 0.2 s, before any are stored: small libraries need none.
MOST_MISSING = 8

_OFFSET = np.dtype("<u2")


@dataclass(frozen=True)
class SketchSpace:
    """`mean`: (D,). `axes`: (D, K), orthonormal."""

    mean: Embeddings
    axes: Embeddings

    @classmethod
    def of(cls, background: BackgroundStatistics) -> Self:
        """The space of a model, which is the same on each machine but for rounding."""
        covariance = background.covariance
        dimension = len(covariance)
        variance = float(covariance.diagonal().mean()) or 1.0
        # Where it does not vary, a part of the identity decides instead of rounding.
        regularised = covariance + np.float32(IDENTITY_SHARE * variance) * np.eye(
            dimension, dtype=np.float32
        )
        axes = np.eye(dimension, min(DIMENSIONS, dimension), dtype=np.float32)
        for _ in range(STEPS):
            # Columns of length 1 that span the same, at right angles: in a tenth of the time of a QR
            # decomposition.
            wide = (regularised @ axes).astype(np.float64)
            root = np.linalg.cholesky(wide.T @ wide)
            axes = np.linalg.solve(root, wide.T).T.astype(np.float32)
        return cls(background.mean, axes)

    def directions(self, found: Embeddings) -> Embeddings:
        """The directions (N, D) of embeddings, of length 1."""
        directions = found - self.mean
        directions /= lengths(directions)[:, None]
        return directions


class SketchedBlock(NamedTuple):
    """The images of a block: content ids (N,), and sketches (N, K)."""

    content_ids: npt.NDArray[np.int64]
    sketches: Embeddings


def read_sketches(
    database: Database,
    model_id: int,
    space: SketchSpace,
) -> Iterator[SketchedBlock]:
    """The sketches of all images with an embedding of the model, in the order of their ids."""
    with database.read() as connection:
        numbers = _blocks(connection, model_id)
    dimension = space.axes.shape[1]
    for start in range(0, len(numbers), SKETCHED_PAGE):
        some = numbers[start : start + SKETCHED_PAGE]
        with database.read() as connection:
            stored = {
                row.block: row.data
                for row in connection.execute(
                    select(sketches.c.block, sketches.c.data).where(
                        sketches.c.model_id == model_id,
                        sketches.c.block.between(some[0], some[-1]),
                    )
                )
            }
            for block in some:
                data = stored.get(block)
                if data is None:
                    data = _sketched(connection, model_id, block, space)
                number = len(data) // (_OFFSET.itemsize + embedding_bytes(dimension))
                offsets = np.frombuffer(data, _OFFSET, number)
                content_ids = offsets.astype(np.int64) + block * SKETCHED_BLOCK
                rows = restore_joined(data[offsets.nbytes :], dimension)
                yield SketchedBlock(content_ids, rows)


def update_sketches(database: Database, found: Iterable[RegisteredModel]) -> None:
    """Store the sketches that are missing for these models, if they are many, each block in a transaction.

    Raises:
        ModelFileNotFound, ModelRefused: a model's file cannot be read.
    """
    for model in found:
        if (embedding := model.manifest.embedding) is None:
            continue
        with database.read() as connection:
            missing = sorted(
                {*_blocks(connection, model.id)}.difference(
                    connection.scalars(
                        select(sketches.c.block).where(sketches.c.model_id == model.id)
                    )
                )
            )
        if len(missing) <= MOST_MISSING:
            continue
        space = SketchSpace.of(read_background(model.file, model.digest, embedding))
        for block in missing:
            with database.write() as connection:
                # Whoever stores embeddings has locked the model's version (see comparison). This waits for
                # them.
                connection.execute(
                    select(models.c.id)
                    .where(models.c.id == model.id)
                    .with_for_update(key_share=True)
                )
                connection.execute(
                    delete(sketches).where(
                        sketches.c.model_id == model.id, sketches.c.block == block
                    )
                )
                data = _sketched(connection, model.id, block, space)
                connection.execute(
                    insert(sketches).values(model_id=model.id, block=block, data=data)
                )


def _blocks(connection: Connection, model_id: int) -> Sequence[int]:
    # The numbers up to the last block with an embedding of the model.
    last = connection.scalar(
        select(embeddings.c.content_id)
        .where(unindexed(embeddings.c.model_id) == model_id)
        .order_by(embeddings.c.content_id.desc())
        .limit(1)
    )
    return range(0 if last is None else last // SKETCHED_BLOCK + 1)


def _sketched(
    connection: Connection,
    model_id: int,
    block: int,
    space: SketchSpace,
) -> bytes:
    # What is stored for the embeddings of a block: the ids within it, then the sketches.
    first = block * SKETCHED_BLOCK
    query = (
        select(embeddings.c.content_id, embeddings.c.data)
        # Otherwise, SQLite reads all images of the model along another index.
        .where(unindexed(embeddings.c.model_id) == model_id)
        .where(embeddings.c.content_id.between(first, first + SKETCHED_BLOCK - 1))
        .order_by(embeddings.c.content_id)
    )
    rows = connection.execute(query).all()
    if not rows:
        return b""
    offsets = np.array([row.content_id - first for row in rows], _OFFSET)
    directions = space.directions(restore([row.data for row in rows], len(space.mean)))
    return offsets.tobytes() + b"".join(quantize(directions @ space.axes))
