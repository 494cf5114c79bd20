"""How many photos show each landmark, counted by their tags after verdicts."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Exists, Select, Table, exists, func, select, true

from tagger.database.tables import photos, tags, taught_tags, verdicts
from tagger.library.catalog.dismissals import is_dismissed

Images = Callable[[ColumnElement[int]], ColumnElement[bool]]
"""A condition on ids of images, for a column that has them."""


def all_images(_content_id: ColumnElement[int]) -> ColumnElement[bool]:
    """The condition that all images meet."""
    return true()


def photos_by_landmark(
    connection: Connection, counted: ColumnElement[bool], images: Images = all_images
) -> Counter[int]:
    """Numbers of photos with this condition by landmark id. The view of effective tags would be read as a whole.

    `images` restricts each table that is read, which a condition on photos does not.
    """

    def numbers(table: Table, *conditions: ColumnElement[bool]) -> Select[Any]:
        restricted = (images(table.c.content_id), images(photos.c.content_id))
        return (
            select(table.c.landmark_id, func.count())
            .select_from(table.join(photos, photos.c.content_id == table.c.content_id))
            .where(*conditions, counted, *restricted)
            .group_by(table.c.landmark_id)
        )

    total: Counter[int] = Counter()
    for table, conditions in shown_landmark_rows():
        for landmark_id, number in connection.execute(numbers(table, *conditions)):
            total[landmark_id] += number
    return total


def shown_landmark_rows() -> Iterator[tuple[Table, tuple[ColumnElement[bool], ...]]]:
    """The tables that say which landmarks an image shows, with the conditions for their rows. No two rows say the same."""
    # Apart, so that a tag that is accepted for several reasons counts once.
    yield tags, (tags.c.accepted == true(), ~is_dismissed(tags.c.content_id), ~_has(verdicts, tags))
    yield (
        taught_tags,
        (
            taught_tags.c.accepted == true(),
            ~is_dismissed(taught_tags.c.content_id),
            ~_has(verdicts, taught_tags),
            ~_has(tags, taught_tags).where(tags.c.accepted == true()),
        ),
    )
    yield verdicts, (verdicts.c.verdict == "confirmed",)


def _has(table: Table, other: Table) -> Exists:
    """Whether `table` has a row for the image and landmark of `other`."""
    return exists().where(
        table.c.content_id == other.c.content_id, table.c.landmark_id == other.c.landmark_id
    )
