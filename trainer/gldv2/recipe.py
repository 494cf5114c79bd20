"""From the published files of Google Landmarks v2 to an index of its landmarks, and its GAP on the test photos."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer.embeddings import EmbeddingModel
from trainer.errors import DataFileInvalid
from trainer.evaluation.metrics import average_precisions
from trainer.gldv2.embeddings import EmbeddingFolder, embed_archives, read_embeddings
from trainer.gldv2.landmark_index import LandmarkIndex, learn_directions, write_index
from trainer.gldv2.published_files import (
    DOWNLOAD_AGAIN,
    Solution,
    listed_photos,
    read_labels,
    read_names,
    read_solution,
)

INDEX = "landmarks.safetensors"
PHOTOS_AT_ONCE = 256
"""Photos that are compared with the landmarks at a time."""


def index_landmarks(
    folder: Path, model_file: Path, out: Path, solution: Path | None, device: str
) -> dict[str, Any]:
    """Embed the photos, learn the landmarks, write their index, and measure it if there is a solution. Returns the figures.

    Args:
        folder: has the published files
        model_file: the model
        out: gets the embeddings and the index
        solution: the file that says what test photos show
        device: runs the model

    Raises:
        DataFileInvalid, ModelRefused, EmbeddingsMissing, OutputUnwritable: with what to do.
    """
    model = EmbeddingModel.load(model_file, device)
    space, digest = model.space, model.digest
    labels, names = read_labels(folder), read_names(folder)
    solutions = read_solution(solution) if solution else {}

    train = EmbeddingFolder(out / "train", digest, labels)
    train_progress = embed_archives(folder / "train", model, train)
    files = train.files()
    if not files:
        raise DataFileInvalid(remedy=DOWNLOAD_AGAIN, path=folder / "train", reason="it has no whole archive")
    learned = learn_directions(files, labels, space)
    landmarks = write_index(out / INDEX, learned, names, space, digest)
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
