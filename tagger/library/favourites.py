"""Favourites: images that people mark with a star. Copies of a photo share it, and it survives new models and the removal of the photo."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete

from tagger.database.connection import Database
from tagger.database.statements import insert_missing, pages
from tagger.database.tables import favourites
from tagger.library.verdicts.store import images_of


@dataclass(frozen=True)
class StarredPhotos:
    """The effect on several photos, by id. `left_out`: photos whose image has not been read yet."""

    changed: list[int]
    left_out: list[int]


def star_photos(
    database: Database, photo_ids: Sequence[int], by: str | None, *, starred: bool
) -> StarredPhotos:
    """Give photos and their copies a star, or take it away; page by page."""
    result = StarredPhotos([], [])
    for page in pages(photo_ids):
        with database.write() as connection:
            images = images_of(connection, page)
            content_ids = sorted(set(images.values()))  # in one order: no deadlocks
            if starred:
                row = {"given_by": by, "given_at": datetime.now(UTC)}
                rows = [{"content_id": content_id, **row} for content_id in content_ids]
                insert_missing(connection, favourites, rows)
            else:
                connection.execute(delete(favourites).where(favourites.c.content_id.in_(content_ids)))
            result.changed.extend(images)
            result.left_out.extend(number for number in page if number not in images)
    return result
