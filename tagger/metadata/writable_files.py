"""A photo's own file and its sidecars, in folders (see replacement) and in buckets (see bucket_files)."""

from pathlib import Path
from typing import TypeAlias

from tagger.metadata import originals, replacement, sidecar_names, temporary_files
from tagger.metadata.bucket_files import (
    ObjectOriginal,
    PreparedObject,
    find_object_sidecars,
    prepare_object,
    read_object_for_writing,
)
from tagger.metadata.originals import Original
from tagger.metadata.sidecar_names import Sidecars
from tagger.photos.paths import ObjectPath

Prepared: TypeAlias = replacement.PreparedFile | PreparedObject


def read_for_writing(path: Path, *, max_bytes: int, root: Path | None = None) -> Original:
    """Read a file or object that will be replaced, or find that it does not exist yet.

    Raises:
        WriteRefused: it cannot be replaced without risk.
        WriteFailed: it cannot be read.
    """
    if isinstance(path, ObjectPath):
        return read_object_for_writing(path, max_bytes=max_bytes, root=root)
    return originals.read_for_writing(path, max_bytes=max_bytes, root=root)


def find_sidecars(
    photo: Path, root: Path | None = None, *, may_create: bool = False, adds: bool = False
) -> Sidecars:
    """Find the sidecars that the photo has. With `may_create`, a new `photo.jpg.xmp` if it has none. `adds`: values will be added to them.

    Raises:
        WriteRefused: the folder is a link or may not be read, or values would be added to what may be the sidecar of another photo.
        WriteFailed: the folder or bucket cannot be listed.
    """
    if isinstance(photo, ObjectPath):
        return find_object_sidecars(photo, may_create=may_create, adds=adds)
    return sidecar_names.find_sidecars(photo, root, may_create=may_create, adds=adds)


def find_written(path: Path, root: Path | None = None) -> Path:
    """Where the file that was written as `path` is now, see sidecar_names. Objects are never renamed.

    Raises:
        WriteRefused, WriteFailed: the folder cannot be read.
    """
    return path if isinstance(path, ObjectPath) else sidecar_names.find_written(path, root)


def prepare(original: Original, data: bytes | None, *, photo: Path) -> Prepared:
    """Prepare the file or object that replaces the original; `data` None deletes a sidecar.

    Raises:
        WriteRefused, WriteFailed: it cannot be replaced.
    """
    if isinstance(original, ObjectOriginal):
        return prepare_object(original, data)
    return replacement.prepare(original, data, photo=photo)


def remove_leftover(original: Original) -> None:
    """Remove the temporary file that a writer of this file left when it died. Buckets have none."""
    if not isinstance(original, ObjectOriginal):
        temporary_files.remove_leftover(original.path, original.root)
