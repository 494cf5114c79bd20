"""Prepare a folder of labelled photos for training: decode it once, and hold out validation photos."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from tagger.inference.artifact import Label
from tagger.photos import path_text
from trainer.data.duplicates import group_near_duplicates, sketch_of
from trainer.data.folders import LabelledPhoto, find_ordinary_photos, read_training_folder
from trainer.data.gazetteer import labels_with_landmarks
from trainer.data.pixels import CachedPhotos, cache_photos
from trainer.data.split import assign_splits
from trainer.errors import LabelEmpty, ValidationImpossible

VALIDATION_SHARE = 0.15
ORDINARY = ""
"""The label of ordinary photos where one is required."""
CACHE_SCALE = 9 / 7
"""Cached photos are larger than the model's input by this factor, for closer views of them."""


@dataclass(frozen=True)
class TrainingData:
    """Photos for training and validation. The target L, after the labels, is "none of them"."""

    labels: tuple[Label, ...]
    cached: CachedPhotos
    targets: npt.NDArray[np.int64]  # (N,)
    is_validation: npt.NDArray[np.bool_]  # (N,)

    @property
    def classes(self) -> int:
        """L, or L + 1 if there are ordinary training photos."""
        return len(self.labels) + bool((self.targets[self.training] == len(self.labels)).any())

    @property
    def training(self) -> npt.NDArray[np.int64]:
        """Positions of the training photos."""
        return np.flatnonzero(~self.is_validation)

    @property
    def validation(self) -> npt.NDArray[np.int64]:
        """Positions of the validation photos."""
        return np.flatnonzero(self.is_validation)

    def provenance(self) -> dict[str, object]:
        """Counts and a digest of the photos, without names of files or machines."""
        rows = sorted(
            f"{photo.label or ORDINARY}\t{digest}"
            for photo, digest in zip(self.cached.photos, self.cached.digests, strict=True)
        )
        landmarks = self.targets < len(self.labels)
        return {
            "digest": "blake3:" + blake3("\n".join(rows).encode()).hexdigest(),
            "photos": int((landmarks & ~self.is_validation).sum()),
            "ordinary_photos": int((~landmarks & ~self.is_validation).sum()),
            "validation_photos": int((landmarks & self.is_validation).sum()),
            "validation_ordinary_photos": int((~landmarks & self.is_validation).sum()),
        }

    def validation_paths(self) -> list[Path]:
        """The validation photos, in the order of `validation`."""
        return [self.cached.photos[position].path for position in self.validation.tolist()]

    def validation_names(self) -> tuple[str, ...]:
        """The absolute paths of the validation photos, as recorded in a run."""
        return tuple(path_text(path.absolute())[0] for path in self.validation_paths())


def prepare(data: Path, unknown: Path | None, cache: Path, *, size: int, seed: int) -> TrainingData:
    """Read `data` and the ordinary photos in `unknown`. Without `data`/val, a seventh of train/ is held out for validation.

    Args:
        data: the folder with train/LABEL/photo.jpg
        unknown: a folder of photos that show none of the landmarks
        cache: the folder of decoded photos
        size: side of the model's input, in pixels
        seed: the same seed and photos give the same split

    Raises:
        PathNotFound, DataIncomplete, LabelEmpty, LandmarksFileInvalid, ValidationImpossible, OutputUnwritable: with what to change.
    """
    folder = read_training_folder(data)
    labels = labels_with_landmarks(folder.labels, data)
    ordinary = find_ordinary_photos(unknown) if unknown else ()
    cached = cache_photos((*folder.train, *folder.val, *ordinary), square_side(size), cache)
    positions = {label.label: position for position, label in enumerate(labels)}
    targets = np.array([positions.get(photo.label or ORDINARY, len(labels)) for photo in cached.photos])
    prepared = TrainingData(labels, cached, targets, _hold_out(cached, set(folder.val), seed))
    _require_photos(prepared, data)
    return prepared


def square_side(size: int) -> int:
    """The side of cached squares for a model with inputs of `size` pixels, in pixels."""
    return 32 * round(size * CACHE_SCALE / 32)


def _hold_out(cached: CachedPhotos, val: set[LabelledPhoto], seed: int) -> npt.NDArray[np.bool_]:
    """Hold out the photos of val/, or a share of train/ with near-duplicates together; and a share of the ordinary photos."""
    sketches = [sketch_of(cached.image(position)) for position in range(len(cached.photos))]
    groups = group_near_duplicates(
        [sketch.difference_hash for sketch in sketches], [sketch.thumbnail for sketch in sketches]
    )
    labels = [photo.label or ORDINARY for photo in cached.photos]
    splits = assign_splits(labels, groups, cached.digests, {"val": VALIDATION_SHARE}, seed=seed)
    return np.array(
        [
            photo in val or (split == "val" and (not val or photo.label is None))
            for photo, split in zip(cached.photos, splits, strict=True)
        ],
        dtype=bool,
    )


def _require_photos(prepared: TrainingData, data: Path) -> None:
    """Check that every label has a training photo, and that there is a validation photo of a landmark."""
    trained = set(prepared.targets[prepared.training].tolist())
    for position, label in enumerate(prepared.labels):
        if position not in trained:
            raise LabelEmpty(path=data / "train" / label.label)
    if not (prepared.targets[prepared.validation] < len(prepared.labels)).any():
        raise ValidationImpossible(path=data)
