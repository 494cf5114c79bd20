"""Photos → pixels: decode batches in threads ahead of the model, and cache decoded photos in one file for training.

Batches come from `tagger.photos.decoding.decode_photo`, so that the model is trained on exactly what the tagger shows it. The cache has
every photo whole, stretched to a square, by the digest of its image. Renamed and copied photos need no decoding, and an
interrupted decoding continues where it stopped. Several runs may share the file, one of which writes at a time; it may be deleted.
"""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from tagger.errors import PhotoFailed, PhotoFailure
from tagger.photos.containers import digest_photo
from tagger.photos.decoding import Pixels, Resize, decode_photo
from tagger.photos.files import read_photo
from trainer.data.folders import MAX_BYTES, MAX_PIXELS, LabelledPhoto
from trainer.errors import writing_to
from trainer.progress import photo_progress
from trainer.threads import compute_ahead

BATCHES_AHEAD = 3
BATCH_SIZE = 64
SAVE_EVERY = 16
"""Batches between two updates of the cache's list."""

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


PhotoReader = tuple[str, Callable[[], bytes]]
"""A photo's name for warnings, and the function that reads it."""


def decode_batches(
    paths: Sequence[Path],
    resize: Resize,
    batch_size: int,
    *,
    alter: Callable[[bytes], bytes] | None = None,
) -> Iterator[DecodedBatch]:
    """Decode `paths` in order. A photo that cannot be decoded is missing from its batch, with a warning.

    `alter` is applied to the bytes of each photo before decoding.
    """
    return decode_stream(readers_of(paths, alter), resize, batch_size)


def readers_of(paths: Iterable[Path], alter: Callable[[bytes], bytes] | None = None) -> Iterator[PhotoReader]:
    """The readers of files; see `decode_batches`."""
    return ((str(path), partial(_read, path, alter)) for path in paths)


def decode_stream(photos: Iterable[PhotoReader], resize: Resize, batch_size: int) -> Iterator[DecodedBatch]:
    """The same for photos that are no files; a few batches are in memory at a time."""
    results = compute_ahead(
        partial(_decode, resize=resize), photos, ahead=BATCHES_AHEAD * batch_size, name="decode"
    )
    numbered = enumerate(results)
    while part := list(islice(numbered, batch_size)):
        yield from _collect(part)


def _read(path: Path, alter: Callable[[bytes], bytes] | None) -> bytes:
    data = read_photo(path, max_bytes=MAX_BYTES).data
    return alter(data) if alter else data


def _decode(photo: PhotoReader, resize: Resize) -> tuple[str, Pixels | PhotoFailure]:
    name, read = photo
    try:
        return name, decode_photo(read(), resize, max_pixels=MAX_PIXELS).pixels
    except PhotoFailed as error:
        return name, error.failure


def _collect(part: Iterable[tuple[int, tuple[str, Pixels | PhotoFailure]]]) -> Iterator[DecodedBatch]:
    positions, pixels = [], []
    for position, (name, result) in part:
        if isinstance(result, PhotoFailure):
            log.warning("skipped: %s (%s)", name, result.text)
        else:
            positions.append(position)
            pixels.append(result)
    if pixels:
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)  # channels last in memory already
        yield DecodedBatch(tuple(positions), images)


@dataclass(frozen=True)
class CachedPhotos:
    """The readable photos and their pixels, uint8 (R, S, S, 3); photo i has row `rows[i]`."""

    photos: tuple[LabelledPhoto, ...]
    digests: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]

    def image(self, position: int) -> npt.NDArray[np.uint8]:
        """The photo at `position`, uint8 (S, S, 3)."""
        image: npt.NDArray[np.uint8] = self.pixels[self.rows[position]]
        return image

    def scaled(self, positions: Sequence[int], size: int) -> Tensor:
        """The photos at `positions`, scaled: uint8 (B, 3, size, size), channels last in memory."""
        images = [Image.fromarray(self.image(position)) for position in positions]
        scaled = [np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) for image in images]
        return torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2)


