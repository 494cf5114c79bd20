"""How many photos were taken in each month: those that a model has classified, and those that show a landmark.

Exact copies are one photo, the first of them, as on the timeline.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Exists,
    Row,
    case,
    cast,
    exists,
    func,
    or_,
    select,
    union,
)

from tagger.database.column_parts import month_of
from tagger.database.tables import contents, photos
from tagger.library.catalog.landmark_photos import Images, all_images, shown_landmark_rows

NO_MONTH = "none"
"""The month of photos without a date, in tables and addresses."""

ASPECT_UNIT = 1_000_000
USUAL_ASPECT = 4 * ASPECT_UNIT // 3
"""The width of a photo whose size is unknown, divided by its height, in millionths."""
ASPECT = case(
    (contents.c.height > 0, cast(contents.c.width, BigInteger) * ASPECT_UNIT // contents.c.height),
    else_=USUAL_ASPECT,
)
"""The width of an image divided by its height, in millionths: sums of whole numbers are exact."""


@dataclass(frozen=True)
class MonthPhotos:
    """How many photos a month has, and the sum of their `ASPECT`. `month` is like `2024-06`, or None for photos without a date."""

    month: str | None
    photos: int
    aspects: int


def photos_by_month(connection: Connection, images: Images = all_images) -> list[Row[Any]]:
    """The month, which may be null, with the numbers of `month_totals`, of the photos of these images that exist."""
    image = _classified_and_tagged(images)
    month = month_of(photos.c.taken_at)
    query = (
        select(
            month.label("month"),
            func.sum(case((image.c.is_classified, 1), else_=0)).label("classified"),
            func.sum(case((image.c.is_classified, image.c.aspect), else_=0)).label("classified_aspects"),
            func.sum(case((image.c.is_tagged, 1), else_=0)).label("tagged"),
            func.sum(case((image.c.is_tagged, image.c.aspect), else_=0)).label("tagged_aspects"),
        )
        .select_from(photos.join(image, image.c.id == photos.c.content_id))
        .where(photos.c.gone_since.is_(None), images(photos.c.content_id), ~_has_earlier_copy(images))
        .group_by(month)
    )
    return list(connection.execute(query))


def _classified_and_tagged(images: Images) -> CTE:
    """Images that a model has classified, and those that show a landmark.

    Materialized: joined with photos first, PostgreSQL would expect too few of them, and compare each with all tagged ones.
    """
    rows = (
        select(table.c.content_id).where(*conditions, images(table.c.content_id))
        for table, conditions in shown_landmark_rows()
    )
    tagged = union(*rows).subquery("tagged")
    is_classified, is_tagged = contents.c.outcome.is_not(None), tagged.c.content_id.is_not(None)
    return (
        select(
            contents.c.id,
            is_classified.label("is_classified"),
            is_tagged.label("is_tagged"),
            ASPECT.label("aspect"),
        )
        .select_from(contents.outerjoin(tagged, tagged.c.content_id == contents.c.id))
        .where(images(contents.c.id), or_(is_classified, is_tagged))
        .cte("images")
        .prefix_with("MATERIALIZED")
    )


def _has_earlier_copy(images: Images) -> Exists:
    other = photos.alias("copies")
    is_copy: tuple[ColumnElement[bool], ...] = (
        other.c.content_id == photos.c.content_id,
        other.c.gone_since.is_(None),
        other.c.id < photos.c.id,
    )
    return exists().where(*is_copy, images(other.c.content_id))
