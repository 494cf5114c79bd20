"""The files of selected photos for an archive: their own, and on request their RAW files and sidecars."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tagger.database.connection import Database
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.stored_photos import StoredPhoto, stored_photos, stored_raw_files
from tagger.metadata.errors import WriteFailed, WriteRefused
from tagger.metadata.writable_files import existing_sidecars
from tagger.photos.paths import ObjectPath
from tagger.web.media.photo_archive import ArchivedPhoto


def archived_photos(
    database: Database, photo_ids: Iterable[int], root_paths: RootPaths, *, whole: bool
) -> Iterator[ArchivedPhoto]:
    """Yield the photos, each as it is when it is its turn. `whole`: with RAW files and sidecars."""
    for photo in stored_photos(database, photo_ids, root_paths):
        if whole:
            yield _with_other_files([photo, *stored_raw_files(database, photo.id, root_paths)])
        else:
            yield ArchivedPhoto([photo])


def _with_other_files(files: list[StoredPhoto]) -> ArchivedPhoto:
    sidecars: list[StoredPhoto] = []
    problem = None
    for file in files:
        try:
            paths = existing_sidecars(file.path, file.root)
        except (WriteRefused, WriteFailed) as error:
            problem = error.text
        else:
            for path in paths:
                if not isinstance(path, ObjectPath) and path.is_symlink():
                    problem = f"The sidecar {path.name} is a link, which may lead to any file."
                else:
                    # A scan does not know it, so that nothing is compared with what it found.
                    sidecars.append(replace(file, path=path, size_bytes=-1, mtime_ns=0, digest=None))
    return ArchivedPhoto([*files, *sidecars], problem)
