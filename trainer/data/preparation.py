"""The photos of a training run: finding them, decoding them once, and holding out validation photos."""

from __future__ import annotations

import itertools
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import torch
from blake3 import blake3
from PIL import Image
from torch import Tensor

from tagger.errors import PathNotFound, PhotoFailed, PhotoFailure
from tagger.model.artifact import TRAINED_PHOTOS, Label, Manifest
from tagger.photos.decoding import Pixels, Resize, decode_photo
from tagger.photos.files import read_photo
from trainer import DataUnusable, compute_ahead, photo_progress, writing_to
from trainer.data import (
    MAX_BYTES,
    MAX_PIXELS,
    LabelledPhoto,
    find_labelled_photos,
    find_ordinary_photos,
    find_other_landmarks,
    folders_beside_splits,
    group_near_duplicates,
    image_digest,
    label_folders,
    label_of,
    labels_with_landmarks,
    layout_error,
    sketch_of,
    sources_of,
    warn_of_label_conflicts,
)
from trainer.data.split import assign_splits

VALIDATION_SHARE = 0.15
LEAST_LABELS, LEAST_PHOTOS = 30, 30
# Of the labels in training, see `photo_weights`.
BALANCE = 0.5
# A source with a larger share of a landmark's photos is needed for training.
LARGEST_HELD_OUT = 1 / 3
# The largest source of a landmark has at most this share of the landmark's weight, if there are
# others.
SOURCE_SHARE = 0.6
# A photo of another source counts at most as this many of the largest: few are soon learnt by
# heart.
MOST_OFTEN = 4.0
# The labels of ordinary photos, with their kind, and of other landmarks. No folder has these names.
ORDINARY, OTHER = "/", "//"
# So many characters of digests tell millions of photos apart.
DIGEST_LENGTH = 12
# Parts of validation: where a last layer can be fitted again, each by one that has learnt the
# others.
FOLDS = 5
# Cached photos are larger than the model's input by this factor, for closer views of them.
CACHE_SCALE = 9 / 7

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class FoundPhotos:
    """The photos to train on, by their names: in the folder `data`, ordinary ones, and other landmarks.

    Without `val`, validation photos are taken from `train`.
    """

    data: Path
    unknown: Path | None
    labels: tuple[Label, ...]
    train: tuple[LabelledPhoto, ...]
    val: tuple[LabelledPhoto, ...]
    ordinary: tuple[LabelledPhoto, ...]
    other: tuple[LabelledPhoto, ...]

    @property
    def are_few(self) -> bool:
        """Whether teaching is as good as training (measured in docs/tutorial/own-model.md)."""
        photos = Counter(photo.label for photo in self.train)
        return len(self.labels) < LEAST_LABELS or median(photos.values()) < LEAST_PHOTOS


def find_training_photos(
    data: Path, unknown: Path | None, others: Path | None
) -> FoundPhotos:
    """Find the photos. None is opened, so that this comes before anything that takes time.

    Args:
        data: the folder with train/LABEL/photo.jpg
        unknown: a folder of photos that show none of the landmarks
        others: a folder with LANDMARK/photo.jpg of other landmarks; those with a label in `data` are left out

    Raises:
        PathNotFound, DataUnusable: with what to change.
    """
    if not data.is_dir():
        raise PathNotFound(path=data)
    names = sorted({label_of(entry.name) for entry in label_folders(data / "train")})
    if len(names) < 2:
        raise layout_error(
            data, f"train/ needs two label folders or more, and has {len(names)}"
        )
    train = find_labelled_photos(data / "train")
    if missing := set(names) - {photo.label for photo in train}:
        raise _without_photos(min(missing), data)
    val = find_labelled_photos(data / "val")
    for label, count in Counter(
        photo.label for photo in val if photo.label not in names
    ).items():
        log.warning(
            "train/ has no label %s: its photos in val/ are skipped (%d)", label, count
        )
    val = tuple(photo for photo in val if photo.label in names)
    used = [folder.resolve() for folder in (unknown, others) if folder]
    for folder in folders_beside_splits(data):
        if not any(each.is_relative_to(folder.resolve()) for each in used):
            log.warning("%s is not used: photos are in train/, val/ and test/", folder)
    labels = labels_with_landmarks(names, data)
    ordinary = find_ordinary_photos(unknown) if unknown else ()
    other = find_other_landmarks(others) if others else ()
    known = {name for label in labels for name in (label.label, label.slug)}
    if left_out := sorted({photo.place for photo in other if photo.place in known}):
        log.info(
            "%d other landmarks have a label and are left out: %s",
            len(left_out),
            ", ".join(left_out),
        )
    other = tuple(photo for photo in other if photo.place not in known)
    return FoundPhotos(data, unknown, labels, train, val, ordinary, other)


