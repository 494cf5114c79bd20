"""Small pictures of photos: made once by scaled decoding, kept on disk within a bound, shared by all copies of a picture.

Photos are decoded in child processes, a few at a time: a file that ends or fills the process that reads it costs one
thumbnail and nothing else, and a page of thumbnails does not take all cores.
"""

import io
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import IntEnum
from pathlib import Path

import anyio
from PIL import Image

from tagger.child import ChildReader
from tagger.errors import FailureKind, PhotoFailed, PhotoFailure
from tagger.images import DecodedImage, Resize
from tagger.reading import Limits
from tagger.settings import Settings
from tagger.web.disk_cache import DiskCache
from tagger.web.stored import NotShown, StoredPhoto, open_stored

MADE_AT_ONCE = 2
PREVIEW_SIDE = 2048
FAILURES_KEPT = 10_000
_QUALITY = {256: 80, 512: 78, PREVIEW_SIDE: 85}


class ThumbnailSize(IntEnum):
    """Pixels of a side: thumbnails are square, the middle of the photo."""

    SMALL = 256
    LARGE = 512


class Thumbnails:
    """One server's. JPEG, upright, in sRGB; `making` and `previewing` are for whoever waits: so many are made at a time."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        limits = Limits(
            readers=1,
            max_bytes=settings.max_bytes,
            max_pixels=settings.max_pixels,
            timeout_s=settings.read_timeout_s,
        )
        self.making = anyio.CapacityLimiter(MADE_AT_ONCE)
        self.previewing = anyio.CapacityLimiter(1)
        self._cache = DiskCache(folder, settings.web_cache_bytes)
        large = int(ThumbnailSize.LARGE)
        self._squares = _Decoders(Resize(large, large), limits, MADE_AT_ONCE)
        self._previews = _Decoders(Resize(PREVIEW_SIDE, PREVIEW_SIDE, "stretch"), limits, 1)
        self._failures = _Failures()

    def known(self, photo: StoredPhoto, size: int) -> bytes | None:
        """The thumbnail or preview with that side, if it was made before; the photo's disk is not asked, so it may be away."""
        return None if photo.digest is None else self._cache.get(_name(photo.digest, size))

    def made(self, photo: StoredPhoto, size: ThumbnailSize) -> bytes:
        """The thumbnail, made now if need be; both sizes are, as the decoding is what costs.

        Raises:
            NotShown: the photo's file is away, or cannot be decoded.
        """
        return self._made(photo, int(size), self._squares, _both_sizes)

    def preview(self, photo: StoredPhoto) -> bytes:
        """The whole photo at 2048 pixels at most, for formats that browsers do not show.

        Raises:
            NotShown: as `made`.
        """
        return self._made(photo, PREVIEW_SIDE, self._previews, _whole)

    def close(self) -> None:
        """End the processes that decode."""
        self._squares.close()
        self._previews.close()

    def _made(
        self,
        photo: StoredPhoto,
        size: int,
        decoders: "_Decoders",
        drawn: Callable[[DecodedImage], Mapping[int, bytes]],
    ) -> bytes:
        if photo.digest and (kept := self._cache.get(_name(photo.digest, size))):
            return kept
        file = _file_name(photo)
        if kept := self._cache.get(_name(file, size)):
            return kept
        self._failures.check(file)
        try:
            digest, image = decoders.decoded(photo.path)
        except PhotoFailed as failed:
            if failed.failure.kind is not FailureKind.TIMED_OUT:
                self._failures.note(file, failed.failure)
            raise _not_shown(failed.failure) from failed
        # A file that was changed since a model looked must not stand for the copies of what it was.
        name = digest if digest == photo.digest else file
        made = drawn(image)
        for side, data in made.items():
            self._cache.put(_name(name, side), data)
        return made[size]


def _both_sizes(image: DecodedImage) -> Mapping[int, bytes]:
    large = Image.fromarray(image.pixels)
    return {
        int(ThumbnailSize.LARGE): _jpeg(large, ThumbnailSize.LARGE),
        int(ThumbnailSize.SMALL): _jpeg(large.reduce(2), ThumbnailSize.SMALL),
    }


def _whole(image: DecodedImage) -> Mapping[int, bytes]:
    shrunk = min(1.0, PREVIEW_SIDE / max(image.width, image.height))
    size = (max(1, round(image.width * shrunk)), max(1, round(image.height * shrunk)))
    return {PREVIEW_SIDE: _jpeg(Image.fromarray(image.pixels).resize(size), PREVIEW_SIDE)}


def _jpeg(image: Image.Image, side: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY[side])
    return out.getvalue()


def _name(of: str, size: int) -> str:
    return f"1 {of} {int(size)}"  # the number changes with how thumbnails are made


def _file_name(photo: StoredPhoto) -> str:
    """The photo's file as it is now, which has to be there and be the photo's."""
    opened = open_stored(photo)
    opened.file.close()
    return f"file {photo.id} {opened.size_bytes} {opened.mtime_ns} {photo.path}"


def _not_shown(failure: PhotoFailure) -> NotShown:
    there = failure.kind not in {FailureKind.GONE, FailureKind.UNREADABLE}
    return NotShown(422 if there else 404, failure.kind, failure.text)


class _Decoders:
    """A few child processes that decode alike; started when they are needed."""

    def __init__(self, resize: Resize, limits: Limits, count: int) -> None:
        self._owned = ExitStack()
        self._free: queue.LifoQueue[ChildReader] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(self._owned.enter_context(ChildReader(resize, limits)))

    def decoded(self, path: Path) -> tuple[str, DecodedImage]:
        """The picture's digest and its pixels.

        Raises:
            PhotoFailed: as reading it does.
        """
        with self._one() as child:
            photo = child.open(path)
            return photo.digest, photo.decode()

    def close(self) -> None:
        self._owned.close()

    @contextmanager
    def _one(self) -> Iterator[ChildReader]:
        child = self._free.get()
        try:
            yield child
        finally:
            self._free.put(child)


class _Failures:
    """Files that cannot be decoded, as they are: nobody tries them again for every page they are on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, PhotoFailure] = OrderedDict()

    def check(self, file: str) -> None:
        with self._lock:
            failure = self._known.get(file)
        if failure is not None:
            raise _not_shown(failure)

    def note(self, file: str, failure: PhotoFailure) -> None:
        with self._lock:
            self._known[file] = failure
            while len(self._known) > FAILURES_KEPT:
                self._known.popitem(last=False)
