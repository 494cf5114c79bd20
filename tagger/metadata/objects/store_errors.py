"""Errors of object stores, translated to refusals and failures that state a remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

from tagger.errors import BucketUnavailable, PhotoFailed
from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused
from tagger.photos.object_errors import error_code, error_text, lacks_rights, store_errors
from tagger.photos.object_paths import ObjectPath
from tagger.photos.object_writes import ObjectChanged, ObjectDiffers


@contextmanager
def translated_store_errors(path: ObjectPath, verb: str) -> Iterator[None]:
    """Raise an error of the block as WriteRefused or WriteFailed. `verb` says what is done: read, written or deleted."""
    try:
        yield
    except ObjectChanged as error:
        raise busy(path) from error
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
            raise may_not_write(error_code(error)) from error
        raise WriteFailed("unreadable", f"{path.name!r} cannot be {verb}: {error_text(error)}.") from error


def busy(path: ObjectPath) -> WriteRefused:
    """The refusal for an object that another program writes at the same time."""
    return WriteRefused(
        RefusalKind.BUSY,
        f"{path.name!r} was changed by another program at the same time. Write again when it has finished.",
    )


def may_not_write(code: str) -> WriteRefused:
    """The refusal for credentials without the rights to write."""
    shown = f" ({code})" if code else ""
    return WriteRefused(
        RefusalKind.READ_ONLY,
        f"The credentials may not write or delete objects beside the photo{shown}. Grant them s3:PutObject and "
        "s3:DeleteObject there (or the same rights of your provider), then write again.",
    )
