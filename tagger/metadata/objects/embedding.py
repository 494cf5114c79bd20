"""Tags in buckets: the addresses of sidecars, and whether tags may be embedded into objects.

That is allowed only where the bucket keeps the former version, and nothing else is lost.
"""

import re
import time
from threading import Lock

from tagger.errors import BucketUnavailable
from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused
from tagger.metadata.files.sidecars import (
    SIDECAR_ENDINGS,
    new_sidecar_name,
    refuse_shared,
    shares_sidecar,
)
from tagger.metadata.objects.conditional_writes import translated_store_errors
from tagger.photos.object_errors import is_unsupported, lacks_rights, store_errors
from tagger.photos.object_store import can_sign
from tagger.photos.objects import is_object, names_with_stem
from tagger.photos.paths import ObjectPath
from tagger.photos.signed_requests import ask_bucket, send_signed


def object_sidecar_paths(
    photo: ObjectPath, *, may_create: bool = False, adds: bool = False
) -> tuple[ObjectPath, ...]:
    """The sidecars that the photo has; the first is the one to write. With `may_create`, a new one if it has none.

    One request lists the objects whose names begin as the photo's. Other photos with its stem are looked for in its own case,
    in upper and in lower case.

    Raises:
        WriteRefused: values would be added (`adds`) to what may be the sidecar of another photo.
        WriteFailed: the bucket cannot be listed.
    """
    try:
        names = names_with_stem(photo.parent, photo.stem)
        found = [photo.name + ending for ending in SIDECAR_ENDINGS if photo.name + ending in names]
        of_stem = [photo.stem + ending for ending in SIDECAR_ENDINGS if photo.stem + ending in names]
        if photo.suffix and of_stem:
            for stem in {photo.stem.lower(), photo.stem.upper()} - {photo.stem}:
                names |= names_with_stem(photo.parent, stem)
            if not any(shares_sidecar(photo, name) for name in names) and not _is_of_namesake(photo):
                found += of_stem
    except BucketUnavailable as error:
        reason = error.values["reason"]
        raise WriteFailed("unreadable", f"Its sidecars cannot be found: {reason}.") from error
    if may_create and not found:
        found = [new_sidecar_name(photo)]
    if adds:
        refuse_shared(photo, found, sorted(names))
    return tuple(photo.with_name(name) for name in found)


def _is_of_namesake(photo: ObjectPath) -> bool:
    """Whether the sidecars of the photo's stem are those of an object with this name: `a.jpg` beside `a.jpg.cr3`."""
    return "." in photo.stem and is_object(photo.with_name(photo.stem))


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
_lock = Lock()
_checked: dict[tuple[str, str], float] = {}
"""When each bucket had versioning."""


def check_versioning(path: ObjectPath) -> None:
    """Check that the bucket keeps the version of a photo that is replaced.

    Raises:
        WriteRefused: it does not, or this cannot be found out.
        WriteFailed: the server does not answer.
    """
    bucket = (path.scheme, path.bucket)
    with _lock:
        if time.monotonic() - _checked.get(bucket, -VALID_S) < VALID_S:
            return
        if not can_sign(path):
            raise _refusal(_UNKNOWN)
        if not _has_versioning(path):
            raise _refusal("the bucket has no versioning, or it is suspended. Switch it on")
        _checked[bucket] = time.monotonic()


def check_settings(path: ObjectPath) -> None:
    """Check that the object has no settings that the object which replaces it would not have.

    Raises:
        WriteRefused: it has.
        WriteFailed: the server does not answer.
    """
    with translated_store_errors(path, "read"):
        headers = send_signed(path, "HEAD").headers
    for header, setting in _LOST_SETTINGS.items():
        if headers.get(header, "0").upper() not in {"0", "OFF", "STANDARD"}:
            raise _refusal(f"it has {setting}, which would be lost")


def _has_versioning(path: ObjectPath) -> bool:
    with translated_store_errors(path, "read"):
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
