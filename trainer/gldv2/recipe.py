"""From the published files of Google Landmarks v2 to an index of its landmarks, and its GAP on the test photos."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tagger.library.teaching.pack_file import name_of_pack
from trainer.embeddings import EmbeddingModel
from trainer.errors import PublishedFileInvalid, writing_to
from trainer.evaluation.metrics import average_precisions
from trainer.gldv2.directions import learn_directions
from trainer.gldv2.embeddings import EmbeddingFolder, EmbeddingProgress, embed_archives, read_embeddings
from trainer.gldv2.landmark_index import LandmarkIndex, write_index
from trainer.gldv2.landmark_pack import LandmarkPack
from trainer.gldv2.published_files import Solution, listed_photos, read_labels, read_names, read_solution

INDEX = "landmarks.safetensors"
PHOTOS_AT_ONCE = 256
"""Photos that are compared with the landmarks at a time."""


@dataclass(frozen=True)
class IndexOptions:
    """`folder` has the published files, `out` gets the embeddings and the index.

    `solution`: the file that says what test photos show. `pack`: the file of a pack to write, too.
    """

    folder: Path
    model: Path
    out: Path
    solution: Path | None
    pack: Path | None
    device: str


def index_landmarks(options: IndexOptions) -> dict[str, Any]:
    """Embed the photos, learn the landmarks, write their index, and measure it if there is a solution. Returns the figures.

    Raises:
        PublishedFileInvalid, ModelRefused, EmbeddingsMissing, OutputUnwritable: with what to do.
    """
    model = EmbeddingModel.load(options.model, options.device)
    space, digest = model.space, model.facts.digest
    labels, names = read_labels(options.folder), read_names(options.folder)
    solution = read_solution(options.solution) if options.solution else {}

    train = EmbeddingFolder(options.out / "train", digest, labels)
    train_progress = embed_archives(options.folder / "train", model, train)
    files = train.files()
    if not files:
        raise PublishedFileInvalid(path=options.folder / "train", reason="it has no whole archive")
    learned = learn_directions(files, labels, space)
    if options.pack:
        pack = LandmarkPack(name_of_pack(options.pack), model.facts, labels, names)
        landmarks = write_index(options.out / INDEX, pack.collect(learned), names, space, digest)
        with writing_to(options.pack):
            options.pack.write_bytes(pack.encode())
    else:
        landmarks = write_index(options.out / INDEX, learned, names, space, digest)
    document = _figures(train_progress) | {
        "photos": sum(len(read_embeddings(file).ids) for file in files),
        "landmarks": landmarks,
        "index": str(options.out / INDEX),
    }
    if solution:
        test_labels = listed_photos(photo_id for of_usage in solution.values() for photo_id in of_usage)
        test = EmbeddingFolder(options.out / "test", digest, test_labels)
        test_progress = embed_archives(options.folder / "test", model, test)
        document |= {f"test_{name}": value for name, value in _figures(test_progress).items()}
        document |= _measure(LandmarkIndex.open(options.out / INDEX), test.files(), solution)
    return document


def _figures(progress: EmbeddingProgress) -> dict[str, Any]:
    return {
        "archives": progress.archives,
        "earlier_archives": progress.earlier,
        "left_out": progress.left_out,
        "unreadable": progress.unreadable,
    }


def _measure(index: LandmarkIndex, files: list[Path], solution: Mapping[str, Solution]) -> dict[str, Any]:
    """The number of embedded test photos, and GAP for each usage."""
    guesses: dict[str, tuple[int, float]] = {}
    for file in files:
        photos = read_embeddings(file)
        for first in range(0, len(photos.ids), PHOTOS_AT_ONCE):
            part = slice(first, first + PHOTOS_AT_ONCE)
            found, scores = index.best(photos.embeddings[part].astype(np.float32))
            ids = (photo_id.decode() for photo_id in photos.ids[part])
            guesses |= dict(zip(ids, zip(found.tolist(), scores.tolist(), strict=True), strict=True))
    gaps = {f"gap_{usage.lower()}": challenge_gap(guesses, photos) for usage, photos in solution.items()}
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
