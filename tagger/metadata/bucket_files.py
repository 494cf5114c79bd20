"""Writes into buckets: objects are read, replaced under a condition, and found with their sidecars.

At every moment an address leads to the complete old object or the complete new one: nothing is prepared on the server. A store that
ignores the conditions of writes would overwrite other programs' sidecars, so it is checked first. Tags may be embedded into photos
only where the bucket keeps the former version, and nothing else is lost.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from tagger.errors import BucketUnavailable, PhotoFailed
from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused
from tagger.metadata.originals import Original
from tagger.metadata.sidecar_names import (
    SIDECAR_ENDINGS,
    Sidecars,
    is_sidecar_name,
    new_sidecar_name,
    refuse_shared,
    sort_stem_sidecars,
)
from tagger.photos.buckets import is_object, names_with_stem, objects_beginning
from tagger.photos.files import PhotoVersion
from tagger.photos.object_store import (
    can_sign,
    condition_errors,
    error_code,
    error_text,
    is_unsupported,
    lacks_rights,
    open_store,
    store_errors,
)
from tagger.photos.object_writes import (
    ObjectChanged,
    ObjectDiffers,
    StoredObject,
    delete_object,
    put_object,
    read_object,
)
from tagger.photos.paths import ObjectPath
from tagger.photos.side_files import SIDECAR_MAX_BYTES, ReadSidecar
from tagger.photos.signed_requests import ask_bucket, send_signed
from tagger.photos.source import read_named


@contextmanager
def _translated_store_errors(path: ObjectPath, verb: str) -> Iterator[None]:
    """Raise an error of the block as WriteRefused or WriteFailed. `verb` says what is done: read, written or deleted."""
    try:
        yield
    except ObjectChanged as error:
        raise WriteRefused(
            RefusalKind.BUSY,
            f"{path.name!r} was changed by another program at the same time. Write again when it has finished.",
        ) from error
    except ObjectDiffers as error:
        raise WriteFailed(
            "unreadable",
            f"{path.name!r} does not hold what was just written. Another program or the server changed it; "
            "check the object and write again.",
        ) from error
    except BucketUnavailable as error:
        raise WriteFailed(
            "unreadable", f"{path.name!r} cannot be {verb}: {error.values['reason']}."
        ) from error
    except PhotoFailed as failed:
        raise WriteRefused(RefusalKind.TOO_LARGE, failed.failure.text) from failed
    except store_errors() as error:
        if verb != "read" and lacks_rights(error):
            raise _may_not_write(error_code(error)) from error
        raise WriteFailed("unreadable", f"{path.name!r} cannot be {verb}: {error_text(error)}.") from error


def _may_not_write(code: str) -> WriteRefused:
    """The refusal for credentials without the rights to write."""
    shown = f" ({code})" if code else ""
    return WriteRefused(
        RefusalKind.READ_ONLY,
        f"The credentials may not write or delete objects beside the photo{shown}. Grant them s3:PutObject and "
        "s3:DeleteObject there (or the same rights of your provider), then write again.",
    )


_TEXT = b"landmark-tagger checks with this object whether the server supports conditional writes. It can be deleted.\n"
_NAME_START = ".tagger-check-"
_OLD_S = 3600.0
"""A check object that is older belongs to no running process."""
_OTHER_E_TAG: Any = {"e_tag": '"00000000000000000000000000000000"', "version": "1"}
_UNSUPPORTED = WriteRefused(
    RefusalKind.BUCKET,
    "The server ignores the conditions of writes (If-None-Match, If-Match), so sidecars of other programs could be "
    "overwritten. Copy the photos to a folder and write there, or use a server that supports conditional writes.",
)
_conditions_lock = Lock()
_versioning_lock = Lock()
_supported: dict[tuple[str | None, ...], bool] = {}
_check_objects: dict[tuple[str | None, ...], ObjectPath] = {}
"""The object that was written to check a bucket. If it cannot be deleted, the next check uses it, and writes no other one."""


def _check_conditional_writes(folder: ObjectPath) -> None:
    """Check once per process and bucket that the server refuses a write whose condition does not hold.

    For this, a hidden object is written to the folder and deleted again. If it cannot be deleted, the photo is refused, and the next one
    tries again with the same object: at most one is left.

    Raises:
        WriteRefused: it does not, or the credentials may not write or delete.
        WriteFailed: it does not answer.
    """
    endpoints = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    bucket = (folder.scheme, folder.bucket, *endpoints)
    with _conditions_lock:
        if bucket not in _supported:
            remove_old_checks(folder)
            path = _check_objects.get(bucket, folder / f"{_NAME_START}{uuid4().hex}")
            _supported[bucket] = _supports_conditions(bucket, path)
    if not _supported[bucket]:
        raise _UNSUPPORTED


def remove_old_checks(folder: ObjectPath, *, dry_run: bool = False) -> int:
    """Delete the check objects that processes left in a folder when they died; return their number. With `dry_run`, they stay.

    If that fails, the check before the next write says why.
    """
    count = 0
    with suppress(BucketUnavailable, WriteRefused, WriteFailed):
        for path, written_at in objects_beginning(folder, _NAME_START):
            if time.time() - written_at > _OLD_S:
                with _translated_store_errors(path, "deleted"):
                    stored = read_object(path, max_bytes=len(_TEXT))
                    if stored is not None and stored.data == _TEXT:
                        count += 1
                        if not dry_run:
                            delete_object(path, stored)
    return count


def _supports_conditions(bucket: tuple[str | None, ...], path: ObjectPath) -> bool:
    with _translated_store_errors(path, "written"):
        if _is_refused(path, _OTHER_E_TAG):
            # If it was left by an earlier check, it has this content, and counts as written.
            written = put_object(path, _TEXT, None, {"Content-Type": "text/plain"})
            _check_objects[bucket] = path
            if _is_refused(path, "create"):
                with _translated_store_errors(path, "deleted"):
                    delete_object(path, written)
                return True
        open_store(path).delete(path.key)
        return False


def _is_refused(path: ObjectPath, mode: Any) -> bool:
    """Whether the server refuses a write because its condition does not hold."""
    try:
        open_store(path, patient=False).put(path.key, _TEXT, mode=mode, use_multipart=False)
    except condition_errors():
        return True
    except store_errors() as error:
        if not is_unsupported(error):
            raise
    return False


SIDECAR_TYPE = "application/rdf+xml"


@dataclass(frozen=True)
class ObjectOriginal(Original):
    """An object as it was read before a write; `stored` is None if it did not exist."""

    stored: StoredObject | None = None

    @property
    def version(self) -> PhotoVersion | None:
        return self.stored.version if self.stored else None


def read_object_for_writing(path: ObjectPath, *, max_bytes: int, root: Path | None = None) -> ObjectOriginal:
    """Read an object that will be replaced, or find that it does not exist yet.

    Raises:
        WriteRefused: it is too large.
        WriteFailed: it cannot be read.
    """
    with _translated_store_errors(path, "read"):
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
    _check_conditional_writes(path.parent)
    return PreparedObject(path, original.stored, data)


@dataclass(frozen=True)
class PreparedObject:
    """A new object in memory that is ready to replace the old one."""

    path: ObjectPath
    before: StoredObject | None
    data: bytes | None

    def replace(self) -> None:
        """Replace or delete the object, if it is still the one that was read.

        Raises:
            WriteRefused: another program has changed it, or the credentials may not write.
            WriteFailed: the server does not answer. Read the object to find out whether it was replaced.
        """
        with _translated_store_errors(self.path, "written"):
            if self.data is not None:
                attributes = self.before.attributes if self.before else {"Content-Type": SIDECAR_TYPE}
                put_object(self.path, self.data, self.before, attributes)
            elif self.before is not None:
                delete_object(self.path, self.before)

    def discard(self) -> None:
        """There is nothing on the server to remove."""


def find_object_sidecars(photo: ObjectPath, *, may_create: bool = False, adds: bool = False) -> Sidecars:
    """Find the sidecars that the photo has. With `may_create`, a new one if it has none.

    One request lists the objects whose names begin with the photo's stem. Other photos that may share a sidecar are looked up with
    the stem as it is, in upper case and in lower case.

    Raises:
        WriteRefused: values would be added (`adds`) to what may be the sidecar of another photo.
        WriteFailed: the bucket cannot be listed.
    """
    hidden: list[str] = []
    try:
        names = names_with_stem(photo.parent, photo.stem)
        found = [photo.name + ending for ending in SIDECAR_ENDINGS if photo.name + ending in names]
        of_stem = [photo.stem + ending for ending in SIDECAR_ENDINGS if photo.stem + ending in names]
        if photo.suffix and of_stem:
            for stem in {photo.stem.lower(), photo.stem.upper()} - {photo.stem}:
                names |= names_with_stem(photo.parent, stem)
            # The sidecars of the stem may be those of an object with this name: `a.jpg` beside `a.jpg.cr3`.
            if "." in photo.stem and is_object(photo.with_name(photo.stem)):
                names.add(photo.stem)
            owned, hidden = sort_stem_sidecars(photo.name, of_stem, names, _read_sidecar_beside(photo))
            found += owned
    except BucketUnavailable as error:
        reason = error.values["reason"]
        raise WriteFailed("unreadable", f"Its sidecars cannot be found: {reason}.") from error
    if may_create and not found:
        found = [new_sidecar_name(photo)]
    if adds:
        refuse_shared(photo, found, sorted(names))
    return Sidecars(tuple(map(photo.with_name, found)), tuple(map(photo.with_name, hidden)))


def _read_sidecar_beside(photo: ObjectPath) -> ReadSidecar:
    def read(name: str) -> bytes | None:
        with suppress(PhotoFailed):
            return read_named(photo.with_name(name), max_bytes=SIDECAR_MAX_BYTES).data
        return None

    return read


NOT_REQUESTED = (
    "Photos in buckets are changed only with --embed-objects, and only in a bucket with versioning."
)
VALID_S = 60.0
"""How long an answer is used: somebody may switch versioning off."""

_UNKNOWN = "the server does not tell whether the bucket has versioning"
_ENABLED = re.compile(rb"<[\w:]*Versioning\w*\b[^>]*>.*<Status>\s*Enabled\s*</Status>", re.DOTALL)
_LOST_SETTINGS = {
    "x-amz-tagging-count": "tags",
    "x-amz-storage-class": "a storage class of its own",
    "x-amz-object-lock-mode": "an object lock",
    "x-amz-object-lock-legal-hold": "a legal hold",
    "x-amz-website-redirect-location": "a redirect",
}
_checked: dict[tuple[str, str], float] = {}
"""When each bucket was last found to have versioning (monotonic seconds)."""


def check_versioning(path: ObjectPath) -> None:
    """Check that the bucket keeps the version of a photo that is replaced.

    Raises:
        WriteRefused: it does not, or this cannot be found out.
        WriteFailed: the server does not answer.
    """
    bucket = (path.scheme, path.bucket)
    with _versioning_lock:
        if time.monotonic() - _checked.get(bucket, -VALID_S) < VALID_S:
            return
        if not can_sign(path):
            raise _refusal(_UNKNOWN)
        if not _has_versioning(path):
            raise _refusal("the bucket has no versioning, or it is suspended. Switch it on")
        _checked[bucket] = time.monotonic()


def check_settings(path: ObjectPath) -> None:
    """Check that the object has no settings that would be lost when it is replaced.

    Raises:
        WriteRefused: it has.
        WriteFailed: the server does not answer.
    """
    with _translated_store_errors(path, "read"):
        headers = send_signed(path, "HEAD").headers
    for header, setting in _LOST_SETTINGS.items():
        if headers.get(header, "0").upper() not in {"0", "OFF", "STANDARD"}:
            raise _refusal(f"it has {setting}, which would be lost")


def _has_versioning(path: ObjectPath) -> bool:
    with _translated_store_errors(path, "read"):
        try:
            answer = ask_bucket(path, "versioning")
        except store_errors() as error:
            if lacks_rights(error):
                raise _refusal(f"{_UNKNOWN}. Grant the credentials s3:GetBucketVersioning") from error
            if is_unsupported(error):
                raise _refusal(_UNKNOWN) from error
            raise
    return _ENABLED.search(answer.body) is not None


def _refusal(reason: str) -> WriteRefused:
    return WriteRefused(RefusalKind.BUCKET, f"The photo in the bucket is not changed: {reason}.")