def _without_photos(label: str, data: Path) -> DataUnusable:
    remedy = "Add photos of the landmark, or remove the folder"
    return DataUnusable(
        path=data / "train" / label,
        reason="none of its photos can be read",
        remedy=remedy,
    )


def prepare(
    found_photos: FoundPhotos,
    cache: Path,
    *,
    size: int,
    seed: int,
    learnt: Collection[str] | None = None,
) -> TrainingData:
    """Read the photos. A seventh of train/ is held out if there is no val/, and of other landmarks.

    Args:
        found_photos: the photos
        cache: the folder of decoded photos
        size: side of the model's input, in pixels
        seed: the same seed and photos give the same split
        learnt: the beginnings of the digests of photos that the network has learnt, where it learns no more:
            all other photos without a label are held out, too

    Raises:
        DataUnusable, OutputUnwritable: with what to change.
    """
    data, labels = found_photos.data, found_photos.labels
    side = 32 * round(size * CACHE_SCALE / 32)
    cached = cache_photos(
        (
            *found_photos.train,
            *found_photos.val,
            *found_photos.ordinary,
            *found_photos.other,
        ),
        side,
        cache,
    )
    warn_of_label_conflicts(zip(cached.digests, cached.photos, strict=True))
    positions = {label.label: position for position, label in enumerate(labels)}
    targets = np.array(
        [positions.get(photo.label or ORDINARY, len(labels)) for photo in cached.photos]
    )
    paths = [photo.path for photo in cached.photos]
    listed = zip(
        *(
            sources_of(paths, folder)
            for folder in (data, found_photos.unknown)
            if folder
        ),
        strict=True,
    )
    sources = np.array(
        [next(filter(None, names), "") for names in listed],
        dtype=np.str_,
    )
    own = set(found_photos.val)
    duplicates = group_near_duplicates(
        [sketch_of(cached.image(position)) for position in range(len(cached.photos))]
    )
    is_validation = _hold_out(cached, sources, duplicates, own, seed)
    if learnt is not None:
        is_new = np.array(
            [digest[:DIGEST_LENGTH] not in learnt for digest in cached.digests],
            dtype=bool,
        )
        is_validation |= is_new & (targets == len(labels))
    trained = set(targets[~is_validation].tolist())
    for position, label in enumerate(labels):
        if position not in trained:
            raise _without_photos(label.label, data)
    if not (targets[is_validation] < len(labels)).any():
        raise DataUnusable(
            path=data,
            reason="each label shows a single scene, so none of them can be held out for validation",
            remedy=f"Add photos of other scenes, or put validation photos in {data}/val/LABEL/photo.jpg",
        )
    is_of_val = np.array([photo in own for photo in cached.photos], dtype=bool)
    together = [
        photo.place or (source and f"{photo.label}/{source}") or group
        for photo, source, group in zip(
            cached.photos, sources.tolist(), duplicates, strict=True
        )
    ]
    return TrainingData(
        labels, cached, sources, targets, is_validation, is_of_val, _numbered(together)
    )


