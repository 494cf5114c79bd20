"""What several packages do with images: lock them, record changes of evidence, and ask about dismissals and competing tags.

Transactions lock images in the same order, so two of them never wait for each other. Code that changes evidence of photos' positions
records that in the same transaction, for the next update of positions. Recording only inserts rows, so no transaction waits for it.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import cache

from sqlalchemy import (
    ColumnElement,
    Connection,
    Exists,
    FromClause,
    Table,
    and_,
    delete,
    exists,
    insert,
    or_,
    select,
    true,
    union,
)

from tagger.database.statements import among, insert_missing
from tagger.database.tables import (
    cameras,
    contents,
    dismissals,
    favourites,
    photos,
    position_changes,
    tags,
    taught_tags,
    verdicts,
)
from tagger.model.predictions import NEARLY_CERTAIN, TAUGHT_THRESHOLD


def hold_contents(connection: Connection, digests: Collection[str]) -> dict[str, int]:
    """Ids of the stored images, by digest. Their rows cannot be deleted until the transaction ends."""
    query = select(contents.c.digest, contents.c.id).where(contents.c.digest.in_(digests))
    query = query.order_by(contents.c.id).with_for_update(read=True, key_share=True)
    return {row.digest: row.id for row in connection.execute(query)} if digests else {}


def lock_contents(connection: Connection, content_ids: Collection[int]) -> None:
    """Lock these images: others that change them wait, such as workers that classify them again."""
    query = select(contents.c.id).where(among(contents.c.id, content_ids)).order_by(contents.c.id)
    connection.execute(query.with_for_update(key_share=True))


def record_photos(connection: Connection, photo_ids: Iterable[int]) -> None:
    """Record that the time, camera or GPS position of these photos is about to change, or that they are about to be deleted.

    Call it before the change: photos that were taken around them are estimated again, too. Their copies have the same tags, which
    depend on the positions of all copies.
    """
    is_changed = among(photos.c.id, sorted(set(photo_ids)))
    record_matching_photos(connection, is_changed)
    images = connection.scalars(select(photos.c.content_id).where(is_changed).distinct()).all()
    record_matching_photos(connection, among(photos.c.content_id, images) & ~is_changed)


def record_contents(connection: Connection, content_ids: Iterable[int]) -> None:
    """Record that tags, taught tags or verdicts of these images have changed, or that facts of a photo were read for the first time."""
    rows = [{"content_id": content_id} for content_id in sorted(set(content_ids))]
    if rows:
        connection.execute(insert(position_changes), rows)


def record_landmark(connection: Connection, landmark_id: int) -> None:
    """Record that a landmark moves, or is about to lose its tags and verdicts."""
    images = union(
        *(
            select(table.c.content_id).where(table.c.landmark_id == landmark_id)
            for table in (tags, taught_tags, verdicts)
        )
    )
    record_matching_photos(connection, photos.c.content_id.in_(images))


def record_camera(connection: Connection, camera_id: int) -> None:
    """Record that the clock of a camera has changed: its anchors now have other times, also for photos of its companions."""
    group = select(cameras.c.companions_id).where(cameras.c.id == camera_id).scalar_subquery()
    companions = select(cameras.c.id).where(cameras.c.companions_id == group)
    record_matching_photos(
        connection, or_(photos.c.camera_id == camera_id, photos.c.camera_id.in_(companions))
    )


def record_matching_photos(connection: Connection, condition: ColumnElement[bool]) -> None:
    """Record another change for the photos with this condition: of a track of their time, or of the companions of their camera."""
    columns = ("photo_id", "camera_id", "taken_at")
    changed = select(photos.c.id, photos.c.camera_id, photos.c.taken_at).where(condition)
    connection.execute(insert(position_changes).from_select(columns, changed))


def is_dismissed(content_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the image was put away as not a landmark."""
    return exists().where(dismissals.c.content_id == content_id)


