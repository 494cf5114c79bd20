"""Whether a store checks the conditions of writes. One that ignores them would overwrite other programs' sidecars."""

import os
from threading import Lock
from typing import Any
from uuid import uuid4

from tagger.metadata.errors import RefusalKind, WriteRefused
from tagger.metadata.objects.store_errors import translated_store_errors
from tagger.photos.object_paths import ObjectPath
from tagger.photos.object_store import condition_errors, is_unsupported, open_store, store_errors
from tagger.photos.object_writes import delete_object, put_object

_TEXT = b"landmark-tagger checks with this object whether the server supports conditional writes. It can be deleted.\n"
_OTHER_E_TAG: Any = {"e_tag": '"00000000000000000000000000000000"', "version": "1"}
_UNSUPPORTED = WriteRefused(
    RefusalKind.BUCKET,
    "The server ignores the conditions of writes (If-None-Match, If-Match), so sidecars of other programs could be "
    "overwritten. Copy the photos to a folder and write there, or use a server that supports conditional writes.",
)
_lock = Lock()
_supported: dict[tuple[str | None, ...], bool] = {}


def check_conditional_writes(folder: ObjectPath) -> None:
    """Check once per process and bucket that the server refuses a write whose condition does not hold.

    For this, a hidden object is written to the folder and deleted again.

    Raises:
        WriteRefused: it does not, or the credentials may not write or delete.
        WriteFailed: it does not answer.
    """
    endpoints = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    bucket = (folder.scheme, folder.bucket, *endpoints)
    with _lock:
        if bucket not in _supported:
            _supported[bucket] = _supports_conditions(folder / f".tagger-check-{uuid4().hex}")
    if not _supported[bucket]:
        raise _UNSUPPORTED


def _supports_conditions(path: ObjectPath) -> bool:
    with translated_store_errors(path, "written"):
        if _is_refused(path, _OTHER_E_TAG):
            written = put_object(path, _TEXT, None, {"Content-Type": "text/plain"})
            if _is_refused(path, "create"):
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
