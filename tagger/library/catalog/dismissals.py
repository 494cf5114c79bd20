"""Images that people put away as not a landmark: conditions on them, and how they follow an image."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, delete, exists, or_, select

from tagger.database.statements import insert_missing
from tagger.database.tables import contents, dismissals, verdicts


def is_dismissed(content_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the image was put away as not a landmark."""
    return exists().where(dismissals.c.content_id == content_id)


def has_verdict() -> ColumnElement[bool]:
    """Whether a person decided about the image of a row of `contents`, which then stays without a photo."""
    of_landmark = exists().where(verdicts.c.content_id == contents.c.id)
    return or_(of_landmark, is_dismissed(contents.c.id))


def delete_dismissals(connection: Connection, content_ids: Sequence[int]) -> int:
    """Delete the dismissals of these images; returns how many had one."""
    return connection.execute(delete(dismissals).where(dismissals.c.content_id.in_(content_ids))).rowcount


def carry_dismissal(connection: Connection, image_id: int, to_image_id: int) -> bool:
    """Apply the dismissal of an image to another one, unless a landmark is confirmed on that; returns whether there was one."""
    row = connection.execute(select(dismissals).where(dismissals.c.content_id == image_id)).mappings().first()
    confirmed = select(verdicts.c.landmark_id).where(
        verdicts.c.content_id == to_image_id, verdicts.c.verdict == "confirmed"
    )
    if row is None or connection.execute(confirmed.limit(1)).first() is not None:
        return False
    insert_missing(connection, dismissals, [dict(row) | {"content_id": to_image_id}])
    return True
