"""The tags of images; here what all do with images: lock them, record changes of evidence, ask for verdicts.

Transactions lock images in the same order, so two of them never wait for each other. Code that changes
evidence of photos' positions records that in the same transaction, for the next update of positions.
Recording only inserts rows, so no transaction waits for it.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Exists,
    Table,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    union,
)
from sqlalchemy.sql.visitors import ExternallyTraversible, replacement_traverse

from tagger.database import CLASSIFIED_OUTCOMES, KeptStep
from tagger.database.connection import record_decisions
from tagger.database.statements import among, insert_page, part_of
from tagger.database.tables import (
    cameras,
    changed_days,
    classifications,
    contents,
    dismissals,
    effective_tags,
    favourites,
    job_items,
    landmarks,
    photos,
    positions,
    sight_verdicts,
    tags,
    taught_tags,
    thing_verdicts,
    verdicts,
)

# Photos so near a landmark may be at its sight.
NEAR_DEGREES = 0.02


def lock_contents_shared(
    connection: Connection, digests: Collection[str]
) -> dict[str, int]:
    """Ids of the stored images, by digest. Their rows cannot be deleted until the transaction ends."""
    query = (
        select(contents.c.digest, contents.c.id)
        .where(among(contents.c.digest, digests))
        .order_by(contents.c.id)
        .with_for_update(read=True, key_share=True)
    )
    return {row.digest: row.id for row in connection.execute(query)} if digests else {}


def lock_contents(connection: Connection, content_ids: Collection[int]) -> None:
    """Others that change them wait. SQLite has one writer anyway."""
    if connection.dialect.name == "sqlite":
        return
    query = (
        select(contents.c.id)
        .where(among(contents.c.id, content_ids))
        .order_by(contents.c.id)
    )
    connection.execute(query.with_for_update(key_share=True))


def record_photos(connection: Connection, photo_ids: Collection[int]) -> None:
    """Record that the time, camera or GPS of these photos is about to change, or that they will be deleted.

    Call it before the change: photos that were taken around them are estimated again, too. Their copies have
    the same tags, which depend on the positions of all copies.
    """
    if not photo_ids:
        return
    is_changed = among(photos.c.id, sorted(set(photo_ids)))
    record_matching_photos(connection, is_changed)
    images = connection.scalars(
        select(photos.c.content_id).where(is_changed).distinct()
    ).all()
    record_matching_photos(connection, among(photos.c.content_id, images) & ~is_changed)


def count_photos_of_job(
    connection: Connection, job: int, *conditions: ColumnElement[bool]
) -> int:
    images = select(effective_tags.c.content_id).where(*conditions)
    number = (
        select(func.count())
        .select_from(job_items.join(photos, photos.c.id == job_items.c.photo_id))
        .where(job_items.c.job_id == job, photos.c.content_id.in_(images))
        .where(job_items.c.outcome.in_(CLASSIFIED_OUTCOMES))
    )
    return connection.scalar(number) or 0


def queue_position_updates(connection: Connection, content_ids: Iterable[int]) -> None:
    """Record that tags or verdicts of these images have changed, or that a photo was first read."""
    rows = ((KeptStep.POSITIONS, content_id) for content_id in sorted(set(content_ids)))
    insert_page(connection, changed_days, ("step", "content_id"), rows)


def record_landmark(connection: Connection, landmark_id: int) -> None:
    """Record that a landmark has moved, or is about to lose its tags and verdicts: of photos near it, too."""
    is_near = (
        positions.c[axis].between(
            landmarks.c[axis] - NEAR_DEGREES, landmarks.c[axis] + NEAR_DEGREES
        )
        for axis in ("latitude", "longitude")
    )
    near = select(positions.c.photo_id).where(landmarks.c.id == landmark_id, *is_near)
    images = union(
        *(
            select(table.c.content_id).where(table.c.landmark_id == landmark_id)
            for table in (tags, taught_tags, verdicts)
        )
    )
    record_matching_photos(
        connection,
        photos.c.content_id.in_(images) | photos.c.id.in_(near),
    )


def record_sights(connection: Connection, names: Collection[str]) -> None:
    """Record that landmarks change that have or had these names: photos are at the sights of these names."""
    there = select(positions.c.photo_id).where(among(positions.c.sight, names))
    if connection.scalar(select(there.exists())):
        record_matching_photos(connection, photos.c.id.in_(there))
        record_decisions(connection)


def record_camera(connection: Connection, camera_id: int) -> None:
    """Call it when its clock has changed: it locates photos of its companions, too."""
    group = (
        select(cameras.c.companions_id)
        .where(cameras.c.id == camera_id)
        .scalar_subquery()
    )
    companions = select(cameras.c.id).where(cameras.c.companions_id == group)
    record_matching_photos(
        connection,
        or_(
            photos.c.camera_id == camera_id,
            photos.c.camera_id.in_(companions),
        ),
    )


def record_matching_photos(
    connection: Connection, condition: ColumnElement[bool]
) -> None:
    """Record another change for the photos with this condition: of a track, or of companions."""
    columns = ("step", "part", "photo_id", "camera_id", "taken_at")
    changed = select(
        literal(KeptStep.POSITIONS.value),
        part_of(photos.c.taken_at, photos.c.id),
        photos.c.id,
        photos.c.camera_id,
        photos.c.taken_at,
    ).where(condition)
    connection.execute(insert(changed_days).from_select(columns, changed))


def is_dismissed(content_id: ColumnElement[int]) -> ColumnElement[bool]:
    return exists().where(dismissals.c.content_id == content_id)


def is_favourite(content_id: ColumnElement[int]) -> ColumnElement[bool]:
    return exists().where(favourites.c.content_id == content_id)


def is_only_predicted() -> ColumnElement[bool]:
    """The rule gives its landmark no state."""
    has_state = exists().where(
        effective_tags.c.content_id == tags.c.content_id,
        effective_tags.c.landmark_id == tags.c.landmark_id,
    )
    return and_(tags.c.counts == true(), ~has_state)


def is_classified_by(
    model_id: int | ColumnElement[Any],
    *same_options: tuple[str, float | ColumnElement[Any]],
) -> ColumnElement[bool]:
    """Whether a model has classified the image of a row of `contents`, with these options, or any."""

    def of_model(table: Table) -> ColumnElement[bool]:
        return and_(
            table.c.model_id == model_id,
            *(table.c[name] == value for name, value in same_options),
        )

    earlier = exists().where(
        classifications.c.content_id == contents.c.id, of_model(classifications)
    )
    return or_(of_model(contents), earlier)


def is_classified_by_all(
    thresholds: Mapping[int, float], top_k: int
) -> ColumnElement[bool]:
    """Whether these models have classified the image of a row of `contents`, with thresholds by their ids."""
    return and_(
        *(
            is_classified_by(model_id, ("top_k", top_k), ("threshold", threshold))
            for model_id, threshold in thresholds.items()
        )
    )


def has_photo(content_id: ColumnElement[int]) -> Exists:
    """As far as is known."""
    return exists().where(
        photos.c.content_id == content_id,
        photos.c.gone_since.is_(None),
    )


def has_verdict() -> ColumnElement[bool]:
    """Whether a person decided about the image of a row of `contents`, which then stays without a photo."""
    tables = verdicts, thing_verdicts, sight_verdicts, dismissals, favourites
    return or_(
        *(exists().where(table.c.content_id == contents.c.id) for table in tables)
    )


def delete_unused(connection: Connection, content_ids: Collection[int]) -> None:
    """Delete those of the images that no photo has and nobody decided about."""
    # An image that a worker has locked is about to get a photo.
    unused = (
        select(contents.c.id)
        .where(among(contents.c.id, content_ids), ~has_verdict())
        .where(~exists().where(photos.c.content_id == contents.c.id))
        .with_for_update(skip_locked=True)
    )
    if content_ids:
        connection.execute(delete(contents).where(contents.c.id.in_(unused)))


def is_first_copy(conditions: Iterable[ColumnElement[bool]]) -> ColumnElement[bool]:
    """Whether the photo has the lowest id of the existing ones with its image that meet the conditions."""
    other, other_positions = photos.alias(), positions.alias()

    def on_other(element: ExternallyTraversible, **_: Any) -> Any:
        if isinstance(element, Column) and element.table is photos:
            return other.c[element.name]
        if isinstance(element, Column) and element.table is positions:
            return other_positions.c[element.name]
        return None

    on_others = [
        replacement_traverse(condition, {}, on_other) for condition in conditions
    ]
    of_other = other.outerjoin(
        other_positions, other_positions.c.photo_id == other.c.id
    )
    return ~exists(select(true()).select_from(of_other)).where(
        other.c.content_id == photos.c.content_id,
        other.c.gone_since.is_(None),
        # With the sum, no index is searched: PostgreSQL 18 would read a month for each of its times.
        other.c.id + 0 < photos.c.id,
        *on_others,
    )
