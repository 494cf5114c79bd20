"""Tags in a library of photos that the shipped model's last layer has not learnt: how many are right.

    python -m bench.library BUILD [--mixture 5:15:80] [--splits 10]

BUILD is the folder of `make model`. The shipped model has learnt all other landmarks in it. So for each
split, its last layer is fitted as it was, without half of the other landmarks of validation. The rest of
validation chooses the thresholds. The library shows that half, and the test photos.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.report import note, print_heading, print_table
from tagger.model.artifact import read_manifest
from trainer.backbones.loading import SHIPPED_MODEL, shipped_backbone
from trainer.data.folders import find_labelled_photos, find_ordinary_photos
from trainer.data.preparation import TrainingData, find_training_photos, prepare
from trainer.evaluation.mixture import FAMILY, Mixture
from trainer.evaluation.recognition import measure_library
from trainer.export.calibration import measure, neighbours_of
from trainer.learning.classifier import Encoder, embedding_of
from trainer.learning.head import FeatureSet, features_from_cache, features_from_files
from trainer.learning.scoring import Neighbours, Scoring, fit_score_rule
from trainer.options import RecipeOptions
from trainer.recipes.transfer import fit_last_layer

ROWS = (
    "threshold",
    "tags that are right",
    "landmark photos with their tag",
    "with it as a tag or a suggestion",
    "photos of other landmarks with a tag",
    "ordinary photos with a tag",
)


def main() -> None:
    """Print the figures of all splits, their mean and their standard deviation."""
    parser = argparse.ArgumentParser(prog="python -m bench.library", description=__doc__)
    parser.add_argument("build", type=Path, help="the folder of make model")
    parser.add_argument("--mixture", type=Mixture.parse, default=FAMILY, help="KNOWN:OTHER:ORDINARY")
    parser.add_argument("--splits", type=int, default=10)
    args = parser.parse_args()
    print_heading("Tags in a library")
    photos = Photos.read(args.build)
    figures: list[tuple[float, ...]] = []
    for number in range(args.splits):
        note(f"split {number + 1} of {args.splits}")
        figures.append(measure_split(photos, args.mixture, number))
    rows = np.array(figures).T
    columns = np.column_stack([rows.mean(axis=1), rows.std(axis=1), rows]).tolist()
    table = [(name, *(f"{value:.3f}" for value in row)) for name, row in zip(ROWS, columns, strict=True)]
    print_table(("", "mean", "deviation", *map(str, range(1, args.splits + 1))), table)


@dataclass(frozen=True)
class Photos:
    """The photos of a build, with their features by the shipped network."""

    data: TrainingData
    features: Tensor  # of `data` in two views, (N, 2, F)
    validation: FeatureSet  # (V, 1, F)
    test: FeatureSet  # (T, 1, F)
    ordinary: Tensor  # for testing, (O, F)

    @classmethod
    def read(cls, build: Path) -> "Photos":
        """Read the photos, and compute the features."""
        rule, folder, ordinary = read_manifest(SHIPPED_MODEL).input, build / "photos", build / "ordinary"
        found = find_training_photos(folder, ordinary / "train", folder / "others")
        data = prepare(found, build / "pixels", size=rule.size, seed=0)
        encoder, everything = Encoder(*shipped_backbone()), range(len(data.targets))
        test = find_labelled_photos(folder / "test")
        labels = [label.label for label in data.labels]

        def features(paths: Sequence[Path]) -> Tensor:
            return features_from_files(encoder, paths, rule.resize, "cpu")

        targets = torch.tensor([labels.index(photo.label or "") for photo in test])
        held_out = torch.from_numpy(data.targets[data.validation])
        return cls(
            data,
            features_from_cache(encoder, data.cached, everything, rule.size, "cpu", mirrored=True),
            FeatureSet(features(data.validation_paths())[:, None], held_out),
            FeatureSet(features([photo.path for photo in test])[:, None], targets),
            features([photo.path for photo in find_ordinary_photos(ordinary / "test")]),
        )

    @cached_property
    def before(self) -> tuple[nn.Linear, Neighbours]:
        """The last layer and the nearest photos before they learn from validation."""
        return self.learn(self.data)

    def learn(self, data: TrainingData) -> tuple[nn.Linear, Neighbours]:
        """The last layer and the nearest photos that have learnt from the training photos of `data`."""
        head, _ = fit_last_layer(data, self.features, self.validation, seed=0)
        neighbours = neighbours_of(data, embedding_of(self.features[:, 0]))
        return head.requires_grad_(requires_grad=False), neighbours


def measure_split(photos: Photos, mixture: Mixture, number: int) -> tuple[float, ...]:
    """The figures of `ROWS`. Splits 0 and 1 keep the two halves of all places, 2 and 3 two other halves."""
    data, labels = photos.data, len(photos.data.labels)
    places = sorted({data.cached.photos[row].place or "" for row in data.validation} - {""})
    half = set(np.random.default_rng(number // 2).permutation(places)[number % 2 :: 2].tolist())
    is_kept = data.is_validation & np.array([photo.place in half for photo in data.cached.photos])
    rest = torch.from_numpy(~is_kept[data.validation])
    features, targets = photos.validation.features[:, 0], photos.validation.targets[rest]
    head, neighbours = photos.before
    chosen = head(features[rest]), embedding_of(features[rest])
    rule = fit_score_rule(*chosen, neighbours, targets, labels)
    is_other = torch.from_numpy(data.is_other[data.validation])[rest]
    scores = Scoring(neighbours, labels, rule)(*chosen)
    options = RecipeOptions(data=Path(), out=Path(), mixture=mixture)
    threshold, _ = measure(scores, targets, is_other, len(places) - len(half), options)

    head, neighbours = photos.learn(replace(data, is_validation=is_kept))
    scoring = Scoring(neighbours, labels, rule)
    test, other, ordinary = (
        scoring(head(each), embedding_of(each)).max(dim=1)
        for each in (photos.test.features[:, 0], features[~rest], photos.ordinary)
    )
    correct, tags = test.indices == photos.test.targets, test.values >= threshold.value
    others, ordinary_tags = other.values >= threshold.value, ordinary.values >= threshold.value
    library = measure_library(correct, tags, others, ordinary_tags, mixture)
    if library is None:
        raise SystemExit("The build has no other landmarks in validation, or no ordinary test photos.")
    return (
        threshold.value,
        library.precision.value,
        float((correct & tags).double().mean()),
        float((correct & (test.values >= threshold.suggested_from)).double().mean()),
        library.other_false_tags.value,
        library.ordinary_false_tags.value,
    )


if __name__ == "__main__":
    main()