@dataclass(frozen=True)
class TrainingData:
    """Photos for training and validation. The target L, after the labels, is "none of them"."""

    labels: tuple[Label, ...]
    cached: CachedPhotos
    sources: npt.NDArray[
        np.str_
    ]  # (N,), where each photo comes from; empty if that is not known
    targets: npt.NDArray[np.int64]  # (N,)
    is_validation: npt.NDArray[np.bool_]  # (N,)
    is_of_val: npt.NDArray[
        np.bool_
    ]  # (N,), whether a photo is in val/, and so never for training
    # (N,), photos of one place or source, and near-duplicates, have a number.
    together: npt.NDArray[np.int64]

    def folds(self) -> npt.NDArray[np.int64]:
        """The part of validation that each photo is in, int64 (N,), 0 to `FOLDS` - 1; -1: none.

        Photos of one place or source are in one. Parts have about as many photos of each kind: the largest
        groups come first, each to the part with the fewest.
        """
        folds = np.full(len(self.targets), -1)
        is_known = self.targets < len(self.labels)
        for kind in (is_known, self.is_other, ~is_known & ~self.is_other):
            members = self.together[self.is_validation & kind]
            filled = [0] * FOLDS
            for group, count in Counter(members.tolist()).most_common():
                fewest = filled.index(min(filled))
                folds[self.is_validation & kind & (self.together == group)] = fewest
                filled[fewest] += count
        return folds

    @property
    def whole(self) -> TrainingData:
        """The same photos, all for training that may be."""
        return replace(self, is_validation=self.is_of_val)

    @property
    def classes(self) -> int:
        """L, and one class for each kind of ordinary photos and each other landmark in training."""
        return len(self.labels) + len(self._background_groups)

    @property
    def classes_of_photos(self) -> npt.NDArray[np.int64]:
        """Each photo's class, int64 (N,). Photos of landmarks that are held out have none; they get L."""
        classes, groups = self.targets.copy(), self.groups
        for number, group in enumerate(self._background_groups, start=len(self.labels)):
            classes[groups == group] = number
        return classes

    @property
    def _background_groups(self) -> npt.NDArray[np.int64]:
        is_background = ~self.is_validation & (self.targets == len(self.labels))
        return np.unique(self.groups[is_background])

    @property
    def training(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(~self.is_validation)

    @property
    def validation(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self.is_validation)

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """Each photo's group, int64 (N,): its label, its other landmark, or its kind of ordinary photos."""
        return _numbered(
            [(photo.label, photo.place, photo.kind) for photo in self.cached.photos]
        )

    @property
    def is_other(self) -> npt.NDArray[np.bool_]:
        """Whether each photo shows a landmark without a label, bool (N,)."""
        return np.array(
            [photo.place is not None for photo in self.cached.photos],
            dtype=bool,
        )

    def training_weights(self) -> npt.NDArray[np.float64]:
        """How often each training photo is seen, relative to the others, float64 (T,); see `photo_weights`.

        Ordinary photos differ more from each other than a landmark's, so their kinds are balanced by half.
        """
        weights = photo_weights(
            self.groups[self.training],
            self.sources[self.training],
            BALANCE,
        )
        is_ordinary = (self.targets == len(self.labels)) & ~self.is_other
        return np.where(is_ordinary[self.training], weights**0.5, weights)

    def provenance(self) -> dict[str, object]:
        """Counts and digests of the photos, without names of files or machines."""
        rows = sorted(
            f"{photo.label or ORDINARY}\t{digest}"
            for photo, digest in zip(
                self.cached.photos, self.cached.digests, strict=True
            )
        )
        trained = itertools.compress(self.cached.digests, ~self.is_of_val)
        landmarks = self.targets < len(self.labels)
        kinds = {"photos": landmarks, "ordinary_photos": ~landmarks & ~self.is_other}
        kinds["other_landmark_photos"] = self.is_other
        return {
            "digest": "blake3:" + blake3("\n".join(rows).encode()).hexdigest(),
            TRAINED_PHOTOS: "".join(
                sorted({digest[:DIGEST_LENGTH] for digest in trained})
            ),
            **{
                name: int((photos & ~self.is_validation).sum())
                for name, photos in kinds.items()
            },
            **{
                f"validation_{name}": int((photos & self.is_validation).sum())
                for name, photos in kinds.items()
            },
            "photos_of_landmarks": {
                label.name: int((self.targets == position).sum())
                for position, label in enumerate(self.labels)
            },
        }

    def validation_paths(self) -> list[Path]:
        return [
            self.cached.photos[position].path for position in self.validation.tolist()
        ]


def _numbered(names: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    # A number for each name, int64 (N,); equal ones have the same.
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)


def trained_photos(manifest: Manifest) -> frozenset[str]:
    """The first `DIGEST_LENGTH` characters of the digests of photos that a model has learnt.

    Models of earlier versions do not state them.
    """
    text = str(manifest.training.get(TRAINED_PHOTOS, ""))
    return frozenset(
        text[start : start + DIGEST_LENGTH]
        for start in range(0, len(text), DIGEST_LENGTH)
    )


def photo_weights(
    groups: npt.NDArray[np.int64],
    sources: npt.NDArray[np.str_],
    balance: float,
) -> npt.NDArray[np.float64]:
    """The weight of each photo in training, float64 (N,).

    Args:
        groups: int64 (N,), each photo's group
        sources: str (N,); they shift weight within a group away from its largest source
        balance: 0: every photo has the same weight; 1: every group has the same weight
    """
    weights = np.bincount(groups)[groups].astype(np.float64) ** -balance
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        names, counts = np.unique(sources[rows], return_counts=True)
        is_largest, largest = sources[rows] == names[counts.argmax()], counts.max()
        if largest < len(rows):
            factor = largest / (len(rows) - largest) * (1 - SOURCE_SHARE) / SOURCE_SHARE
            shares = np.where(is_largest, 1.0, np.clip(factor, 1.0, MOST_OFTEN))
            weights[rows] *= shares / shares.mean()
    return weights


def _hold_out(
    cached: CachedPhotos,
    sources: npt.NDArray[np.str_],
    duplicates: Sequence[int],
    val: set[LabelledPhoto],
    seed: int,
) -> npt.NDArray[np.bool_]:
    # Hold out val/, or a share of train/; a share of the ordinary photos, and of the other landmarks.
    # Near-duplicates stay together, all photos of another landmark, and those of a source that is held out.
    whole_sources = _whole_sources(cached.photos, sources)
    groups: list[Hashable] = [
        photo.place or whole or group
        for photo, whole, group in zip(
            cached.photos, whole_sources, duplicates, strict=True
        )
    ]
    labels = [
        photo.label or (OTHER if photo.place else ORDINARY + photo.kind)
        for photo in cached.photos
    ]
    splits = np.array(
        assign_splits(
            labels, groups, cached.digests, {"val": VALIDATION_SHARE}, seed=seed
        )
    )
    by_source = np.array([whole is not None for whole in whole_sources])
    like_them = np.isin(
        duplicates,
        np.array(duplicates)[(splits == "val") & by_source],
    )
    return np.array(
        [
            photo in val or (held_out and (not val or not photo.label))
            for photo, held_out in zip(
                cached.photos, ((splits == "val") | like_them).tolist(), strict=True
            )
        ],
        dtype=bool,
    )


def _whole_sources(
    photos: Sequence[LabelledPhoto], sources: npt.NDArray[np.str_]
) -> list[tuple[str, str] | None]:
    # The group of each photo if whole sources of its label can be held out, else None.
    # Users' photos come from none of the sources, so whole sources are held out. Half of a label's sources
    # apart from the largest are groups of their own; the rest is one group, too large to be held out.
    pairs = [
        (photo.label, source)
        for photo, source in zip(photos, sources.tolist(), strict=True)
    ]
    counts, by_label = Counter(pairs), defaultdict[str, list[str]](list)
    for label, source in sorted(counts, key=lambda pair: (counts[pair], str(pair))):
        if label:
            by_label[label].append(source)  # the smallest source first
    groups: dict[tuple[str | None, str], tuple[str, str]] = {}
    for label, (smallest, *others) in by_label.items():
        total = sum(counts[label, source] for source in (smallest, *others))
        if others and counts[label, smallest] <= LARGEST_HELD_OUT * total:
            candidates = (smallest, *others[1:-1:2])
            for source in (smallest, *others):
                groups[label, source] = (label, source if source in candidates else "")
    return [groups.get(pair) for pair in pairs]


# Photos → pixels: decode batches in threads ahead of the model, and cache decoded photos in files.
#
# Batches come from `tagger.photos.decoding.decode_photo`, so that the model is trained on exactly
# what the tagger shows it. The cache has every photo whole, stretched to a square, in a file named
# after the digest of its image: renamed photos need no decoding, an interrupted decoding continues,
# and runs may share the cache.

BATCHES_AHEAD = 3
BATCH_SIZE = 64
# The suffix of squares that are being written.
PARTIAL = ".partial"


@dataclass(frozen=True)
class DecodedBatch:
    positions: tuple[int, ...]
    images: Tensor  # uint8 (B, 3, H, W)

    @property
    def pixels(self) -> list[Pixels]:
        return list(self.images.permute(0, 2, 3, 1).numpy())


def decode_batches(
    paths: Iterable[Path], resize: Resize, batch_size: int
) -> Iterator[DecodedBatch]:
    """Decode photos in order. One that cannot be decoded is missing from its batch, with a warning.

    A few batches are in memory at a time.
    """
    results = compute_ahead(
        partial(_decode, resize=resize),
        paths,
        ahead=BATCHES_AHEAD * batch_size,
        name="decode",
    )
    numbered = enumerate(results)
    while part := list(islice(numbered, batch_size)):
        positions, pixels = [], []
        for position, (path, result) in part:
            if isinstance(result, PhotoFailure):
                log.warning("skipped: %s (%s)", path, result.text)
            else:
                positions.append(position)
                pixels.append(result)
        if pixels:
            # Channels last in memory already.
            images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
            yield DecodedBatch(tuple(positions), images)


def _decode(path: Path, resize: Resize) -> tuple[Path, Pixels | PhotoFailure]:
    try:
        data = read_photo(path, max_bytes=MAX_BYTES).data
        return path, decode_photo(data, resize, max_pixels=MAX_PIXELS).pixels
    except PhotoFailed as error:
        return path, error.failure


@dataclass(frozen=True)
class CachedPhotos:
    """The readable photos, and the digests by which `folder` has their squares of `side` pixels."""

    photos: tuple[LabelledPhoto, ...]
    digests: tuple[str, ...]
    folder: Path
    side: int

    def image(self, position: int) -> Pixels:
        square = np.fromfile(self.folder / self.digests[position], np.uint8)
        return square.reshape(self.side, self.side, 3)

    def batches(
        self,
        positions: Sequence[int],
        size: int,
        batch_size: int,
    ) -> Iterator[Tensor]:
        """Yield the photos at `positions`, scaled: uint8 (B, 3, size, size), channels last in memory."""
        for first in range(0, len(positions), batch_size):
            images = [
                Image.fromarray(self.image(row))
                for row in positions[first : first + batch_size]
            ]
            scaled = [
                np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
                for image in images
            ]
            yield torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2)


