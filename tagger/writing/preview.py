"""What writing or taking back would change, file by file, without changing anything."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from tagger.database import Database
from tagger.metadata.planning import FindKept, Kept
from tagger.metadata.refusals import WriteRefused
from tagger.metadata.replacing import WriteFailed
from tagger.roots import list_roots
from tagger.settings import Settings
from tagger.tables import photos
from tagger.writing.asked import WriteAsked
from tagger.writing.kept import find_kept
from tagger.writing.photo import PhotoToWrite, PlannedPhoto, plan_photo
from tagger.writing.wanted import wanted_tags


@dataclass(frozen=True)
class Previewed:
    """A photo, and what would become of it: a plan, or why there is none."""

    path: Path
    planned: PlannedPhoto | None
    problem: WriteRefused | WriteFailed | None = None


def preview_write(
    database: Database,
    settings: Settings,
    photo_ids: Sequence[int],
    asked: WriteAsked | None,
    of_job: int | None = None,
) -> Iterator[Previewed]:
    """What would become of these photos, in their order; without `asked`, what taking back would do, all or `of_job`."""
    with database.read() as connection:
        roots = {root.id: root for root in list_roots(connection, settings.roots)}
        rows = connection.execute(select(photos).where(photos.c.id.in_(photo_ids))).all()
    wanted = wanted_tags(database, photo_ids)
    paths = {row.id: roots[row.root_id].path_of(row.path, row.path_bytes) for row in rows}
    for photo_id in photo_ids:
        if photo_id in paths and photo_id in wanted:
            path = paths[photo_id]
            photo = wanted[photo_id].to_write(path, asked, max_bytes=settings.max_bytes, of_job=of_job)
            yield _previewed(database, photo_id, photo)


def finder(database: Database, photo_id: int | None) -> FindKept:
    """Finds what is kept of a photo's writes."""

    def find(written: str) -> Kept | None:
        return find_kept(database, photo_id, written)

    return find


def _previewed(database: Database, photo_id: int, photo: PhotoToWrite) -> Previewed:
    try:
        return Previewed(photo.path, plan_photo(photo, finder(database, photo_id)))
    except (WriteRefused, WriteFailed) as problem:
        return Previewed(photo.path, None, problem)
