"""Sketches of embeddings: with them, similar images are found among a million without reading all embeddings.

A sketch is the direction of an embedding from the mean of the model's background, in the 64 dimensions in
which the background varies most, stored as embeddings are. It takes 40 bytes instead of 648. Then embeddings
are compared, of the images with the most similar sketches (see docs/explanation/teaching.md).

The table `sketches` keeps them in blocks of images. Whoever stores embeddings deletes their blocks, in the
same transaction; what is missing is computed from the embeddings. A sketch without an embedding does no harm.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, insert, select

from tagger.database.connection import Database
from tagger.database.statements import unindexed
from tagger.database.tables import SKETCHED_BLOCK, embeddings, models, sketches
from tagger.model.artifact import BackgroundStatistics, read_background
from tagger.registry.registered_models import RegisteredModel
from tagger.teaching.classifiers import Embeddings, embedding_bytes, quantize, restore, restore_joined

DIMENSIONS = 64
# More steps bring the dimensions nearer to those of the greatest variance, which finds no more
# photos.
STEPS = 4
IDENTITY_SHARE = 0.01
# Blocks that are read at once: 5 MB.
PAGE = 32
# Blocks that are computed each time, in 0.2 s, before any are stored: small libraries need none.
MOST_MISSING = 8

_Offsets = npt.NDArray[np.uint16]
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
        regularised = covariance + np.float32(IDENTITY_SHARE * variance) * np.eye(dimension, dtype=np.float32)
        axes = np.eye(dimension, min(DIMENSIONS, dimension), dtype=np.float32)
        for _ in range(STEPS):
            axes = _orthonormal(regularised @ axes)
        return cls(background.mean, axes)

    def directions(self, found: Embeddings) -> Embeddings:
        """The directions (N, D) of embeddings, of length 1."""
        directions = found - self.mean
        directions /= lengths(directions)[:, None]
        return directions


def _orthonormal(columns: Embeddings) -> Embeddings:
    """Columns (D, K) of length 1 that span the same, at right angles. Takes a tenth of a QR decomposition."""
    wide = columns.astype(np.float64)
    found: Embeddings = np.linalg.solve(np.linalg.cholesky(wide.T @ wide), wide.T).T.astype(np.float32)
    return found


def lengths(vectors: Embeddings) -> Embeddings:
    """The lengths (N,) of vectors (N, D), 1 instead of 0."""
    found: Embeddings = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    found[found == 0] = 1
    return found


class SketchedBlock(NamedTuple):
    """The images of a block: content ids (N,), and sketches (N, K)."""

    content_ids: npt.NDArray[np.int64]
    sketches: Embeddings


def read_sketches(database: Database, model_id: int, space: SketchSpace) -> Iterator[SketchedBlock]:
    """The sketches of all images with an embedding of the model, in the order of their ids."""
    with database.read() as connection:
        numbers = _blocks(connection, model_id)
    for start in range(0, len(numbers), PAGE):
        some = numbers[start : start + PAGE]
        query = select(sketches.c.block, sketches.c.data).where(
            sketches.c.model_id == model_id, sketches.c.block.between(some[0], some[-1])
        )
        with database.read() as connection:
            stored = {row.block: row.data for row in connection.execute(query)}
            for block in some:
                data = stored.get(block)
                yield _restored(
                    block, _sketched(connection, model_id, block, space) if data is None else data, space
                )


def update_sketches(database: Database, found: Iterable[RegisteredModel]) -> None:
    """Store the sketches that are missing for these models, if they are many, each block in a transaction.

    Raises:
        ModelFileNotFound, ModelRefused: a model's file cannot be read.
    """
    for model in found:
        if (embedding := model.manifest.embedding) is None:
            continue
        with database.read() as connection:
            stored = select(sketches.c.block).where(sketches.c.model_id == model.id)
            missing = sorted({*_blocks(connection, model.id)}.difference(connection.scalars(stored)))
        if len(missing) <= MOST_MISSING:
            continue
        space = SketchSpace.of(read_background(model.file, model.digest, embedding))
        for block in missing:
            with database.write() as connection:
                _store(connection, model.id, block, space)


def _store(connection: Connection, model_id: int, block: int, space: SketchSpace) -> None:
    # Whoever stores embeddings has locked the model's version (see comparison.py). This waits for them.
    of_model = select(models.c.id).where(models.c.id == model_id)
    connection.execute(of_model.with_for_update(key_share=True))
    connection.execute(delete(sketches).where(sketches.c.model_id == model_id, sketches.c.block == block))
    data = _sketched(connection, model_id, block, space)
    connection.execute(insert(sketches).values(model_id=model_id, block=block, data=data))


def _blocks(connection: Connection, model_id: int) -> Sequence[int]:
    """The numbers up to the last block with an embedding of the model."""
    of_model = unindexed(embeddings.c.model_id) == model_id
    query = select(embeddings.c.content_id).where(of_model).order_by(embeddings.c.content_id.desc()).limit(1)
    last = connection.scalar(query)
    return range(0 if last is None else last // SKETCHED_BLOCK + 1)


def _sketched(connection: Connection, model_id: int, block: int, space: SketchSpace) -> bytes:
    """What is stored for the embeddings of a block: the ids within it, then the sketches."""
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


def _restored(block: int, data: bytes, space: SketchSpace) -> SketchedBlock:
    dimension = space.axes.shape[1]
    number = len(data) // (_OFFSET.itemsize + embedding_bytes(dimension))
    offsets = np.frombuffer(data, _OFFSET, number)
    content_ids = offsets.astype(np.int64) + block * SKETCHED_BLOCK
    return SketchedBlock(content_ids, restore_joined(data[offsets.nbytes :], dimension))
