"""Whether a store checks the conditions of writes. One that ignores them would overwrite other programs' sidecars."""

import os
import time
from dataclasses import dataclass
from threading import Lock
from typing import Any
from uuid import uuid4

from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused
from tagger.metadata.objects.store_errors import translated_store_errors
from tagger.photos.object_errors import condition_errors, is_unsupported, store_errors
from tagger.photos.object_paths import ObjectPath
from tagger.photos.object_store import open_store
from tagger.photos.object_writes import StoredObject, delete_object, put_object

_TEXT = b"landmark-tagger checks with this object whether the server supports conditional writes. It can be deleted.\n"
_OTHER_E_TAG: Any = {"e_tag": '"00000000000000000000000000000000"', "version": "1"}
_UNSUPPORTED = WriteRefused(
    RefusalKind.BUCKET,
    "The server ignores the conditions of writes (If-None-Match, If-Match), so sidecars of other programs could be "
    "overwritten. Copy the photos to a folder and write there, or use a server that supports conditional writes.",
)
_PAUSE_S = 60.0
"""How long nothing more is written into a bucket whose check object could not be deleted."""
_lock = Lock()
_supported: dict[tuple[str | None, ...], bool] = {}
_left: dict[tuple[str | None, ...], "_LeftObject"] = {}


@dataclass(frozen=True)
class _LeftObject:
    """A check object that could not be deleted. It is deleted before another one is written."""

    path: ObjectPath
    written: StoredObject
    problem: WriteFailed | WriteRefused
    failed_at: float


def check_conditional_writes(folder: ObjectPath) -> None:
    """Check once per process and bucket that the server refuses a write whose condition does not hold.

    For this, a hidden object is written to the folder and deleted again. If it cannot be deleted, the photos of the next minute are
    refused without asking, and then its deletion is tried again: at most one such object is left.

    Raises:
        WriteRefused: it does not, or the credentials may not write or delete.
        WriteFailed: it does not answer.
    """
    endpoints = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    bucket = (folder.scheme, folder.bucket, *endpoints)
    with _lock:
        if bucket in _left:
            _delete_left(bucket)
        if bucket not in _supported:
            _supported[bucket] = _supports_conditions(bucket, folder / f".tagger-check-{uuid4().hex}")
    if not _supported[bucket]:
        raise _UNSUPPORTED


def _supports_conditions(bucket: tuple[str | None, ...], path: ObjectPath) -> bool:
    with translated_store_errors(path, "written"):
        written, is_supported = None, False
        if _is_refused(path, _OTHER_E_TAG):
            written = put_object(path, _TEXT, None, {"Content-Type": "text/plain"})
            is_supported = _is_refused(path, "create")
        if not is_supported:
            open_store(path).delete(path.key)
    if is_supported and written is not None:
        _delete(bucket, path, written)
    return is_supported


def _delete_left(bucket: tuple[str | None, ...]) -> None:
    left = _left[bucket]
    if time.monotonic() - left.failed_at < _PAUSE_S:
        raise left.problem
    del _left[bucket]
    _delete(bucket, left.path, left.written)


def _delete(bucket: tuple[str | None, ...], path: ObjectPath, written: StoredObject) -> None:
    try:
        with translated_store_errors(path, "deleted"):
            delete_object(path, written)
    except (WriteFailed, WriteRefused) as problem:
        _left[bucket] = _LeftObject(path, written, problem, time.monotonic())
        raise


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
