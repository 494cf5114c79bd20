"""A sample of the photos of a library, on which a model is tried before it is put in use."""

from dataclasses import dataclass

from sqlalchemy import func, select

from tagger.catalog.roots import RootPaths
from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.tables import contents
from tagger.query.tagged_photos import NameCache, first_photos
from tagger.tags.contents import has_photo


@dataclass(frozen=True)
class PhotoSample:
    """The paths of some images' photos, each with whether no landmark is known in it; and how many images there are."""

    photos: dict[str, bool]
    images: int


def sample_photos(database: Database, root_paths: RootPaths, most: int) -> PhotoSample:
    """At most `most` of the images that were classified, as if drawn by lot: in the order of their digests."""
    is_classified = contents.c.outcome.is_not(None), has_photo(contents.c.id)
    with database.read() as connection:
        total = connection.scalar(select(func.count()).select_from(contents).where(*is_classified)) or 0
        query = select(contents.c.id, contents.c.outcome).where(*is_classified)
        unknown = {
            row.id: row.outcome == Outcome.UNKNOWN
            for row in connection.execute(query.order_by(contents.c.digest).limit(most))
        }
        names, rows = NameCache(connection, root_paths), first_photos(connection, unknown)
        return PhotoSample(
            {names.path(connection, row): unknown[content_id] for content_id, row in rows.items()}, total
        )
