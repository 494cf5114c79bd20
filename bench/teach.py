"""Measures how well landmarks that the model does not know are found from a few photos of each.

    python -m bench.teach MODEL PLACES OTHERS… [--draws 5]

PLACES contains a folder of photos for each landmark; none of them should be a label of MODEL. Each is taught alone, from drawn
photos, and is then looked for among its other photos, those of the other landmarks and those of OTHERS, folders of anything else:
name a folder of ordinary photos and one of landmarks that nobody teaches. Folders in OTHERS with the name of a taught landmark are
left out.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.photos import photos_in
from bench.report import print_heading, print_table
from tagger.library.teaching.classifiers import (
    SUGGESTED_SCORE,
    EmbeddingSpace,
    calibrate,
    fit_direction,
    quantize,
    restore,
)
from tagger.library.teaching.learning import LIBRARY_SAMPLE
from tagger.model.predictions import TAUGHT_THRESHOLD
from trainer.embeddings import EmbeddingModel

EXAMPLES = (1, 3, 5, 10, 20)
LEAST_SOUGHT = 3
"""Photos of a landmark besides the examples. With fewer, its precision says little."""

Values = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
Truth = npt.NDArray[np.bool_]


def main() -> None:
    """Teach landmarks from a few photos, and find their other photos by their embeddings."""
    parser = argparse.ArgumentParser(prog="python -m bench.teach", description=main.__doc__)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file of format 2")
    parser.add_argument("places", type=Path, metavar="PLACES", help="a folder of photos for each landmark")
    parser.add_argument("others", type=Path, nargs="+", metavar="OTHERS", help="folders of other photos")
    parser.add_argument("--draws", type=int, default=5, help="drawn sets of examples for each landmark [5]")
    args = parser.parse_args()
    collection = read_collection(args.model, args.places, args.others)
    print_heading("Teaching")
    report(collection, args.draws)


@dataclass(frozen=True)
class Collection:
    """All photos of the benchmark, N of them.

    `landmark` is the index of the landmark to be taught; -1 if a photo shows none.
    `source` is the index of the folder that was named.
    """

    embeddings: Values  # (N, D), as they are stored
    space: EmbeddingSpace
    landmarks: list[str]
    landmark: Positions  # (N,)
    sources: list[str]
    source: Positions  # (N,)


def read_collection(model_file: Path, places: Path, others: list[Path]) -> Collection:
    """Compute the embeddings of all photos.

    Args:
        model_file: a model of format 2.
        places: has a folder for each landmark to be taught.
        others: folders of photos of anything else. Folders in them with the name of a landmark are left out.

    Raises:
        ModelRefused, EmbeddingsMissing: the model cannot be used, or has no embeddings.
    """
    model = EmbeddingModel.load(model_file, "cpu")
    taught = photos_in(places)
    names = [file.relative_to(places).parts[0] for file in taught]
    landmarks = sorted(set(names))
    files = [taught]
    for folder in others:
        found = [(file, file.relative_to(folder).parts[:-1]) for file in photos_in(folder)]
        files.append([file for file, parents in found if not set(parents) & set(landmarks)])
    nothing = [-1] * sum(map(len, files[1:]))
    readable, embeddings = model.embed_files([file for part in files for file in part])
    return Collection(
        embeddings=restore(quantize(embeddings), model.facts.dimension),
        space=model.space,
        landmarks=landmarks,
        landmark=np.array([*map(landmarks.index, names), *nothing], np.int64)[readable],
        sources=[folder.name for folder in (places, *others)],
        source=np.repeat(np.arange(len(files)), list(map(len, files)))[readable],
    )


@dataclass(frozen=True)
class Ranking:
    """The library, all photos but the examples, with the scores of a taught landmark."""

    landmark: int
    scores: Values  # (M,)
    is_right: Truth  # (M,)
    source: Positions  # (M,)

    @property
    def average_precision(self) -> float:
        """The mean of the precisions at each photo of the landmark."""
        ranked = self.is_right[np.argsort(-self.scores, kind="stable")]
        return float((ranked.cumsum() / np.arange(1, len(ranked) + 1))[ranked].mean())

    @property
    def tagged(self) -> Truth:
        """Which photos get the tag: (M,)."""
        return self.scores >= TAUGHT_THRESHOLD

    def recall(self, threshold: float) -> float:
        return float((self.scores[self.is_right] >= threshold).mean())

    def false_tags_of_10_000(self, source: int) -> float:
        """False tags for each 10,000 photos of a folder that do not show the landmark."""
        others = (self.source == source) & ~self.is_right
        return 10_000 * int(self.tagged[others].sum()) / max(int(others.sum()), 1)


def report(collection: Collection, draws: int) -> None:
    """Print both tables.

    Raises:
        SystemExit: no landmark has enough photos.
    """
    rankings = {examples: rank_draws(collection, examples, draws) for examples in EXAMPLES}
    rankings = {examples: ranked for examples, ranked in rankings.items() if ranked}
    if not rankings:
        raise SystemExit(f"no landmark has {EXAMPLES[0] + LEAST_SOUGHT} photos")
    sources = range(len(collection.sources))
    figures = ("average precision", "precision of tags", "recall of tags", "with suggestions")
    print_table(
        ("examples", "landmarks", *figures),
        [(examples, *_figures(ranked)) for examples, ranked in rankings.items()],
    )
    print_table(
        ("false tags in 10,000 photos, examples", *collection.sources),
        [
            (
                examples,
                *(
                    float(np.mean([each.false_tags_of_10_000(source) for each in ranked]))
                    for source in sources
                ),
            )
            for examples, ranked in rankings.items()
        ],
    )
    print(
        f"{len(collection.landmark)} photos, {draws} draws. ±: the standard error over landmarks. "
        "Tags and suggestions are those of the program's thresholds.\n"
    )


def rank_draws(collection: Collection, examples: int, draws: int) -> list[Ranking]:
    """Teach each landmark that has enough photos `draws` times, from different examples, which are drawn alike in each call."""
    rankings = list[Ranking]()
    for landmark in range(len(collection.landmarks)):
        own = np.flatnonzero(collection.landmark == landmark)
        generator = np.random.default_rng([examples, landmark])
        rankings += [
            _rank(collection, landmark, generator.permutation(own)[:examples])
            for _ in range(draws if len(own) >= examples + LEAST_SOUGHT else 0)
        ]
    return rankings


def _rank(collection: Collection, landmark: int, examples: Positions) -> Ranking:
    """Teach a landmark from examples and score the library, all photos but these."""
    library = np.setdiff1d(np.arange(len(collection.landmark)), examples)
    sample = library
    if len(library) > LIBRARY_SAMPLE:
        sample = np.random.default_rng(0).choice(library, LIBRARY_SAMPLE, replace=False)
    embeddings = collection.embeddings
    direction = fit_direction(collection.space, embeddings[examples], embeddings[:0])
    scores = calibrate(direction, embeddings[sample]).scores(embeddings[library])
    return Ranking(landmark, scores, collection.landmark[library] == landmark, collection.source[library])


def _figures(rankings: Sequence[Ranking]) -> Sequence[object]:
    tags = sum(int(each.tagged.sum()) for each in rankings)
    right = sum(int((each.tagged & each.is_right).sum()) for each in rankings)
    return (
        len({each.landmark for each in rankings}),
        _mean(rankings, [each.average_precision for each in rankings]),
        f"{right / tags:.2f}" if tags else "none",
        _mean(rankings, [each.recall(TAUGHT_THRESHOLD) for each in rankings]),
        _mean(rankings, [each.recall(SUGGESTED_SCORE) for each in rankings]),
    )


def _mean(rankings: Sequence[Ranking], figures: Sequence[float]) -> str:
    """The mean over landmarks, with the standard error that another set of landmarks would cause."""
    by_landmark: dict[int, list[float]] = {}
    for ranking, figure in zip(rankings, figures, strict=True):
        by_landmark.setdefault(ranking.landmark, []).append(figure)
    means = np.array([np.mean(of_landmark) for of_landmark in by_landmark.values()])
    return f"{means.mean():.2f} ± {means.std() / math.sqrt(len(means)):.2f}"


if __name__ == "__main__":
    main()
