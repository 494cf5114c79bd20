"""Files of photos for browsers: opening them, ZIP archives of any length, thumbnails and previews.

The path comes from the database, never from a request.

Thumbnails are cached on disk, where the least recently used files are evicted. They are written atomically,
so several servers can share the folder. Its size is tracked by a running sum; the folder is listed only when
the sum exceeds the limit, or after much was written.
"""

import io
import logging
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum
from functools import cache
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from secrets import token_hex
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import anyio
from PIL import Image, ImageDraw

from tagger.database.connection import Database
from tagger.errors import (
    FailureKind,
    PhotoFailed,
    PhotoFailure,
    PhotoIdNotFound,
    PicklableError,
)
from tagger.jobs.processing.model_cache import photo_limits
from tagger.photos.decoding import DecodedImage, Resize
from tagger.photos.files import (
    OpenFile,
    PhotoVersion,
    open_regular,
    os_error_text,
)
from tagger.photos.paths import folded_name, path_in
from tagger.photos.source import PhotoSource, open_source
from tagger.pipeline.sandbox import Sandbox
from tagger.processes.permissions import create_private_file, make_private_folder
from tagger.query.tagged_photos import StoredPhoto, stored_photo
from tagger.roots import RootPaths
from tagger.settings import Settings


class PhotoUnavailable(PicklableError):
    """The photo cannot be displayed now: the HTTP status, a kind, and an English text with what to do."""

    def __init__(self, status: int, kind: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind
        self.text = text


def open_stored(photo: StoredPhoto) -> OpenFile:
    """Open the file or object that the scan found.

    Raises:
        PhotoUnavailable: the root is not available, or the file is gone, unreadable or another one.
    """
    with _answering():
        return _source(photo).open(*_scanned(photo))


def stored_version(photo: StoredPhoto) -> PhotoVersion:
    with _answering():
        return _source(photo).current_version(*_scanned(photo))


def _source(photo: StoredPhoto) -> PhotoSource:
    return open_source(str(photo.root), patient=False)


def _scanned(photo: StoredPhoto) -> tuple[str, PhotoVersion]:
    # Its path in the source, and the version that the scan found.
    return path_in(photo.root, photo.path), PhotoVersion(
        photo.size_bytes, photo.mtime_ns
    )


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except PhotoFailed as failed:
        if failed.failure.kind is FailureKind.UNREACHABLE:
            raise PhotoUnavailable(404, "unavailable", failed.failure.text) from None
        raise unavailable(failed.failure) from None


def unavailable(failure: PhotoFailure) -> PhotoUnavailable:
    is_readable = failure.kind not in {
        FailureKind.GONE,
        FailureKind.UNREADABLE,
        FailureKind.UNREACHABLE,
    }
    return PhotoUnavailable(422 if is_readable else 404, failure.kind, failure.text)


MISSING = "missing.txt"
# What programs take for a folder or a drive when they extract, what Windows allows in no name, and what
# would start a line of `MISSING`.
_UNSAFE = re.compile(r'[\\:<>"|?*\x00-\x1f\x7f-\x9f\u2028\u2029]')
# Blanks and full stops at the end, which Windows leaves out, and its names of devices, with any extension.
_ENDING = re.compile(r"[ .]+$")
_DEVICE = re.compile(
    r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?", re.IGNORECASE
)
_FIRST_TIME = (1980, 1, 1, 0, 0, 0)
# The last time that an entry of a ZIP archive can have.
_LAST_TIME = (2107, 12, 31, 23, 59, 58)
# A time after the last one, in a year that `datetime` knows.
_LATER_S = 2**33


def archive_parts(photos: Iterable[StoredPhoto]) -> Iterator[bytes]:
    archive = Archive()
    for photo in photos:
        file: OpenFile | PhotoUnavailable
        try:
            file = open_stored(photo)
        except PhotoUnavailable as error:
            file = error
        yield from archive.add(photo.id, photo.path.name, file)
    yield archive.end()


class Archive:
    """A ZIP archive in parts, uncompressed. Of its files, only names and places are kept.

    Each file has its name; if that is taken, it is in a folder of the photo's number.
    """

    def __init__(self) -> None:
        self._sink = _Sink()
        self._zip = ZipFile(self._sink, "w", ZIP_STORED)
        self._used, self._missing = set[str](), list[str]()

    def add(
        self, photo_id: int, name: str, file: OpenFile | PhotoUnavailable
    ) -> Iterator[bytes]:
        """Yield a photo's file, and close it.

        A file that there is not, or only in part, is listed in `MISSING`, and others can follow.
        """
        # The name, as far as all systems can extract it.
        name = _UNSAFE.sub("_", name.encode(errors="replace").decode())
        name = _ENDING.sub(lambda ending: "_" * len(ending[0]), name)
        if _DEVICE.fullmatch(name):
            name = f"_{name}"
        if (
            folded_name(name) in self._used
        ):  # some systems ignore the case, or how accents are encoded
            name = f"{photo_id}/{name}"
        self._used.add(folded_name(name))
        try:
            if isinstance(file, PhotoUnavailable):
                raise file
            with file.file:
                # In the time zone of this machine, or the nearest time that an entry can have.
                mtime_s = min(max(file.mtime_ns // 10**9, 0), _LATER_S)
                modified = (
                    datetime.fromtimestamp(mtime_s, UTC).astimezone().timetuple()[:6]
                )
                entry = ZipInfo(name, min(max(modified, _FIRST_TIME), _LAST_TIME))
                yield from _file_parts(file, entry, self._zip, self._sink)
        except (PhotoUnavailable, _FileIncomplete) as error:
            self._missing.append(f"{name}: {error}\n")

    def end(self) -> bytes:
        if self._missing:
            self._zip.writestr(MISSING, "".join(self._missing))
        self._zip.close()
        return self._sink.take()


class _FileIncomplete(Exception):
    pass


def _file_parts(
    file: OpenFile, entry: ZipInfo, archive: ZipFile, sink: "_Sink"
) -> Iterator[bytes]:
    # Write a file as an entry, and yield what is written; no entry if not even its first block can be read.
    #
    # Raises _FileIncomplete: the file could not be read, or ended before its size.
    written_bytes, problem = 0, "The file became shorter while it was read."
    try:
        blocks = file.blocks()
        first = next(blocks, b"")
        with archive.open(entry, "w", force_zip64=True) as target:
            for block in chain([first], blocks):
                written_bytes += target.write(block)
                yield sink.take()
    except OSError as error:
        problem = os_error_text("The file", error)
    if written_bytes < file.size_bytes:
        raise _FileIncomplete(
            f"{problem} The archive has {written_bytes} of its {file.size_bytes} bytes."
        )


class _Sink:
    # A file that keeps what is written until it is taken. It cannot seek, so sizes follow each entry.

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """There is nothing to flush."""

    def close(self) -> None:
        """There is nothing to close."""

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def archived_photos(
    database: Database, photo_ids: Iterable[int], root_paths: RootPaths
) -> Iterator[StoredPhoto]:
    for photo_id in photo_ids:
        with suppress(PhotoIdNotFound):  # it was removed from the database
            yield stored_photo(database, photo_id, root_paths)


log = logging.getLogger(__name__)

# The share of the limit that eviction leaves, so that the next one is not at once.
EVICTION_TARGET = 0.9
# After this share of the limit was written, the folder is listed again: other servers write too.
RECOUNT_SHARE = 0.2
# A use is recorded only if the last recorded one is older, so that not every read writes.
USE_INTERVAL_S = 3600.0
# The least space that a file takes on disk.
_BLOCK_BYTES = 4096
# A file begins with a digest of its data.
_DIGEST_BYTES = 16


class DiskCache:
    """At most `max_bytes` of files below `folder`."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sum_bytes: int | None = None
        self._written_bytes = 0

    def get(self, name: str) -> bytes | None:
        path = self._path(name)
        try:
            with open_regular(path) as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > USE_INTERVAL_S:
                    with suppress(OSError):
                        os.utime(path)
                digest, data = file.read(_DIGEST_BYTES), file.read()
        except OSError:
            return None
        return data if digest == _digest(data) else None

    def put(self, name: str, data: bytes) -> None:
        """Store data under the name. If the disk is full or read-only, log a warning and store nothing."""
        try:
            stored = _digest(data) + data
            self._write(self._path(name), stored)
            self._make_room(_disk_bytes(len(stored)))
        except OSError as error:
            log.warning(
                "cannot store thumbnails in %s: %s", self._folder, error.strerror
            )

    def _path(self, name: str) -> Path:
        digest = blake2b(
            name.encode(errors="surrogateescape"), digest_size=20
        ).hexdigest()
        return self._folder / digest[:2] / digest[2:]

    def _write(self, path: Path, data: bytes) -> None:
        make_private_folder(path.parent)
        partial = path.with_name(f".{token_hex(8)}")
        try:
            create_private_file(partial)
            partial.write_bytes(data)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def _make_room(self, written_bytes: int) -> None:
        with self._lock:
            self._written_bytes += written_bytes
            is_recount_due = self._written_bytes > self._max_bytes * RECOUNT_SHARE
            if self._sum_bytes is not None and not is_recount_due:
                self._sum_bytes += written_bytes
                if self._sum_bytes <= self._max_bytes:
                    return
            self._written_bytes = 0
            self._sum_bytes = self._evict()

    def _evict(self) -> int:
        # Delete the least recently used files if the limit is exceeded; returns the remaining bytes.
        files = sorted(self._files())
        sum_bytes = sum(size_bytes for _, size_bytes, _ in files)
        if sum_bytes <= self._max_bytes:
            return sum_bytes
        for _, size_bytes, path in files:
            if sum_bytes <= self._max_bytes * EVICTION_TARGET:
                break
            with suppress(FileNotFoundError):  # another server has deleted it
                os.unlink(path)  # noqa: PTH108 - a hundred thousand of them
            sum_bytes -= size_bytes
        return sum_bytes

    def _files(self) -> Iterator[tuple[float, int, str]]:
        # Yield last use, size on disk and path of each file, those of killed servers included.
        with os.scandir(self._folder) as folders:
            for folder in folders:
                with suppress(OSError), os.scandir(folder.path) as files:
                    for file in files:
                        with suppress(FileNotFoundError):
                            status = file.stat(follow_symlinks=False)
                            yield (
                                status.st_mtime,
                                _disk_bytes(status.st_size),
                                file.path,
                            )


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _disk_bytes(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES


_SIDE_PX = 256
_COLOUR = (139, 145, 152, 255)  # readable on light and on dark backgrounds


@cache
def placeholder() -> bytes:
    """Return a transparent PNG for photos that cannot be shown: browsers draw it faster than an SVG."""
    image = Image.new("RGBA", (_SIDE_PX, _SIDE_PX))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((76, 76, 180, 160), radius=10, outline=_COLOUR, width=5)
    draw.line(
        (86, 148, 112, 118, 132, 138, 148, 124, 172, 148),
        fill=_COLOUR,
        width=5,
        joint="curve",
    )
    draw.line((72, 64, 184, 172), fill=_COLOUR, width=5)
    png = io.BytesIO()
    image.save(png, "PNG")
    return png.getvalue()


# Thumbnails that are decoded at a time.
DECODERS = 2
# Previews that are decoded at a time: the photo that is shown, and the next one.
PREVIEW_DECODERS = 2
# The longest side of a photo as it is shown at first.
PREVIEW_PX = 1600
# The longest side of a photo in a format that browsers do not display, and of downloads.
LARGE_PREVIEW_PX = 2048
CACHE_BYTES = 2**30
MAX_FAILURES = 10_000
_JPEG_QUALITY = 85
_WEBP_QUALITY = {256: 50, 512: 68, PREVIEW_PX: 80}
# The effort of the encoder: 4 takes twice the time, for 4 % smaller files. The first screen has a
# dozen of the smallest.
_WEBP_METHODS = {256: 4, 512: 2, PREVIEW_PX: 2}
# For thumbnails.
_DECODED_PX = 768
# A thumbnail's long side has at most this many times the pixels of its short side.
MOST_ASPECT = 4


class ThumbnailSize(IntEnum):
    SMALL = 256
    LARGE = 512


@dataclass(frozen=True)
class ImageKind:
    """Images that are made together of a square of `decoded_px`; `encode` restores the photo's shape.

    `encode` returns the images by their sides in pixels, which are part of their names in the cache.
    """

    decoded_px: int
    encode: Callable[[DecodedImage], Mapping[int, bytes]]
    # Callers of `Thumbnails.create` hold it.
    limiter: anyio.CapacityLimiter
    # Whether the cache keeps them.
    is_stored: bool = True


class Thumbnails:
    """Creates and caches images, upright and in sRGB. Callers hold the limiter of the image's kind."""

    def __init__(self, settings: Settings) -> None:
        self._cache = DiskCache(
            settings.data_folder / "web-cache" / "thumbnails", CACHE_BYTES
        )
        # Only jobs wait until a file no longer changes.
        limits = replace(photo_limits(settings), settle_s=0.0)
        self._sandbox = Sandbox(limits, count=DECODERS + PREVIEW_DECODERS + 1)
        self._lock = threading.Lock()
        # Files that cannot be decoded, so that not every page tries them again.
        self._failures: OrderedDict[str, PhotoFailure] = OrderedDict()

    def cached(self, photo: StoredPhoto, size: int) -> bytes | None:
        """Return the cached thumbnail or preview of that side in pixels. The photo's file is not accessed."""
        return (
            None if photo.digest is None else self._cache.get(_name(photo.digest, size))
        )

    def create(self, photo: StoredPhoto, kind: ImageKind, size: int) -> bytes:
        """Return the image of this side, and create all of its kind if it is not cached: decoding is slow.

        Raises:
            PhotoUnavailable: the photo's file is not available or cannot be decoded.
        """
        if photo.digest and (encoded := self._cache.get(_name(photo.digest, size))):
            return encoded
        version = stored_version(photo)
        file = f"file {photo.id} {version.size_bytes} {version.mtime_ns} {photo.path}"
        if encoded := self._cache.get(_name(file, size)):
            return encoded
        with self._lock:
            failure = self._failures.get(file)
        if failure is not None:
            raise unavailable(failure)
        try:
            opened = self._sandbox.read(
                open_source(str(photo.root)), path_in(photo.root, photo.path)
            )
            image = opened.decode(Resize(kind.decoded_px, kind.decoded_px, "stretch"))
        except PhotoFailed as failed:
            if not failed.failure.kind.can_pass:
                with self._lock:
                    self._failures[file] = failed.failure
                    while len(self._failures) > MAX_FAILURES:
                        self._failures.popitem(last=False)
            raise unavailable(failed.failure) from failed
        # A file that changed since it was classified must not represent the copies of its former content.
        identity = opened.digest if opened.digest == photo.digest else file
        images = kind.encode(image)
        for side_px, encoded in images.items() if kind.is_stored else ():
            self._cache.put(_name(identity, side_px), encoded)
        return images[size]

    def close(self) -> None:
        self._sandbox.close()


def thumbnail_size(width: int, height: int, short_px: int) -> tuple[int, int]:
    scale = min(
        1.0, short_px / min(width, height), MOST_ASPECT * short_px / max(width, height)
    )
    return max(1, round(width * scale)), max(1, round(height * scale))


def _thumbnails(image: DecodedImage) -> Mapping[int, bytes]:
    square = Image.fromarray(image.pixels)
    sizes = {
        int(size): thumbnail_size(image.width, image.height, size)
        for size in ThumbnailSize
    }
    return {
        side_px: _webp(square.resize(size), side_px) for side_px, size in sizes.items()
    }


def _large_preview(image: DecodedImage) -> Mapping[int, bytes]:
    jpeg = io.BytesIO()
    _whole(image, LARGE_PREVIEW_PX).save(jpeg, "JPEG", quality=_JPEG_QUALITY)
    return {LARGE_PREVIEW_PX: jpeg.getvalue()}


def _whole(image: DecodedImage, side_px: int) -> Image.Image:
    # The photo in its own shape, from the stretched pixels.
    scale = min(1.0, side_px / max(image.width, image.height))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return Image.fromarray(image.pixels).resize(size)


THUMBNAIL = ImageKind(_DECODED_PX, _thumbnails, anyio.CapacityLimiter(DECODERS))
# The whole photo as a WebP.
PREVIEW = ImageKind(
    PREVIEW_PX,
    lambda image: {PREVIEW_PX: _webp(_whole(image, PREVIEW_PX), PREVIEW_PX)},
    anyio.CapacityLimiter(PREVIEW_DECODERS),
)
# The whole photo as a JPEG, for formats that browsers do not display.
LARGE_PREVIEW = ImageKind(LARGE_PREVIEW_PX, _large_preview, PREVIEW.limiter)
# The same, one at a time: whole searches would take the place of all thumbnails in the cache.
DOWNLOAD = ImageKind(
    LARGE_PREVIEW_PX, _large_preview, anyio.CapacityLimiter(1), is_stored=False
)


def _webp(image: Image.Image, side_px: int) -> bytes:
    webp = io.BytesIO()
    image.save(
        webp, "WEBP", quality=_WEBP_QUALITY[side_px], method=_WEBP_METHODS[side_px]
    )
    return webp.getvalue()


def _name(identity: str, side_px: int) -> str:
    return f"4 {identity} {int(side_px)}"  # the first number is the version of the encoding and the file
