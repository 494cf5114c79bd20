"""The addresses of a photo's sidecars in a bucket, by the rules for names in folders (see files.sidecars)."""

from tagger.errors import BucketUnavailable
from tagger.metadata.errors import WriteFailed
from tagger.metadata.files.sidecars import SIDECAR_ENDINGS, shares_sidecar
from tagger.photos.object_paths import ObjectPath
from tagger.photos.objects import names_with_stem


def existing_object_sidecars(photo: ObjectPath) -> tuple[ObjectPath, ...]:
    """The sidecars that the photo has; the first is the one to write.

    One request lists the objects whose names begin as the photo's. Other photos with its stem are looked for in its own case,
    in upper and in lower case.

    Raises:
        WriteFailed: the bucket cannot be listed.
    """
    try:
        names = names_with_stem(photo.parent, photo.stem)
        found = [photo.name + ending for ending in SIDECAR_ENDINGS if photo.name + ending in names]
        of_stem = [photo.stem + ending for ending in SIDECAR_ENDINGS if photo.stem + ending in names]
        if photo.suffix and of_stem:
            for stem in {photo.stem.lower(), photo.stem.upper()} - {photo.stem}:
                names |= names_with_stem(photo.parent, stem)
            if not any(shares_sidecar(photo, name) for name in names):
                found += of_stem
    except BucketUnavailable as error:
        reason = error.values["reason"]
        raise WriteFailed("unreadable", f"Its sidecars cannot be found: {reason}.") from error
    return tuple(photo.with_name(name) for name in found)
