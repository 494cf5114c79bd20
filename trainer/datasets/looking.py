"""Looking at photos one by one: what each one is, and whether the tagger can read it at all. Knows nothing of labels."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tagger.devices import core_count
from tagger.errors import PhotoFailed, PhotoFailure
from tagger.images import Resize, decode_photo
from tagger.images.formats import format_of
from tagger.photos import digest_photo, read_photo
from trainer.photos.duplicates import Sketch, sketch_of
from trainer.photos.limits import MAX_BYTES, MAX_PIXELS
from trainer.progress import photo_progress

SMALL = Resize(short_side=64, size=64)
"""Enough to compare photos; a JPEG is decoded at an eighth for it."""
_AHEAD = 64


@dataclass(frozen=True)
class Looked:
    """A photo that can be read. `digest` knows the picture again; width and height are those of the upright image."""

    digest: str
    width: int
    height: int
    format: str
    size_bytes: int
    sketch: Sketch


def look_at(paths: Sequence[Path]) -> list[Looked | PhotoFailure]:
    """What each photo is, or why it cannot be looked at; in order, with a progress bar, decoded in threads."""
    with photo_progress("looking at photos", len(paths)) as advance:
        found = []
        for looked in _in_threads(paths):
            found.append(looked)
            advance(1)
    return found


def _in_threads(paths: Sequence[Path]) -> Iterator[Looked | PhotoFailure]:
    waiting: deque[Future[Looked | PhotoFailure]] = deque()
    with ThreadPoolExecutor(core_count(), "look") as pool:
        try:
            for path in paths:
                waiting.append(pool.submit(_look, path))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _look(path: Path) -> Looked | PhotoFailure:
    try:
        photo = read_photo(path, max_bytes=MAX_BYTES)
        image = decode_photo(photo.data, SMALL, max_pixels=MAX_PIXELS)
        return Looked(
            digest=digest_photo(photo.data),
            width=image.width,
            height=image.height,
            format=format_of(photo.data).value,
            size_bytes=photo.size_bytes,
            sketch=sketch_of(image.pixels),
        )
    except PhotoFailed as failed:
        return failed.failure
