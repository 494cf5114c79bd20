"""Photos on disk → batches of pixels, read and decoded in threads ahead of the model.

The pixels come from `tagger.images.decode_photo`, so the model learns from exactly what the tagger will show it.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tagger.devices import core_count
from tagger.errors import PhotoFailed, PhotoFailure
from tagger.images import Pixels, Resize, decode_photo
from tagger.photos import digest_photo, read_photo
from trainer.photos.limits import MAX_BYTES, MAX_PIXELS

BATCHES_AHEAD = 3

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Batch:
    """Photos that could be decoded: their positions in what was asked for, and their pixels."""

    positions: tuple[int, ...]
    images: Tensor  # uint8 (B, 3, H, W)


def photo_digest(path: Path) -> str | None:
    """The digest of the picture, whatever its metadata; None, with a warning, where it cannot be read."""
    try:
        return digest_photo(read_photo(path, max_bytes=MAX_BYTES).data)
    except PhotoFailed as failed:
        log.warning("left out: %s (%s)", path, failed.failure.text)
        return None


def decode_batches(
    paths: Sequence[Path],
    resize: Resize,
    batch_size: int,
    *,
    alter: Callable[[bytes], bytes] | None = None,
) -> Iterator[Batch]:
    """Decode `paths` in order; a photo that cannot be decoded is warned of and missing from its batch.

    With `alter`, the photos are decoded as if their files held what it makes of them.
    """
    waiting: deque[tuple[int, list[Future[Pixels | PhotoFailure]]]] = deque()
    with ThreadPoolExecutor(core_count(), "decode") as pool:
        try:
            for first in range(0, len(paths), batch_size):
                part = paths[first : first + batch_size]
                waiting.append((first, [pool.submit(_decode, path, resize, alter) for path in part]))
                if len(waiting) > BATCHES_AHEAD:
                    yield from _collect(paths, *waiting.popleft())
            while waiting:
                yield from _collect(paths, *waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _decode(path: Path, resize: Resize, alter: Callable[[bytes], bytes] | None) -> Pixels | PhotoFailure:
    try:
        data = read_photo(path, max_bytes=MAX_BYTES).data
        return decode_photo(alter(data) if alter else data, resize, max_pixels=MAX_PIXELS).pixels
    except PhotoFailed as failed:
        return failed.failure


def _collect(
    paths: Sequence[Path], first: int, decoding: list[Future[Pixels | PhotoFailure]]
) -> Iterator[Batch]:
    positions, pixels = [], []
    for position, future in enumerate(decoding, start=first):
        result = future.result()
        if isinstance(result, PhotoFailure):
            log.warning("left out: %s (%s)", paths[position], result.text)
        else:
            positions.append(position)
            pixels.append(result)
    if pixels:
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)  # channels last in memory already
        yield Batch(tuple(positions), images)
