"""Replacing objects: at every moment an address leads to the complete old object or the complete new one.

Nothing is prepared on the server: an object appears whole, or not at all.
"""

from dataclasses import dataclass
from pathlib import Path

from tagger.metadata.files.originals import Original
from tagger.metadata.files.sidecars import is_sidecar_name
from tagger.metadata.objects.conditional_writes import check_conditional_writes
from tagger.metadata.objects.store_errors import translated_store_errors
from tagger.photos.object_paths import ObjectPath
from tagger.photos.object_writes import StoredObject, delete_object, put_object, read_object

SIDECAR_TYPE = "application/rdf+xml"


@dataclass(frozen=True)
class ObjectOriginal(Original):
    """An object as it was read before a write; `stored` is None if it did not exist."""

    stored: StoredObject | None = None


def read_object_for_writing(path: ObjectPath, *, max_bytes: int, root: Path | None = None) -> ObjectOriginal:
    """Read an object that will be replaced, or find that it does not exist yet.

    Raises:
        WriteRefused: it is too large.
        WriteFailed: it cannot be read.
    """
    with translated_store_errors(path, "read"):
        stored = read_object(path, max_bytes=max_bytes)
    return ObjectOriginal(path, stored.data if stored else None, None, root, stored)


def prepare_object(original: ObjectOriginal, data: bytes | None) -> "PreparedObject":
    """Check that the object can be replaced by `data`, or deleted if that is None.

    Raises:
        WriteRefused: the server ignores conditions, or refuses to write.
        WriteFailed: the server does not answer.
    """
    path = original.path
    if not isinstance(path, ObjectPath) or (data is None and not is_sidecar_name(path.name)):
        raise ValueError(f"only sidecars in buckets are deleted, not {path}")
    check_conditional_writes(path.parent)
    return PreparedObject(path, original.stored, data)


class PreparedObject:
    """A new object in memory that is ready to replace the old one."""

    def __init__(self, path: ObjectPath, before: StoredObject | None, data: bytes | None) -> None:
        self.path = path
        self._before = before
        self._data = data

    def replace(self) -> None:
        """Replace or delete the object, if it is still the one that was read.

        Raises:
            WriteRefused: another program has changed it, or the credentials may not write.
            WriteFailed: the server does not answer. Read the object to find out whether it was replaced.
        """
        with translated_store_errors(self.path, "written"):
            if self._data is not None:
                attributes = self._before.attributes if self._before else {"Content-Type": SIDECAR_TYPE}
                put_object(self.path, self._data, self._before, attributes)
            elif self._before is not None:
                delete_object(self.path, self._before)

    def discard(self) -> None:
        """There is nothing on the server to remove."""
