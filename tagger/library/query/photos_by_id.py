"""Photos by their ids, with their accepted tags; reads only."""

from collections.abc import Iterator, Sequence

from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.tagged_photos import NameCache, TaggedPhoto, select_photos, tag_rows

PAGE = 250


def photos_by_id(
    database: Database, photo_ids: Sequence[int], root_paths: RootPaths
) -> Iterator[TaggedPhoto]:
    """Yield the photos in this order, page by page; those that were removed from the database are left out."""
    with database.read() as connection:
        names = NameCache(connection, root_paths)
    for start in range(0, len(photo_ids), PAGE):
        page = photo_ids[start : start + PAGE]
        with database.read() as connection:
            rows = {row.id: row for row in connection.execute(select_photos().where(photos.c.id.in_(page)))}
            tags_of = tag_rows(connection, {row.content_id for row in rows.values()} - {None})
            found = []
            for row in (rows[photo_id] for photo_id in page if photo_id in rows):
                photo_tags = tags_of.get(row.content_id, ())
                accepted = [tag for tag in photo_tags if tag.accepted]
                found.append(names.photo(connection, row, photo_tags, accepted))
        yield from found
