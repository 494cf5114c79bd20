"""Dismissals: photos that people put away as not a landmark, and bring back.

A dismissal is a verdict about an image as a whole: no prediction for it is accepted, and it is no unknown photo any more. A
confirmed landmark says the opposite, so it deletes the dismissal, and an image with one is not put away.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, select

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.statements import pages, upsert
from tagger.database.tables import contents, dismissals, photos, verdicts
from tagger.library.catalog.content_locks import hold_contents
from tagger.library.catalog.dismissals import delete_dismissals
from tagger.library.catalog.position_changes import record_contents
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.details import find_photo_id
from tagger.library.query.find import find_tagged
from tagger.library.query.options import PhotoQuery
from tagger.library.verdicts.store import NOT_A_LANDMARK


@dataclass(frozen=True)
class NewDismissal:
    """A dismissal to write, of an image that has a row."""

    content_id: int
    by: str | None
    at: datetime


def stored_dismissals(connection: Connection, content_ids: Collection[int]) -> dict[int, datetime]:
    """When those of the images that are dismissed were."""
    rows = connection.execute(select(dismissals).where(dismissals.c.content_id.in_(content_ids)))
    return {row.content_id: row.given_at for row in rows}


def confirmed_contents(connection: Connection, content_ids: Collection[int]) -> set[int]:
    """Those of the images on which a landmark is confirmed."""
    is_confirmed = verdicts.c.content_id.in_(content_ids), verdicts.c.verdict == "confirmed"
    return set(connection.scalars(select(verdicts.c.content_id).where(*is_confirmed)))


def write_dismissals(connection: Connection, new: Iterable[NewDismissal]) -> None:
    """Write dismissals over older ones, except for images on which a landmark is confirmed."""
    latest = {each.content_id: each for each in sorted(new, key=lambda each: each.at)}
    written = sorted(latest.keys() - confirmed_contents(connection, latest))  # in one order: no deadlocks
    if not written:
        return
    statement = upsert(connection, dismissals)
    values = {name: statement.excluded[name] for name in ("given_by", "given_at")}
    is_older = dismissals.c.given_at < statement.excluded.given_at
    rows = [
        {"content_id": content_id, "given_by": latest[content_id].by, "given_at": latest[content_id].at}
        for content_id in written
    ]
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[dismissals.c.content_id], set_=values, where=is_older
        ),
        rows,
    )
    record_contents(connection, written)


@dataclass
class DismissedPhotos:
    """The effect on several photos, by id.

    `confirmed`: photos left out because a landmark is confirmed on them; `left_out`: because no model has classified them.
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
        with database.write() as connection:
            images = _images(connection, page)
            content_ids = {*images.values()}
            dismissed = stored_dismissals(connection, content_ids).keys()
            confirmed = confirmed_contents(connection, content_ids)
            result.left_out += [number for number in page if number not in images]
            for number, image in images.items():
                if image in confirmed:
                    result.confirmed.append(number)
                elif image in dismissed:
                    result.unchanged.append(number)
                else:
                    result.changed.append(number)
            if not dry_run:
                now = datetime.now(UTC)
                new = content_ids - dismissed - confirmed
                write_dismissals(connection, [NewDismissal(image, by, now) for image in new])
    return result


def restore_photos(database: Database, photo_ids: Sequence[int], *, dry_run: bool = False) -> DismissedPhotos:
    """Bring back photos that were put away, page by page: the predictions of the model count again."""
    result = DismissedPhotos([], [], [], [])
    for page in pages(photo_ids):
        with database.write() as connection:
            images = _images(connection, page)
            dismissed = stored_dismissals(connection, {*images.values()}).keys()
            result.left_out += [number for number in page if number not in images]
            for number, image in images.items():
                (result.changed if image in dismissed else result.unchanged).append(number)
            if dismissed and not dry_run:
                content_ids = sorted(dismissed)
                count = delete_dismissals(connection, content_ids)
                record_contents(connection, content_ids)
                record_action(connection, AuditAction.VERDICTS_WITHDRAW, verdict=NOT_A_LANDMARK, count=count)
    return result


def photo_ids_at(database: Database, paths: Iterable[Path], root_paths: RootPaths) -> list[int]:
    """The ids of stored photos.

    Raises:
        PhotoNotFound: the database does not have one of them.
    """
    with database.read() as connection:
        return [find_photo_id(connection, path, root_paths) for path in paths]


def photo_ids_of(database: Database, query: PhotoQuery, root_paths: RootPaths) -> list[int]:
    """The ids of the photos that a query finds: all of them, because dismissals change the result of a running query."""
    return [photo.id for photo in find_tagged(database, query, root_paths)]


def _images(connection: Connection, photo_ids: Sequence[int]) -> Mapping[int, int]:
    """The content ids of the photos that have one, in the order of the photos; the contents stay until the transaction ends."""
    query = (
        select(photos.c.id, photos.c.content_id, contents.c.digest)
        .join(contents, contents.c.id == photos.c.content_id)
        .where(photos.c.id.in_(photo_ids))
        .order_by(photos.c.id)
    )
    rows = connection.execute(query).all()
    held = hold_contents(connection, {row.digest for row in rows})
    return {row.id: row.content_id for row in rows if row.digest in held}
