"""Photos → pixels: decode batches in threads ahead of the model, and cache decoded photos in files.

Batches come from `tagger.photos.decoding.decode_photo`, so that the model is trained on exactly what the
tagger shows it. The cache has every photo whole, stretched to a square, in a file named after the digest of
its image: renamed photos need no decoding, an interrupted decoding continues, and runs may share the cache.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tagger.errors import PhotoFailed, PhotoFailure
from tagger.photos.decoding import Pixels, Resize, decode_photo
from tagger.photos.files import read_photo
from trainer.data.folders import MAX_BYTES, MAX_PIXELS, LabelledPhoto, image_digest
from trainer.errors import writing_to
from trainer.progress import photo_progress
from trainer.threads import compute_ahead

BATCHES_AHEAD = 3
BATCH_SIZE = 64
# The suffix of squares that are being written.
PARTIAL = ".partial"

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class DecodedBatch:
    """The photos of a batch that could be decoded: their positions in the input, and their pixels."""

    positions: tuple[int, ...]
    images: Tensor  # uint8 (B, 3, H, W)

    @property
    def pixels(self) -> list[Pixels]:
        """The images, uint8 (H, W, 3) each."""
        return list(self.images.permute(0, 2, 3, 1).numpy())


def decode_batches(paths: Iterable[Path], resize: Resize, batch_size: int) -> Iterator[DecodedBatch]:
    """Decode photos in order. One that cannot be decoded is missing from its batch, with a warning.

    A few batches are in memory at a time.
    """
    results = compute_ahead(
        partial(_decode, resize=resize), paths, ahead=BATCHES_AHEAD * batch_size, name="decode"
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
            images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)  # channels last in memory already
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
        """The photo at `position`, uint8 (S, S, 3)."""
        square = np.fromfile(self.folder / self.digests[position], np.uint8)
        return square.reshape(self.side, self.side, 3)

    def batches(self, positions: Sequence[int], size: int, batch_size: int) -> Iterator[Tensor]:
        """Yield the photos at `positions`, scaled: uint8 (B, 3, size, size), channels last in memory."""
        for first in range(0, len(positions), batch_size):
            images = [Image.fromarray(self.image(row)) for row in positions[first : first + batch_size]]
            scaled = [np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) for image in images]
            yield torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2)


def cache_photos(photos: Sequence[LabelledPhoto], side: int, cache: Path) -> CachedPhotos:
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
        squares = {file.name for file in files if file.stat().st_size == 3 * side * side}
        new: dict[str, Path] = {}
        for photo, digest in zip(photos, digests, strict=True):
            if digest is None:
                log.warning("skipped: %s (it is not a photo that can be read)", photo.path)
            elif digest not in squares:
                new.setdefault(digest, photo.path)
        squares |= _store_squares(new, side, folder)
    cached = [
        (photo, digest) for photo, digest in zip(photos, digests, strict=True) if digest and digest in squares
    ]
    log.info("%d photos read, %d could not be read and are skipped", len(cached), len(photos) - len(cached))
    return CachedPhotos(
        tuple(photo for photo, _ in cached), tuple(digest for _, digest in cached), folder, side
    )


def _store_squares(new: dict[str, Path], side: int, folder: Path) -> set[str]:
    """Decode photos, given by digest; returns the digests of those that are readable."""
    digests, paths, stored = list(new), list(new.values()), set[str]()
    if not paths:
        return stored
    with photo_progress("decoding photos", len(paths)) as advance:
        for batch in decode_batches(paths, Resize(side, side, "stretch"), BATCH_SIZE):
            for position, pixels in zip(batch.positions, batch.pixels, strict=True):
                partial_file = folder / (uuid4().hex + PARTIAL)  # another run may store the same photo now
                try:
                    partial_file.write_bytes(pixels.tobytes())
                    partial_file.replace(folder / digests[position])
                finally:
                    partial_file.unlink(missing_ok=True)
                stored.add(digests[position])
            advance(len(batch.positions))
    return stored
