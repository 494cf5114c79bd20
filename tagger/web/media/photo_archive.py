"""The files of photos as one ZIP archive, made while it is sent: of any size, in the memory of one block."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from tagger.query.stored_photos import StoredPhoto
from tagger.web.media.photo_files import PhotoUnavailable, open_stored

MISSING = "missing.txt"
"""The entry that lists photos whose files are not there."""
_FIRST_YEAR = 1980
"""Of times in ZIP archives."""


def archive_parts(photos: Iterable[StoredPhoto]) -> Iterator[bytes]:
    """Yield the archive, with each photo's file under its own name. Photos are not compressed: their formats are."""
    sink = _Sink()
    names, missing = _Names(), list[str]()
    with ZipFile(sink, "w", ZIP_STORED) as archive:
        for photo in photos:
            name = photo.path.name.encode(errors="replace").decode()
            try:
                file = open_stored(photo)
            except PhotoUnavailable as error:
                missing.append(f"{name}: {error.text}\n")
                continue
            entry = ZipInfo(names.unique(name), _local_time(file.mtime_ns))
            with file.file, archive.open(entry, "w", force_zip64=True) as written:
                for block in file.blocks():
                    written.write(block)
                    yield sink.take()
        if missing:
            archive.writestr(names.unique(MISSING), "".join(missing))
    yield sink.take()


class _Sink:
    """A file that keeps what is written until it is taken. It cannot seek, so sizes follow each entry."""

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


class _Names:
    """Names of entries: `a.jpg`, then `a (2).jpg`, in any case, since some systems know no difference."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def unique(self, name: str) -> str:
        stem, dot, suffix = name.rpartition(".")
        candidate, number = name, 1
        while candidate.lower() in self._used:
            number += 1
            candidate = f"{stem} ({number}){dot}{suffix}" if stem else f"{name} ({number})"
        self._used.add(candidate.lower())
        return candidate


def _local_time(mtime_ns: int) -> tuple[int, int, int, int, int, int]:
    time = datetime.fromtimestamp(mtime_ns / 1e9, UTC).astimezone()
    return max(time.year, _FIRST_YEAR), time.month, time.day, time.hour, time.minute, time.second