def cache_photos(photos: Sequence[LabelledPhoto], side: int, folder: Path) -> CachedPhotos:
    """Decode the photos that are not yet cached in `folder`. Unreadable ones are skipped, with a warning.

    Args:
        photos: the photos; those with the same image share a row
        side: S, the side of the squares in pixels
        folder: the folder of the cache; about 3 · S² bytes per photo

    Raises:
        OutputUnwritable: with the reason.
    """
    digests = [photo_digest(photo.path) for photo in photos]
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _exclusive(folder / f"pixels-{side}.lock"):
            cache = _PixelCache(folder / f"pixels-{side}", side)
            new: dict[str, Path] = {}
            for photo, digest in zip(photos, digests, strict=True):
                if digest is not None and digest not in cache.rows:
                    new.setdefault(digest, photo.path)
            cache.add(new)
            pixels = cache.pixels()
    cached = [
        (photo, digest, cache.rows[digest])
        for photo, digest in zip(photos, digests, strict=True)
        if digest in cache.rows and digest is not None
    ]
    log.info("%d photos read, %d could not be read and are skipped", len(cached), len(photos) - len(cached))
    return CachedPhotos(
        photos=tuple(photo for photo, _, _ in cached),
        digests=tuple(digest for _, digest, _ in cached),
        rows=np.array([row for _, _, row in cached], dtype=np.int64),
        pixels=pixels,
    )


def photo_digest(path: Path) -> str | None:
    """The digest of a photo's image, which is independent of its metadata; None, with a warning, if unreadable."""
    try:
        return digest_photo(read_photo(path, max_bytes=MAX_BYTES).data)
    except PhotoFailed as error:
        log.warning("skipped: %s (%s)", path, error.failure.text)
        return None


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    """Hold the lock: two runs that add to the file would overwrite each other's squares."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another run that decodes photos into %s", lock.parent)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _PixelCache:
    """A file of squares, and a list of their digests in the same order.

    The list is written after the squares, so every listed square is complete; squares beyond the list are overwritten.
    """

    def __init__(self, path: Path, side: int) -> None:
        self._path, self._side = path.with_suffix(".u8"), side
        self._list = path.with_suffix(".json")
        self.rows = {digest: row for row, digest in enumerate(self._read_list())}

    def _read_list(self) -> list[str]:
        try:
            content: object = json.loads(self._list.read_text())
            complete = self._path.stat().st_size // self._square_bytes
        except (FileNotFoundError, ValueError):
            return []
        digests = [str(digest) for digest in content] if isinstance(content, list) else []
        # The list never has duplicates. If it does, the file is damaged and its other entries are not reliable either.
        return digests[:complete] if len(set(digests)) == len(digests) else []

    @property
    def _square_bytes(self) -> int:
        return 3 * self._side * self._side

    def add(self, new: dict[str, Path]) -> None:
        """Decode photos, given by digest, and append their squares."""
        digests, paths = list(new), list(new.values())
        if not paths:
            return
        if not self.rows:
            self._path.unlink(missing_ok=True)  # not truncated: another run may have it mapped into memory
        self._write_list()  # so that it does not list squares that are about to be overwritten
        with self._path.open("ab") as file, photo_progress("decoding photos", len(paths)) as advance:
            file.truncate(len(self.rows) * self._square_bytes)
            try:
                resize = Resize(self._side, self._side, "stretch")
                for number, batch in enumerate(decode_batches(paths, resize, BATCH_SIZE), start=1):
                    file.write(batch.images.permute(0, 2, 3, 1).numpy().tobytes())
                    for position in batch.positions:
                        self.rows[digests[position]] = len(self.rows)
                    advance(len(batch.positions))
                    if number % SAVE_EVERY == 0:
                        self._save(file)
            finally:
                self._save(file)

    def _save(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())  # after a power failure, the list must not name missing squares
        self._write_list()

    def _write_list(self) -> None:
        partial = self._list.with_suffix(".partial")
        partial.write_text(json.dumps(list(self.rows)))
        partial.replace(self._list)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The squares, uint8 (R, S, S, 3), mapped into memory."""
        shape = (len(self.rows), self._side, self._side, 3)
        if not self.rows:
            return np.empty(shape, dtype=np.uint8)
        return np.memmap(self._path, dtype=np.uint8, mode="r", shape=shape)
