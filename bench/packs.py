"""Measures adding a pack to a library of many photos.

    python -m bench.packs [--photos 1000000] [--landmarks 100] [--folder FOLDER]

Creates a SQLite database with so many photos (see tests/rig/large_library.py) and an embedding for each image, as the shipped
model would give them: drawn with the mean and the covariance of its strangers. Some show a landmark of the pack, which is made of
five more such photos for each. Then `tagger pack add` and `tagger pack remove` run as processes. FOLDER keeps the library.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
from sqlalchemy import func, insert, select

from bench.processes import TAGGER, run, tagger_environment
from bench.report import note, print_heading, print_table
from tagger.database.connection import Database
from tagger.database.tables import contents, embeddings
from tagger.library.catalog.registered_models import RegisteredModel, resolve_model
from tagger.library.teaching.classifiers import EmbeddingSpace, Values, fit_direction, quantize
from tagger.library.teaching.learning import embedding_of
from tagger.library.teaching.pack_file import PackedLandmark, PackEmbedding, PackManifest, encode_pack
from tagger.model.artifact import BackgroundStatistics, read_background
from tests.rig.large_library import JOBS, make_library

BLOCK = 10_000
STRANGERS = 5 * BLOCK
"""Different strangers; the library repeats them."""
SHOWN = 0.02
"""The share of photos that show a landmark of the pack."""
EXAMPLES = 5
RESEMBLANCE = 17.0
"""How far photos of a landmark are from other photos, in standard deviations of strangers."""


class Photos:
    """Draws embeddings. A landmark's are those of strangers, moved in a direction of its own."""

    def __init__(self, background: BackgroundStatistics, landmarks: int) -> None:
        values, vectors = np.linalg.eigh(background.covariance.astype(np.float64))
        self._root = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
        self._mean = background.mean
        self._generator = np.random.default_rng(0)
        directions = self._generator.standard_normal((landmarks, len(self._mean))).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self._moves = RESEMBLANCE * directions @ self._root.T

    def strangers(self, count: int) -> Values:
        """Photos (N, D) of anything else."""
        drawn = self._generator.standard_normal((count, len(self._mean))).astype(np.float32)
        photos: Values = np.maximum(drawn @ self._root.T + self._mean, 0)
        return photos

    def of_landmark(self, landmark: int, strangers: Values) -> Values:
        """The same photos with the landmark in them."""
        photos: Values = np.maximum(strangers + self._moves[landmark], 0)
        return photos


def main() -> None:
    """Add a pack to a library of many photos."""
    parser = argparse.ArgumentParser(prog="python -m bench.packs", description=main.__doc__)
    parser.add_argument("--photos", type=int, default=1_000_000, help=f"a multiple of {JOBS}")
    parser.add_argument("--landmarks", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="keeps the library for the next time")
    args = parser.parse_args()
    print_heading("Packs")
    with nullcontext(args.folder) if args.folder else tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.mkdir(exist_ok=True)
        url, pack = f"sqlite:///{folder / 'tagger.sqlite'}", folder / "bench.pack"
        note("creating the photos")
        with closing(make_library(url, args.photos)) as database:
            model = resolve_model(database, None)
            background = read_background(model.file, model.digest, embedding_of(model))
            photos = Photos(background, args.landmarks)
            pack.write_bytes(make_pack(photos, model, background, args.landmarks))
            fill_embeddings(database, model, photos, args.landmarks)
        environment = tagger_environment(folder, database_url=url)
        rows = []
        for command in (("add", pack, "--yes"), ("remove", "bench")):
            done = run((*TAGGER, "pack", *command, "--json"), environment).checked()
            document = json.loads(done.out)
            counts = document["tagged"], document["suggested"]
            rows.append((f"pack {command[0]}", *vars(done.usage).values(), *counts))
    print_table(("command", "wall s", "CPU s", "peak MiB", "tagged", "suggested"), rows)


def make_pack(
    photos: Photos, model: RegisteredModel, background: BackgroundStatistics, landmarks: int
) -> bytes:
    """The file of a pack of landmarks that nobody knows."""
    space, embedding = EmbeddingSpace.of(background), embedding_of(model)
    directions = [
        fit_direction(
            space, photos.of_landmark(number, photos.strangers(EXAMPLES)), background.mean[None][:0]
        )
        for number in range(landmarks)
    ]
    manifest = PackManifest(
        name="bench",
        embedding=PackEmbedding(
            digest=model.digest, model=model.name, layer=embedding.layer, dimension=embedding.dimension
        ),
        landmarks=tuple(
            PackedLandmark(
                slug=f"place-{number}", name=f"Place {number}", examples=EXAMPLES, expected=direction.expected
            )
            for number, direction in enumerate(directions)
        ),
    )
    return encode_pack(manifest, directions)


def fill_embeddings(database: Database, model: RegisteredModel, photos: Photos, landmarks: int) -> None:
    """Store an embedding for each image, if there is none."""
    with database.read() as connection:
        images = connection.scalar(select(func.max(contents.c.id))) or 0
        if connection.execute(select(embeddings.c.content_id).limit(1)).first():
            return
    rows = _stored(photos, landmarks)
    for start in range(1, images + 1, BLOCK):
        ids = range(start, min(start + BLOCK, images + 1))
        values = [
            {"content_id": content_id, "model_id": model.id, "taught_version": 0, "data": next(rows)}
            for content_id in ids
        ]
        with database.write() as connection:
            connection.execute(insert(embeddings), values)


def _stored(photos: Photos, landmarks: int) -> Iterator[bytes]:
    """Embeddings as they are stored, without end."""
    note("drawing embeddings")
    generator = np.random.default_rng(1)
    blocks = []
    for _ in range(STRANGERS // BLOCK):
        drawn = photos.strangers(BLOCK)
        for row in np.flatnonzero(generator.random(BLOCK) < SHOWN):
            drawn[row] = photos.of_landmark(int(generator.integers(landmarks)), drawn[row])
        blocks.append(quantize(drawn))
    while True:
        for block in blocks:
            yield from block


if __name__ == "__main__":
    main()
