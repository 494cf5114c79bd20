"""Decoded photos in one file, so that an epoch costs no decoding: each photo whole, stretched to a square.

A photo is known by its picture's digest: renamed and copied photos cost nothing, and a reading that was interrupted goes on
where it stopped. The file may be shared by runs, of which one at a time adds to it, and deleted.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from tagger.images import Resize
from trainer.errors import writing_to
from trainer.photos.data import LabelledPhoto
from trainer.photos.decoding import decode_batches, photo_digest
from trainer.progress import photo_progress

BATCH_SIZE = 64
SAVE_EVERY = 16
"""Batches between two notes of how far the file has got."""

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class KeptPhotos:
    """The photos that could be read, row by row, and their pixels, uint8 (R, S, S, 3), of which photo i has `rows[i]`."""

    photos: tuple[LabelledPhoto, ...]
    digests: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]

    def image(self, position: int) -> npt.NDArray[np.uint8]:
        """The photo at `position`, uint8 (S, S, 3)."""
        image: npt.NDArray[np.uint8] = self.pixels[self.rows[position]]
        return image

    def scaled(self, positions: Sequence[int], size: int) -> Tensor:
        """The photos at `positions`, plainly scaled: uint8 (B, 3, size, size), channels last in memory."""
        images = [Image.fromarray(self.image(position)) for position in positions]
        scaled = [np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) for image in images]
        return torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2)


def keep_photos(photos: Sequence[LabelledPhoto], side: int, folder: Path) -> KeptPhotos:
    """Decode `photos` into `folder`, but for those that are there; what cannot be read is left out, with a warning.

    Args:
        photos: to be kept; two of one picture share a row
        side: S, of the squares, in pixels
        folder: where the file is or will be; about 3 · S² bytes a photo

    Raises:
        OutputUnwritable: with the reason.
    """
    digests = [photo_digest(photo.path) for photo in photos]
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / f"pixels-{side}.lock"):
            known = _Kept(folder / f"pixels-{side}", side)
            new: dict[str, Path] = {}
            for photo, digest in zip(photos, digests, strict=True):
                if digest is not None and digest not in known.rows:
                    new.setdefault(digest, photo.path)
            known.add(new)
            pixels = known.pixels()
    found = [
        (photo, digest, known.rows[digest])
        for photo, digest in zip(photos, digests, strict=True)
        if digest in known.rows and digest is not None
    ]
    log.info("%d photos read, %d could not be read and are left out", len(found), len(photos) - len(found))
    return KeptPhotos(
        photos=tuple(photo for photo, _, _ in found),
        digests=tuple(digest for _, digest, _ in found),
        rows=np.array([row for _, _, row in found], dtype=np.int64),
        pixels=pixels,
    )


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One run at a time: two that add to the file would cut off each other's squares."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another run is reading photos into %s; waiting for it", lock.parent)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _Kept:
    """The file of squares, one after the other, and the list of the digests they belong to.

    The list is written after the squares, so what it names is there; squares beyond it are written again.
    """

    def __init__(self, path: Path, side: int) -> None:
        self._path, self._side = path.with_suffix(".u8"), side
        self._list = path.with_suffix(".json")
        self.rows = {digest: row for row, digest in enumerate(self._listed())}

    def _listed(self) -> list[str]:
        try:
            listed: object = json.loads(self._list.read_text())
            whole = self._path.stat().st_size // self._bytes
        except (FileNotFoundError, ValueError):
            return []
        digests = [str(digest) for digest in listed] if isinstance(listed, list) else []
        # One that is listed twice has been written by nobody here: what else is listed cannot be believed.
        return digests[:whole] if len(set(digests)) == len(digests) else []

    @property
    def _bytes(self) -> int:
        return 3 * self._side * self._side

    def add(self, new: dict[str, Path]) -> None:
        digests, paths = list(new), list(new.values())
        if not paths:
            return
        log.info("reading %d photos; their pixels are kept in %s", len(paths), self._path)
        if not self.rows:
            self._path.unlink(missing_ok=True)  # not emptied: another run may have the old one in memory
        self._save_list()  # or it would name squares that are about to be written over
        with self._path.open("ab") as file, photo_progress("reading photos", len(paths)) as advance:
            file.truncate(len(self.rows) * self._bytes)
            try:
                resize = Resize(self._side, self._side, "stretch")
                for number, batch in enumerate(decode_batches(paths, resize, BATCH_SIZE), start=1):
                    file.write(batch.images.permute(0, 2, 3, 1).numpy().tobytes())
                    for position in batch.positions:
                        self.rows[digests[position]] = len(self.rows)
                    advance(len(batch.positions))
                    if number % SAVE_EVERY == 0:
                        self._note(file)
            finally:
                self._note(file)

    def _note(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())  # the list must not outlive the squares if the machine goes down
        self._save_list()

    def _save_list(self) -> None:
        partial = self._list.with_suffix(".partial")
        partial.write_text(json.dumps(list(self.rows)))
        partial.replace(self._list)

    def pixels(self) -> npt.NDArray[np.uint8]:
        shape = (len(self.rows), self._side, self._side, 3)
        if not self.rows:
            return np.empty(shape, dtype=np.uint8)
        return np.memmap(self._path, dtype=np.uint8, mode="r", shape=shape)
