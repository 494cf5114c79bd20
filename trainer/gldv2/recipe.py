"""From the published files of Google Landmarks v2 to an index of its landmarks, and its GAP on the test photos."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tagger.errors import PackEmpty
from tagger.library.teaching.classifiers import Direction
from tagger.library.teaching.pack_file import (
    MAX_LANDMARKS,
    PackedLandmark,
    PackEmbedding,
    PackManifest,
    encode_pack,
    name_of_pack,
    write_pack,
)
from tagger.system.names import slug_of_name
from trainer.embeddings import EmbeddingModel
from trainer.errors import DataFileInvalid, writing_to
from trainer.evaluation.metrics import average_precisions
from trainer.export.pack import LEAST_PHOTOS
from trainer.gldv2.embeddings import EmbeddingFolder, embed_archives, read_embeddings
from trainer.gldv2.landmark_index import LandmarkIndex, learn_directions, write_index
from trainer.gldv2.published_files import (
    DOWNLOAD_AGAIN,
    PhotoLabels,
    Solution,
    listed_photos,
    read_labels,
    read_names,
    read_solution,
)

INDEX = "landmarks.safetensors"
ABOUT = "Learned from Google Landmarks v2, whose annotations are under CC BY 4.0."
PHOTOS_AT_ONCE = 256
"""Photos that are compared with the landmarks at a time."""


def index_landmarks(
    folder: Path, model_file: Path, out: Path, solution: Path | None, pack_file: Path | None, device: str
) -> dict[str, Any]:
    """Embed the photos, learn the landmarks, write their index, and measure it if there is a solution. Returns the figures.

    Args:
        folder: has the published files
        model_file: the model
        out: gets the embeddings and the index
        solution: the file that says what test photos show
        pack_file: a pack to write, too
        device: runs the model

    Raises:
        DataFileInvalid, ModelRefused, EmbeddingsMissing, OutputUnwritable: with what to do.
    """
    model = EmbeddingModel.load(model_file, device)
    space, digest = model.space, model.facts.digest
    labels, names = read_labels(folder), read_names(folder)
    solutions = read_solution(solution) if solution else {}

    train = EmbeddingFolder(out / "train", digest, labels)
    train_progress = embed_archives(folder / "train", model, train)
    files = train.files()
    if not files:
        raise DataFileInvalid(remedy=DOWNLOAD_AGAIN, path=folder / "train", reason="it has no whole archive")
    packed: dict[int, Direction] = {}
    learned = _keep_for_pack(learn_directions(files, labels, space), labels, packed)
    landmarks = write_index(out / INDEX, learned, names, space, digest)
    if pack_file:
        pack = _encode_pack(name_of_pack(pack_file), model.facts, packed, names)
        with writing_to(pack_file):
            write_pack(pack_file, pack)
    document = asdict(train_progress) | {
        "photos": sum(len(read_embeddings(file).ids) for file in files),
        "landmarks": landmarks,
        "index": str(out / INDEX),
    }
    if solutions:
        test_labels = listed_photos(photo_id for of_usage in solutions.values() for photo_id in of_usage)
        test = EmbeddingFolder(out / "test", digest, test_labels)
        test_progress = embed_archives(folder / "test", model, test)
        document |= {f"test_{name}": value for name, value in asdict(test_progress).items()}
        document |= _measure(LandmarkIndex.open(out / INDEX), test.files(), solutions)
    return document


def _measure(index: LandmarkIndex, files: list[Path], solutions: Mapping[str, Solution]) -> dict[str, Any]:
    """The number of embedded test photos, and GAP for each usage."""
    guesses: dict[str, tuple[int, float]] = {}
    for file in files:
        photos = read_embeddings(file)
        for first in range(0, len(photos.ids), PHOTOS_AT_ONCE):
            part = slice(first, first + PHOTOS_AT_ONCE)
            found, scores = index.best(photos.embeddings[part].astype(np.float32))
            ids = (photo_id.decode() for photo_id in photos.ids[part])
            guesses |= dict(zip(ids, zip(found.tolist(), scores.tolist(), strict=True), strict=True))
    gaps = {f"gap_{usage.lower()}": challenge_gap(guesses, photos) for usage, photos in solutions.items()}
    return {"test_photos": len(guesses)} | gaps


def challenge_gap(guesses: Mapping[str, tuple[int, float]], solution: Solution) -> float:
    """GAP as in the challenges, where a photo may show several landmarks; see `average_precisions`.

    Args:
        guesses: a landmark and its score by photo id; photos may lack one
        solution: of all photos that count

    Returns:
        0 to 1; 0 if no photo shows a landmark
    """
    if not any(solution.values()):
        return 0.0
    nothing = (-1, -math.inf)
    guessed = {photo_id: guesses.get(photo_id, nothing) for photo_id in solution}
    shown = [photo_id for photo_id, landmarks in solution.items() if landmarks]
    others = [guessed[photo_id][1] for photo_id, landmarks in solution.items() if not landmarks]
    confidence = torch.tensor([[guessed[photo_id][1] for photo_id in shown]], dtype=torch.float64)
    correct = torch.tensor([[guessed[photo_id][0] in solution[photo_id] for photo_id in shown]])
    return average_precisions(confidence, correct, torch.tensor([others], dtype=torch.float64)).item()


def _keep_for_pack(
    learned: Iterable[tuple[int, Direction]], labels: PhotoLabels, packed: dict[int, Direction]
) -> Iterator[tuple[int, Direction]]:
    """Yield what was learned, and add the directions of the landmarks with the most listed photos to `packed`.

    A pack takes fewer landmarks than the data set has. Those of fewer than LEAST_PHOTOS different photos are left out.
    """
    landmark_ids, counts = np.unique(labels.landmark_ids, return_counts=True)
    chosen = set(landmark_ids[np.argsort(-counts, kind="stable")[:MAX_LANDMARKS]].tolist())
    for landmark_id, direction in learned:
        if landmark_id in chosen and direction.examples >= LEAST_PHOTOS:
            packed[landmark_id] = direction
        yield landmark_id, direction


def _encode_pack(
    name: str, embedding: PackEmbedding, directions: Mapping[int, Direction], names: Mapping[int, str]
) -> bytes:
    """The file of a pack.

    Raises:
        PackEmpty: no landmark has enough photos.
    """
    if not directions:
        raise PackEmpty(reason=f"no landmark has {LEAST_PHOTOS} different photos")
    landmarks, slugs = [], set[str]()
    for landmark_id, direction in directions.items():
        full_name = names.get(landmark_id) or f"Landmark {landmark_id}"
        slug = slug_of_name(full_name) or f"gldv2-{landmark_id}"
        slug = f"{slug}-{landmark_id}" if slug in slugs else slug
        slugs.add(slug)
        landmarks.append(
            PackedLandmark(
                slug=slug, name=full_name, examples=direction.examples, expected=max(direction.expected, 0.0)
            )
        )
    manifest = PackManifest(name=name, about=ABOUT, embedding=embedding, landmarks=tuple(landmarks))
    return encode_pack(manifest, list(directions.values()))
