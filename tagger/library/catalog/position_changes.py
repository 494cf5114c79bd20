"""Records that evidence of photos' positions has changed, for the next update of positions (see tagger.library.positions).

Called in the transaction that changes the evidence. Rows are only inserted: nobody waits for an update.
"""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, insert, or_, select, union

from tagger.database.statements import pages
from tagger.database.tables import cameras, photos, position_changes, tags, taught_tags, verdicts


def record_photos(connection: Connection, photo_ids: Iterable[int]) -> None:
    """The time, camera or GPS position of these photos is about to change, or they are about to be deleted.

    Call it before: photos that were taken around them are estimated anew, too. Their copies have the same tags, which depend on the
    positions of all of them.
    """
    for page in pages(sorted(set(photo_ids))):
        record_matching_photos(connection, photos.c.id.in_(page))
        images = connection.scalars(select(photos.c.content_id).where(photos.c.id.in_(page)).distinct()).all()
        record_matching_photos(connection, photos.c.content_id.in_(images) & photos.c.id.not_in(page))


def record_contents(connection: Connection, content_ids: Iterable[int]) -> None:
    """Tags, taught tags or verdicts of these images have changed, or facts of one of their photos were read first."""
    rows = [{"content_id": content_id} for content_id in sorted(set(content_ids))]
    if rows:
        connection.execute(insert(position_changes), rows)


def record_landmark(connection: Connection, landmark_id: int) -> None:
    """A landmark moves, or is about to lose its tags and verdicts."""
    images = union(
        *(
            select(table.c.content_id).where(table.c.landmark_id == landmark_id)
            for table in (tags, taught_tags, verdicts)
        )
    )
    record_matching_photos(connection, photos.c.content_id.in_(images))


def record_camera(connection: Connection, camera_id: int) -> None:
    """The clock of a camera has changed: its anchors are of another time, for photos of its companions too."""
    group = select(cameras.c.companions_id).where(cameras.c.id == camera_id).scalar_subquery()
    companions = select(cameras.c.id).where(cameras.c.companions_id == group)
    record_matching_photos(
        connection, or_(photos.c.camera_id == camera_id, photos.c.camera_id.in_(companions))
    )


def record_matching_photos(connection: Connection, condition: ColumnElement[bool]) -> None:
    """Something else has changed for the photos with this condition: a track of their time, the companions of their camera."""
    columns = ("photo_id", "camera_id", "taken_at")
    changed = select(photos.c.id, photos.c.camera_id, photos.c.taken_at).where(condition)
    connection.execute(insert(position_changes).from_select(columns, changed))
