"""What people say of images: verdicts, dismissals (not a landmark at all) and favourites (a star).

A dismissal is a verdict about an image as a whole: no prediction for it is accepted, and it is no unknown
photo any more. A confirmed landmark says the opposite, so it deletes the dismissal, and an image with one is
not put away.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table, delete, select

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.statements import among, insert_missing, pages
from tagger.database.tables import dismissals, favourites, photos
from tagger.query.details import find_photo_id
from tagger.roots.roots import RootPaths
from tagger.tags.causes import NewDismissal, confirmed_contents, delete_dismissals, write_dismissals
from tagger.tags.contents import lock_contents

# The verdict on an image as a whole, a dismissal. It is no kind: it is about no landmark.
NOT_A_LANDMARK = "not-a-landmark"


_Key = TypeVar("_Key", int, str)


def stored_verdicts(
    connection: Connection, table: Table, keys: Collection[tuple[int, _Key]]
) -> dict[tuple[int, _Key], tuple[VerdictKind, datetime]]:
    """Kind and time of the stored verdicts among `keys`: content id, and landmark id or slug of a thing."""
    if not keys:
        return {}
    query: Select[Any] = select(*table.primary_key, table.c.verdict, table.c.given_at)
    of_images = among(table.c.content_id, {content_id for content_id, _ in keys})
    return {
        (content_id, subject): (VerdictKind(verdict), given_at)
        for content_id, subject, verdict, given_at in connection.execute(query.where(of_images))
        if (content_id, subject) in keys
    }


def stored_dismissals(connection: Connection, content_ids: Collection[int]) -> dict[int, datetime]:
    """When the dismissed ones of these images were dismissed, by content id."""
    rows = connection.execute(select(dismissals).where(dismissals.c.content_id.in_(content_ids)))
    return {row.content_id: row.given_at for row in rows}


@dataclass
class DismissedPhotos:
    """The effect on several photos, by id.

    `confirmed`: photos left out for a confirmed landmark; `left_out`: because they are not classified.
    """

    changed: list[int]
    unchanged: list[int]
    confirmed: list[int]
    left_out: list[int]


def dismiss_photos(
    database: Database, photo_ids: Sequence[int], by: str | None, *, dry_run: bool = False
) -> DismissedPhotos:
    """Put photos away, page by page. Copies are put away with them."""
    result = DismissedPhotos([], [], [], [])
    for page in pages(photo_ids):
        with database.write(dry_run=dry_run) as connection:
            changed = _compare_page(connection, page, result, away=True)
            now = datetime.now(UTC)
            write_dismissals(connection, [NewDismissal(image, by, now) for image in changed])
    return result


def restore_photos(database: Database, photo_ids: Sequence[int], *, dry_run: bool = False) -> DismissedPhotos:
    """Bring back photos that were put away, page by page: the predictions of the model count again."""
    result = DismissedPhotos([], [], [], [])
    for page in pages(photo_ids):
        with database.write(dry_run=dry_run) as connection:
            changed = sorted(_compare_page(connection, page, result, away=False))
            if changed:
                count = delete_dismissals(connection, changed)
                record_action(connection, AuditAction.VERDICTS_WITHDRAW, verdict=NOT_A_LANDMARK, count=count)
    return result


def _compare_page(
    connection: Connection, page: Sequence[int], result: DismissedPhotos, *, away: bool
) -> set[int]:
    """Sort photos by whether they have to be put away, or brought back. Returns the images of those."""
    images = images_of(connection, page)
    content_ids = {*images.values()}
    dismissed = stored_dismissals(connection, content_ids).keys()
    confirmed = confirmed_contents(connection, content_ids) if away else set()
    changed = content_ids - dismissed - confirmed if away else content_ids & dismissed
    result.left_out += [number for number in page if number not in images]
    for number, image in images.items():
        unchanged = result.confirmed if image in confirmed else result.unchanged
        (result.changed if image in changed else unchanged).append(number)
    return changed


def photo_ids_at(database: Database, paths: Iterable[Path], root_paths: RootPaths) -> list[int]:
    """The ids of stored photos.

    Raises:
        PhotoNotFound: the database does not have one of them.
    """
    with database.read() as connection:
        return [find_photo_id(connection, path, root_paths) for path in paths]


def images_of(connection: Connection, photo_ids: Sequence[int]) -> Mapping[int, int]:
    """The content ids of the photos that have one, in the order of the photos.

    Until the transaction ends, the contents stay, and others who decide about them wait.
    """
    query = select(photos.c.id, photos.c.content_id).where(
        among(photos.c.id, photo_ids), photos.c.content_id.is_not(None)
    )
    locked = {row.content_id for row in connection.execute(query)}
    lock_contents(connection, locked)
    rows = connection.execute(query.order_by(photos.c.id))  # some may have gone meanwhile
    return {row.id: row.content_id for row in rows if row.content_id in locked}


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