def cache_photos(
    photos: Sequence[LabelledPhoto], side: int, cache: Path
) -> CachedPhotos:
    """Decode the photos that are not yet cached. Unreadable ones are skipped, with a warning.

    Args:
        photos: the photos; those with the same image share a square
        side: S, the side of the squares in pixels
        cache: the folder of the cache; about 3 · S² bytes per photo
    """
    digests = [image_digest(photo.path) for photo in photos]
    folder = cache / f"pixels-{side}"
    with writing_to(cache):
        folder.mkdir(parents=True, exist_ok=True)
        files = [file for file in folder.iterdir() if file.suffix != PARTIAL]
        squares = {
            file.name for file in files if file.stat().st_size == 3 * side * side
        }
        new: dict[str, Path] = {}
        for photo, digest in zip(photos, digests, strict=True):
            if digest is None:
                log.warning(
                    "skipped: %s (it is not a photo that can be read)", photo.path
                )
            elif digest not in squares:
                new.setdefault(digest, photo.path)
        squares |= _store_squares(new, side, folder)
    cached = [
        (photo, digest)
        for photo, digest in zip(photos, digests, strict=True)
        if digest and digest in squares
    ]
    log.info(
        "%d photos read, %d could not be read and are skipped",
        len(cached),
        len(photos) - len(cached),
    )
    return CachedPhotos(
        tuple(photo for photo, _ in cached),
        tuple(digest for _, digest in cached),
        folder,
        side,
    )


def _store_squares(new: dict[str, Path], side: int, folder: Path) -> set[str]:
    # Decode photos, given by digest; returns the digests of those that are readable.
    digests, paths, stored = list(new), list(new.values()), set[str]()
    if not paths:
        return stored
    with photo_progress("decoding photos", len(paths)) as advance:
        for batch in decode_batches(paths, Resize(side, side, "stretch"), BATCH_SIZE):
            for position, pixels in zip(batch.positions, batch.pixels, strict=True):
                # Another run may store the same photo now.
                partial_file = folder / (uuid4().hex + PARTIAL)
                try:
                    partial_file.write_bytes(pixels.tobytes())
                    partial_file.replace(folder / digests[position])
                finally:
                    partial_file.unlink(missing_ok=True)
                stored.add(digests[position])
            advance(len(batch.positions))
    return stored
