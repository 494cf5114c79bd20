"""What people say of images: verdicts, dismissals (not a landmark at all) and favourites (a star).

A dismissal is a verdict about an image as a whole: no prediction for it is accepted, and it is no unknown
photo any more. A confirmed landmark says the opposite, so it deletes the dismissal, and an image with one is
not put away.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path

from sqlalchemy import Connection, Table, delete, select, text, tuple_

from tagger.catalog.roots import RootPaths
from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.statements import among, insert_missing, pages, upsert
from tagger.database.tables import dismissals, favourites, photos, verdicts
from tagger.query.details import find_photo_id
from tagger.tags.contents import delete_dismissals, lock_contents
from tagger.tags.settlement import begin_change

NOT_A_LANDMARK = "not-a-landmark"
"""The verdict on an image as a whole, a dismissal. It is no kind: it is about no landmark."""


@dataclass(frozen=True)
class NewVerdict:
    """A row of `verdicts` to write, on an image and a landmark that have rows."""

    content_id: int
    landmark_id: int
    verdict: VerdictKind
    given_by: str | None
    given_at: datetime

    @property
    def key(self) -> tuple[int, int]:
        return self.content_id, self.landmark_id


def hold_landmarks(connection: Connection) -> None:
    """Keep landmarks until the transaction ends: merges and removals wait for it, and it waits for theirs.

    The lock is the one that writing a verdict takes anyway, taken before landmarks are looked up. Lock images
    before that: merges do so.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE verdicts IN ROW EXCLUSIVE MODE"))


def stored_verdicts(
    connection: Connection, keys: Collection[tuple[int, int]]
) -> dict[tuple[int, int], tuple[VerdictKind, datetime]]:
    """Kind and time of the stored verdicts among `keys` (content id, landmark id)."""
    key = tuple_(verdicts.c.content_id, verdicts.c.landmark_id)
    rows = connection.execute(select(verdicts).where(key.in_(keys)))
    return {(row.content_id, row.landmark_id): (VerdictKind(row.verdict), row.given_at) for row in rows}


def write_verdicts(connection: Connection, new: Iterable[NewVerdict], *, newer_only: bool = False) -> None:
    """Write verdicts over stored ones; with `newer_only`, not over those of the same time or later.

    An image with a confirmed landmark is no longer put away as not a landmark.
    """
    latest = {each.key: each for each in sorted(new, key=attrgetter("given_at"))}
    if not latest:
        return
    images = {content_id for content_id, _ in latest}
    begin_change(connection, images)
    _upsert(connection, verdicts, [latest[key] for key in sorted(latest)], newer_only=newer_only)
    delete_dismissals(connection, sorted(confirmed_contents(connection, images)))


def _upsert(
    connection: Connection, table: Table, new: Sequence["NewVerdict | NewDismissal"], *, newer_only: bool
) -> None:
    """Write rows over those with the same keys, in the order of their keys, which prevents deadlocks."""
    statement = upsert(connection, table)
    values = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    is_older = table.c.given_at < statement.excluded.given_at if newer_only else None
    key = list(table.primary_key)
    over = statement.on_conflict_do_update(index_elements=key, set_=values, where=is_older)
    connection.execute(over, [vars(each) for each in new])


def delete_verdicts(
    connection: Connection, content_ids: Collection[int], landmark_id: int, kind: VerdictKind
) -> int:
    """Delete the verdicts of images about a landmark, if they are of `kind`; returns how many."""
    begin_change(connection, content_ids)
    of_landmark = verdicts.c.landmark_id == landmark_id, verdicts.c.verdict == kind
    deleted = delete(verdicts).where(among(verdicts.c.content_id, content_ids), *of_landmark)
    return connection.execute(deleted).rowcount


@dataclass(frozen=True)
class NewDismissal:
    """A row of `dismissals` to write, of an image that has a row."""

    content_id: int
    given_by: str | None
    given_at: datetime


def stored_dismissals(connection: Connection, content_ids: Collection[int]) -> dict[int, datetime]:
    """When the dismissed ones of these images were dismissed, by content id."""
    rows = connection.execute(select(dismissals).where(dismissals.c.content_id.in_(content_ids)))
    return {row.content_id: row.given_at for row in rows}


def confirmed_contents(connection: Connection, content_ids: Collection[int]) -> set[int]:
    """Those of the images on which a landmark is confirmed."""
    is_confirmed = verdicts.c.content_id.in_(content_ids), verdicts.c.verdict == "confirmed"
    return set(connection.scalars(select(verdicts.c.content_id).where(*is_confirmed)))


def write_dismissals(connection: Connection, new: Iterable[NewDismissal]) -> None:
    """Write dismissals over older ones, except for images on which a landmark is confirmed."""
    latest = {each.content_id: each for each in sorted(new, key=attrgetter("given_at"))}
    written = sorted(latest.keys() - confirmed_contents(connection, latest))
    if written:
        begin_change(connection, written)
        _upsert(connection, dismissals, [latest[each] for each in written], newer_only=True)


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
                begin_change(connection, changed)
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
