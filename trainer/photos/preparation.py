"""A folder of labelled photos made ready to learn from: read once, told apart, some of them held out for validation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from tagger.artifact import Label
from tagger.photos import path_text
from trainer.errors import LabelEmpty, ValidationImpossible
from trainer.photos.data import LabelledPhoto, find_ordinary_photos, read_training_folder
from trainer.photos.duplicates import group_near_duplicates, sketch_of
from trainer.photos.gazetteer import labels_with_landmarks
from trainer.photos.pixels import KeptPhotos, keep_photos
from trainer.photos.split import allot

HELD_OUT = 0.15
ORDINARY = ""
"""Stands for a label where an ordinary photo has none."""
ROOM = 9 / 7
"""Kept photos are so much larger than the model's input, for closer views of them."""


@dataclass(frozen=True)
class Prepared:
    """Photos to learn from and to validate on. The target L, beyond the labels, is "none of them"."""

    labels: tuple[Label, ...]
    kept: KeptPhotos
    targets: npt.NDArray[np.int64]  # (N,)
    held: npt.NDArray[np.bool_]  # (N,), out for validation

    @property
    def classes(self) -> int:
        """L, and one more where there are ordinary photos to learn from."""
        return len(self.labels) + bool((self.targets[~self.held] == len(self.labels)).any())

    @property
    def learned(self) -> npt.NDArray[np.int64]:
        """Positions of the photos to learn from."""
        return np.flatnonzero(~self.held)

    @property
    def validation(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self.held)

    def provenance(self) -> dict[str, object]:
        """What the model is made from, in figures and a digest; no names of files or machines."""
        rows = sorted(
            f"{photo.label or ORDINARY}\t{digest}"
            for photo, digest in zip(self.kept.photos, self.kept.digests, strict=True)
        )
        landmarks = self.targets < len(self.labels)
        return {
            "digest": "blake3:" + blake3("\n".join(rows).encode()).hexdigest(),
            "photos": int((landmarks & ~self.held).sum()),
            "ordinary_photos": int((~landmarks & ~self.held).sum()),
            "validation_photos": int((landmarks & self.held).sum()),
            "validation_ordinary_photos": int((~landmarks & self.held).sum()),
        }

    def validation_paths(self) -> list[Path]:
        return [self.kept.photos[position].path for position in self.validation.tolist()]

    def validation_names(self) -> tuple[str, ...]:
        """The paths as a run keeps them."""
        return tuple(path_text(path.absolute())[0] for path in self.validation_paths())


def prepare(data: Path, unknown: Path | None, cache: Path, *, size: int, seed: int) -> Prepared:
    """Read `data` and the ordinary photos under `unknown`; photos in `data`/val are held out, or else a seventh of train/.

    Args:
        data: with train/LABEL/photo.jpg
        unknown: of photos that show none of the landmarks
        cache: where decoded photos are kept
        size: the side of the model's input, in pixels
        seed: the same seed and photos give the same split

    Raises:
        FolderNotFound, DataIncomplete, LabelEmpty, LandmarksFileInvalid, ValidationImpossible, OutputUnwritable: with what to change.
    """
    folder = read_training_folder(data)
    labels = labels_with_landmarks(folder.labels, data)
    ordinary = find_ordinary_photos(unknown) if unknown else ()
    kept = keep_photos((*folder.train, *folder.val, *ordinary), side_for(size), cache)
    held = _held_out(kept, set(folder.val), seed)
    positions = {label.label: position for position, label in enumerate(labels)}
    targets = np.array([positions.get(photo.label or ORDINARY, len(labels)) for photo in kept.photos])
    learned = set(targets[~held].tolist())
    for label in labels:
        if positions[label.label] not in learned:
            raise LabelEmpty(path=data / "train" / label.label)
    if not (held & (targets < len(labels))).any():
        raise ValidationImpossible(path=data)
    return Prepared(labels, kept, targets, held)


def side_for(size: int) -> int:
    """The side of the squares that are kept for a model whose input has sides of `size`."""
    return 32 * round(size * ROOM / 32)


def _held_out(kept: KeptPhotos, own: set[LabelledPhoto], seed: int) -> npt.NDArray[np.bool_]:
    """Those in val/, else some of train/, near-duplicates together; and some of the ordinary ones."""
    sketches = [sketch_of(kept.image(position)) for position in range(len(kept.photos))]
    groups = group_near_duplicates(
        [sketch.difference_hash for sketch in sketches], [sketch.thumbnail for sketch in sketches]
    )
    labels = [photo.label or ORDINARY for photo in kept.photos]
    splits = allot(labels, groups, kept.digests, {"val": HELD_OUT}, seed=seed)
    drawn = [
        split == "val" and (not own or photo.label is None)
        for photo, split in zip(kept.photos, splits, strict=True)
    ]
    return np.array([photo in own or out for photo, out in zip(kept.photos, drawn, strict=True)], dtype=bool)