def is_favourite(content_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a person marked the image with a star."""
    return exists().where(favourites.c.content_id == content_id)


def is_taught(content_id: ColumnElement[int]) -> Exists:
    """Whether the image has an accepted tag of a taught landmark."""
    return exists().where(taught_tags.c.content_id == content_id, taught_tags.c.accepted == true())


def has_photo(content_id: ColumnElement[int]) -> Exists:
    """Whether a photo of the image exists, as far as is known."""
    return exists().where(photos.c.content_id == content_id, photos.c.gone_since.is_(None))


def is_tagged() -> Exists:
    """The condition on `contents` that the image has an accepted tag of its model."""
    return exists().where(tags.c.content_id == contents.c.id, tags.c.accepted == true())


def has_verdict() -> ColumnElement[bool]:
    """Whether a person decided about the image of a row of `contents`, which then stays without a photo."""
    of_landmark = exists().where(verdicts.c.content_id == contents.c.id)
    return or_(of_landmark, is_dismissed(contents.c.id), is_favourite(contents.c.id))


def has_verdict_on(table: FromClause, kind: str | None = None) -> Exists:
    """Whether a person decided about the landmark of a row of this table on its image; with `kind`, whether the verdict is this one."""
    decided = exists().where(
        verdicts.c.content_id == table.c.content_id, verdicts.c.landmark_id == table.c.landmark_id
    )
    return decided if kind is None else decided.where(verdicts.c.verdict == kind)


@cache
def is_undecided(table: Table) -> ColumnElement[bool]:
    """Whether no verdict decides about a row of `tags` or `taught_tags`, and nothing but its score speaks for or against it."""
    return and_(~is_dismissed(table.c.content_id), ~has_verdict_on(table), is_undisputed(table))


def is_tagged_by_model() -> Exists:
    """The condition on `taught_tags` that the model itself has given the image this tag."""
    return exists().where(
        tags.c.content_id == taught_tags.c.content_id,
        tags.c.landmark_id == taught_tags.c.landmark_id,
        tags.c.accepted == true(),
    )


def prevails_over_taught() -> ColumnElement[bool]:
    """The condition on `tags` that the model, if it accepts the tag, is nearly certain, and that no verdict speaks against it."""
    is_certain = tags.c.score >= NEARLY_CERTAIN
    return and_(is_certain, ~has_verdict_on(tags, "rejected"), ~_has_other_confirmed(tags))


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


@cache  # Making its aliases took a third of the time of short queries.
def is_undisputed(table: Table) -> ColumnElement[bool]:
    """Whether nothing but verdicts on this landmark speaks against a row of `tags` or `taught_tags`.

    A landmark that is confirmed on the image prevails over all others, and one that is taught here over those of the model and of packs.
    Among these, the one with the higher score prevails. Landmarks of one model or pack do not compete.
    """
    no_other_confirmed = ~_has_other_confirmed(table)
    if table is tags:
        return and_(no_other_confirmed, ~_has_other_taught(tags))
    of_pack_loses = and_(taught_tags.c.pack != "", or_(_has_other_taught(taught_tags), _has_other_of_model()))
    return and_(no_other_confirmed, ~of_pack_loses)


def _has_other_confirmed(table: Table) -> Exists:
    """Whether a person confirmed another landmark on the image of a row of `tags` or `taught_tags`."""
    other = verdicts.alias()
    return exists().where(
        other.c.content_id == table.c.content_id,
        other.c.landmark_id != table.c.landmark_id,
        other.c.verdict == "confirmed",
    )


def _has_other_taught(table: Table) -> Exists:
    """Whether what is taught here, or another pack with a higher score, says that the image of a row of this table shows another landmark.

    If its landmark has an accepted taught tag, too, a row of `tags` counts with the score and pack of that. It prevails if that was taught here.
    """
    other = taught_tags.alias()
    is_better = other.c.score > table.c.score
    if table is taught_tags:
        is_better = and_(is_better, other.c.pack != taught_tags.c.pack)
    conditions = [or_(other.c.pack == "", is_better)]
    if table is tags:
        own = taught_tags.alias()
        is_of_tag = own.c.content_id == tags.c.content_id, own.c.landmark_id == tags.c.landmark_id
        wins = or_(
            own.c.pack == "",
            and_(other.c.pack != "", or_(own.c.score >= other.c.score, own.c.pack == other.c.pack)),
        )
        # The row of `tags` comes from the outermost statement.
        conditions.append(~exists().where(*is_of_tag, own.c.accepted == true(), wins).correlate(tags, other))
    return exists().where(*_is_other(other, table), *conditions)


def _has_other_of_model() -> Exists:
    """Whether the model says with at least the score of a row of `taught_tags` that its image shows another landmark."""
    other = tags.alias()
    return exists().where(*_is_other(other, taught_tags), other.c.score >= taught_tags.c.score)


def _is_other(other: FromClause, table: Table) -> tuple[ColumnElement[bool], ...]:
    """The conditions that a row of another tag is accepted, of another landmark of the same image, and not rejected."""
    verdict = verdicts.alias()
    is_rejected = exists().where(
        verdict.c.content_id == other.c.content_id,
        verdict.c.landmark_id == other.c.landmark_id,
        verdict.c.verdict == "rejected",
    )
    return (
        other.c.content_id == table.c.content_id,
        other.c.landmark_id != table.c.landmark_id,
        other.c.accepted == true(),
        ~is_rejected,
    )


def is_accepted_by_score(table: Table) -> ColumnElement[bool]:
    """The condition on `tags` or `taught_tags` that the score reaches the threshold, whatever else speaks for or against it."""
    if table is taught_tags:
        return taught_tags.c.score >= TAUGHT_THRESHOLD
    is_raised = tags.c.position_odds.is_not(None)
    return or_(tags.c.doubtful.is_not(None), and_(tags.c.accepted == true(), ~is_raised))
