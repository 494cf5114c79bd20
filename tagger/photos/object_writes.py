"""Objects that are replaced or deleted only while they are still the ones that were read.

The server checks the condition (`If-None-Match`, `If-Match`), so of two writers one loses. If the answer of a write is lost,
reading the object tells whether it was written. Knows nothing of the content.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.buckets import object_version
from tagger.photos.files import PhotoVersion
from tagger.photos.object_store import (
    attempts,
    can_sign,
    condition_errors,
    is_unsupported,
    is_worth_repeating,
    open_store,
    repeated,
    store_errors,
)
from tagger.photos.paths import ObjectPath
from tagger.photos.signed_requests import send_signed


class ObjectChanged(Exception):
    """The object is no longer the one that was read: another program wrote or deleted it."""


class ObjectDiffers(Exception):
    """The server accepted a write, and the object reads back differently."""


@dataclass(frozen=True)
class StoredObject:
    """A whole object as it was read. `attributes` are its headers and its metadata, such as `Content-Type`."""

    data: bytes
    version: PhotoVersion
    e_tag: str | None
    generation: str | None
    attributes: Mapping[str, str] = field(default_factory=dict)


def read_object(path: ObjectPath, *, max_bytes: int) -> StoredObject | None:
    """Read an object with what identifies it; None if there is none.

    Raises:
        PhotoFailed: it is larger than `max_bytes`.
        store_errors(): the server refuses, or does not answer.
    """
    with suppress(FileNotFoundError):
        return repeated(lambda: _read_once(path, max_bytes))
    return None


def put_object(
    path: ObjectPath, data: bytes, before: StoredObject | None, attributes: Mapping[str, str]
) -> StoredObject:
    """Write an object if it is still `before`, or still absent if that is None, and read it back.

    Raises:
        ObjectChanged: another program wrote or deleted it; nothing was written.
        ObjectDiffers: it does not hold what was written.
        store_errors(): the server refuses or does not answer; nothing was written.
    """
    mode: Any = "create"
    if before is not None:
        condition = {"e_tag": before.e_tag, "version": before.generation}
        mode = {name: value for name, value in condition.items() if value is not None}

    def put() -> None:
        open_store(path).put(path.key, data, mode=mode, attributes=dict(attributes), use_multipart=False)

    largest = max(len(data), len(before.data) if before else 0)
    _settled(path, put, before, largest, is_done=lambda now: now is not None and now.data == data)
    written = _read_back(path, largest)
    if written is None or written.data != data:
        raise ObjectDiffers
    return written


def delete_object(path: ObjectPath, before: StoredObject) -> None:
    """Delete an object if it is still `before`, or do nothing if it is gone already.

    Stores other than S3, and S3 servers that ignore the condition, also delete an object that another program writes just before the
    deletion.

    Raises:
        ObjectChanged: another program wrote it; it stays.
        ObjectDiffers: it is still there.
        store_errors(): the server refuses or does not answer.
    """

    def delete() -> None:
        if not _is_same(_read_back(path, len(before.data)), before):
            raise ObjectChanged
        _delete(path, before)

    _settled(path, delete, before, len(before.data), is_done=lambda now: now is None)
    if _read_back(path, len(before.data)) is not None:
        raise ObjectDiffers


def _read_once(path: ObjectPath, max_bytes: int) -> StoredObject:
    result = open_store(path).get(path.key)
    meta = result.meta
    if meta["size"] > max_bytes:
        text = f"The object has {meta['size']} bytes, more than the limit of {max_bytes} (TAGGER_MAX_BYTES)."
        raise PhotoFailed(FailureKind.TOO_LARGE, text)
    data = result.bytes().to_bytes()
    if len(data) != meta["size"]:
        raise OSError("the connection ended early")
    return StoredObject(data, object_version(meta), meta["e_tag"], meta["version"], dict(result.attributes))


def _read_back(path: ObjectPath, largest: int) -> StoredObject | None:
    try:
        return read_object(path, max_bytes=largest)
    except PhotoFailed:  # larger than what was read and what was written
        raise ObjectChanged from None


def _settled(
    path: ObjectPath,
    request: Callable[[], None],
    before: StoredObject | None,
    largest: int,
    *,
    is_done: Callable[[StoredObject | None], bool],
) -> None:
    """Send a request that changes an object, until its effect is known. One that failed may have taken effect."""
    for _attempt in attempts():
        try:
            request()
        except store_errors() as error:
            problem = error
        else:
            return
        now = _read_back(path, largest)
        if is_done(now):
            return
        if not _is_same(now, before):
            raise ObjectChanged from problem
        # Two writers at the same moment: the server refuses one although nothing has changed yet.
        if not isinstance(problem, condition_errors()) and not is_worth_repeating(problem):
            raise problem
    raise ObjectChanged if isinstance(problem, condition_errors()) else problem


def _is_same(now: StoredObject | None, before: StoredObject | None) -> bool:
    if now is None or before is None:
        return now is before
    return (now.e_tag, now.generation, now.data) == (before.e_tag, before.generation, before.data)


def _delete(path: ObjectPath, before: StoredObject) -> None:
    if before.e_tag and can_sign(path):
        try:
            send_signed(path, "DELETE", {"If-Match": before.e_tag})
        except store_errors() as error:
            if not is_unsupported(error):
                raise
        else:
            return
    open_store(path).delete(path.key)
