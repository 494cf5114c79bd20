"""What the backbone sees in each photo, computed once and kept in the run's folder.

A photo is known by its picture's digest, so renamed and copied photos cost nothing, and a run that was interrupted
goes on where it stopped.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tagger.images import Resize
from trainer.data import LabelledPhoto
from trainer.decoding import decode_batches, photo_digest
from trainer.duplicates import difference_hashes
from trainer.errors import writing_to
from trainer.network import Encoder
from trainer.progress import photo_progress
from trainer.views import VIEWS, views_of

BATCH_SIZE = 8
"""On a CPU larger batches are slower: their activations leave the caches, and memory is fetched anew for each."""

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Seen:
    """One photo: its features in every view, float32 (V, F), and its difference hash."""

    features: Tensor
    difference_hash: int


@dataclass(frozen=True)
class SeenPhotos:
    """The photos that could be read, with what was seen in them, row by row."""

    photos: tuple[LabelledPhoto, ...]
    digests: tuple[str, ...]
    hashes: tuple[int, ...]
    features: Tensor  # float32 (N, V, F)


@dataclass(frozen=True)
class Extractor:
    """How features are made: the encoder on its device, what it is fed, and a name for all that."""

    encoder: Encoder
    resize: Resize
    device: str
    fingerprint: str

    def features(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → float32 (V, B, F)."""
        views = views_of(images.to(self.device))
        return torch.stack([self.encoder(view) for view in views]).cpu()


def see_photos(photos: Sequence[LabelledPhoto], extractor: Extractor, cache: Path) -> SeenPhotos:
    """The features of `photos`, from `cache` where they are known; photos that cannot be read are left out, with a warning."""
    digests = [photo_digest(photo.path) for photo in photos]
    with _kept(cache, extractor.fingerprint) as seen:
        new: dict[str, Path] = {}
        for photo, digest in zip(photos, digests, strict=True):
            if digest is not None and digest not in seen.rows:
                new.setdefault(digest, photo.path)
        _see_new(new, extractor, seen)
        rows = [
            (photo, digest, seen.rows[digest])
            for photo, digest in zip(photos, digests, strict=True)
            if digest is not None and digest in seen.rows
        ]
    return SeenPhotos(
        photos=tuple(photo for photo, _, _ in rows),
        digests=tuple(digest for _, digest, _ in rows),
        hashes=tuple(row.difference_hash for _, _, row in rows),
        features=torch.stack([row.features for _, _, row in rows]) if rows else torch.empty(0, len(VIEWS), 1),
    )


@dataclass
class _Cache:
    rows: dict[str, Seen] = field(default_factory=dict)
    changed: bool = False


def _see_new(new: dict[str, Path], extractor: Extractor, seen: _Cache) -> None:
    digests, paths = list(new), list(new.values())
    log.info("looking at %d photos", len(paths))
    with photo_progress("looking at photos", len(paths)) as advance, torch.inference_mode():
        for batch in decode_batches(paths, extractor.resize, BATCH_SIZE):
            features = extractor.features(batch.images)  # float32 (V, B, F)
            hashes = difference_hashes(batch.images)
            for row, position in enumerate(batch.positions):
                seen.rows[digests[position]] = Seen(features[:, row], hashes[row])
            seen.changed = True
            advance(len(batch.positions))


@contextmanager
def _kept(path: Path, fingerprint: str) -> Iterator[_Cache]:
    """The cache at `path`, if it was made in the same way; what was added is written back, also on the way out of a failure."""
    cache = _Cache(_load(path, fingerprint))
    try:
        yield cache
    finally:
        if cache.changed:
            _save(path, fingerprint, cache.rows)


def _load(path: Path, fingerprint: str) -> dict[str, Seen]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("fingerprint") != fingerprint:
                return {}
            features, hashes = file.get_tensor("features"), file.get_tensor("hashes")
            digests = metadata["digests"].split()
    except FileNotFoundError:
        return {}
    except (OSError, SafetensorError, KeyError) as error:
        log.warning("the features kept in %s cannot be read and are made anew (%s)", path, error)
        return {}
    values = [value % 2**64 for value in hashes.tolist()]
    return {d: Seen(row, value) for d, row, value in zip(digests, features, values, strict=True)}


def _save(path: Path, fingerprint: str, rows: dict[str, Seen]) -> None:
    signed = [row.difference_hash - 2**64 * (row.difference_hash >> 63) for row in rows.values()]
    tensors = {
        "features": torch.stack([row.features for row in rows.values()]),
        "hashes": torch.tensor(signed, dtype=torch.int64),
    }
    partial = path.with_name(path.name + ".partial")
    with writing_to(path):
        save_file(tensors, partial, metadata={"fingerprint": fingerprint, "digests": " ".join(rows)})
        partial.replace(path)
