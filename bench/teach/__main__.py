"""Measures how well landmarks are found that the model does not know, from a few photos of each.

    python -m bench.teach MODEL PLACES OTHERS… [--draws 5]

PLACES contains a folder of photos for each landmark; none of them should be a label of MODEL. Each is taught alone, from drawn
photos, and is then looked for among its other photos, those of the other landmarks and those of OTHERS, folders of anything else:
name a folder of ordinary photos and one of landmarks that nobody teaches. Folders in OTHERS with the name of a taught landmark are
left out.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.report import print_heading, print_table
from bench.teach.measurement import (
    LEAST_SOUGHT,
    PRECISION,
    Collection,
    Ranking,
    Teaching,
    read_collection,
)

EXAMPLES = (1, 3, 5, 10, 20)

Rankings = dict[int, list[Ranking]]
"""By landmark."""


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


def report(collection: Collection, draws: int) -> None:
    """Print all tables.

    Raises:
        SystemExit: no landmark has enough photos.
    """
    teaching = Teaching(collection)
    rankings = {examples: _rankings(teaching, examples, draws) for examples in EXAMPLES}
    rankings = {examples: ranked for examples, ranked in rankings.items() if ranked}
    if not rankings:
        raise SystemExit(f"no landmark has {EXAMPLES[0] + LEAST_SOUGHT} photos")
    _print_found(rankings)
    _print_false_tags(collection, rankings)
    print(
        f"{len(collection.landmark)} photos, {draws} draws. ±: the standard error over landmarks. "
        f"Recall at {PRECISION:.0%} precision is that of the best threshold for each landmark, which nobody knows; the other figures are those of the program's thresholds.\n"
    )


def _rankings(teaching: Teaching, examples: int, draws: int) -> Rankings:
    rankings: Rankings = {}
    for draw in teaching.draws(examples, draws):
        rankings.setdefault(draw.landmark, []).append(teaching.rank(draw))
    return rankings


def _print_found(rankings: dict[int, Rankings]) -> None:
    names = ("examples", "landmarks", *FIGURES)
    print_table(names, [(examples, len(ranked), *_figures(ranked)) for examples, ranked in rankings.items()])


FIGURES = (
    "average precision",
    f"recall at {PRECISION:.0%} precision",
    "precision of tags",
    "recall of tags",
    "with suggestions",
    "false suggestions",
)


def _figures(rankings: Rankings) -> Sequence[str]:
    return (
        _mean(rankings, lambda ranking: ranking.average_precision),
        _mean(rankings, lambda ranking: ranking.recall),
        _precision(rankings),
        _mean(rankings, lambda ranking: ranking.accepted_recall),
        _mean(rankings, lambda ranking: ranking.suggested_recall),
        _mean(rankings, lambda ranking: ranking.false_suggestions),
    )


def _mean(rankings: Rankings, figure: Callable[[Ranking], float]) -> str:
    """The mean over landmarks, with the standard error that another set of landmarks would cause."""
    values = np.array([np.mean([figure(ranking) for ranking in ranked]) for ranked in rankings.values()])
    return f"{values.mean():.2f} ± {values.std() / math.sqrt(len(values)):.2f}"


def _precision(rankings: Rankings) -> str:
    """The share of right tags among all that were given."""
    tags, right = np.sum([ranking.accepted for ranked in rankings.values() for ranking in ranked], axis=0)
    return f"{right / tags:.2f}" if tags else "none"


def _print_false_tags(collection: Collection, rankings: dict[int, Rankings]) -> None:
    names = ("false tags in 10,000 photos, examples", *collection.sources)
    print_table(
        names, [(examples, *_false_tags(collection, ranked)) for examples, ranked in rankings.items()]
    )


def _false_tags(collection: Collection, rankings: Rankings) -> list[float]:
    ranked = [ranking for draws in rankings.values() for ranking in draws]
    sources = range(len(collection.sources))
    return [
        float(np.mean([ranking.false_tags_of_10_000(source) for ranking in ranked])) for source in sources
    ]


if __name__ == "__main__":
    main()
