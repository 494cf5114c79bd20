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
from tagger.writing.photo import PlannedPhoto, plan_photo
from tagger.writing.wanted import WantedTags, wanted_tags


@dataclass(frozen=True)
class Previewed:
    """A photo, and what would become of it: a plan, or why there is none."""

    path: Path
    planned: PlannedPhoto | None
    problem: WriteRefused | WriteFailed | None = None


def preview_write(
    database: Database, settings: Settings, photo_ids: Sequence[int], asked: WriteAsked | None
) -> Iterator[Previewed]:
    """What would become of these photos, in their order; without `asked`, what taking back would do."""
    with database.read() as connection:
        roots = {root.id: root for root in list_roots(connection, settings.roots)}
        rows = connection.execute(select(photos).where(photos.c.id.in_(photo_ids))).all()
    wanted = wanted_tags(database, photo_ids)
    paths = {row.id: roots[row.root_id].path_of(row.path, row.path_bytes) for row in rows}
    for photo_id in photo_ids:
        if photo_id in paths and photo_id in wanted:
            yield _previewed(database, settings, photo_id, paths[photo_id], wanted[photo_id], asked)


def finder(database: Database, photo_id: int | None) -> FindKept:
    """Finds what is kept of a photo's writes."""

    def find(written: str) -> Kept | None:
        return find_kept(database, photo_id, written)

    return find


def _previewed(
    database: Database,
    settings: Settings,
    photo_id: int,
    path: Path,
    wanted: WantedTags,
    asked: WriteAsked | None,
) -> Previewed:
    photo = wanted.to_write(path, asked, max_bytes=settings.max_bytes)
    try:
        return Previewed(path, plan_photo(photo, finder(database, photo_id)))
    except (WriteRefused, WriteFailed) as problem:
        return Previewed(path, None, problem)
