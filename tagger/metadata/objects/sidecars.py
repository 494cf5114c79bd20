"""The addresses of a photo's sidecars in a bucket, by the rules for names in folders (see files.sidecars)."""

from tagger.errors import BucketUnavailable
from tagger.metadata.errors import WriteFailed
from tagger.metadata.files.sidecars import (
    SIDECAR_ENDINGS,
    new_sidecar_name,
    refuse_shared,
    shares_sidecar,
)
from tagger.photos.object_paths import ObjectPath
from tagger.photos.objects import is_object, names_with_stem


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
