"""Conditions in SQL on a photo: its tags, position and verdicts, and what it belongs to; and columns that no index is read for."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, or_, select, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from tagger.database.tables import job_items, photos, positions, share_photos, taught_tags, verdicts
from tagger.library.catalog.contents import is_dismissed
from tagger.library.query.option_values import year_limits
from tagger.library.query.options import PositionOption, VerdictOption

Condition = ColumnElement[bool]


class off_index(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function where it is used
    """The same column, hidden from SQLite's planner: a filter must not make SQLite scan another index."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(off_index)
def _compile_unchanged(element: off_index, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(next(iter(element.clauses)), **options)


@compiles(off_index, "sqlite")
def _compile_with_plus(element: off_index, compiler: SQLCompiler, **options: Any) -> str:
    return "+" + compiler.process(next(iter(element.clauses)), **options)


def taken_in(taken_at: ColumnElement[datetime], year: int) -> Condition:
    """Whether the time is in a year."""
    first, end = year_limits(year)
    return taken_at >= first if end is None else and_(taken_at >= first, taken_at < end)


def is_confirmed_or_taught() -> Condition:
    """Whether the photo has an accepted tag beside those of its model: a confirmed landmark, or a taught one."""
    confirmed = exists().where(
        verdicts.c.content_id == photos.c.content_id, verdicts.c.verdict == "confirmed"
    )
    taught = exists().where(taught_tags.c.content_id == photos.c.content_id, taught_tags.c.accepted == true())
    return or_(confirmed, taught)


def is_rejected_once() -> Condition:
    """Whether a landmark was rejected on the photo, so that it may have lost all that its model accepted."""
    return exists().where(verdicts.c.content_id == photos.c.content_id, verdicts.c.verdict == "rejected")


def is_of_job(job: int) -> Condition:
    """Whether the photo is one of the job."""
    return photos.c.id.in_(select(job_items.c.photo_id).where(job_items.c.job_id == job))


def is_shared(share_id: int) -> Condition:
    """Whether the photo was selected for the share."""
    selected = select(share_photos.c.photo_id).where(share_photos.c.share_id == share_id)
    return photos.c.id.in_(selected)


def has_position_of(option: PositionOption) -> Condition:
    stored = positions.alias()  # photos are selected with their positions
    of_photo = exists().where(stored.c.photo_id == photos.c.id)
    match option:
        case "none":
            return ~of_photo
        case "any":
            return of_photo
        case source:
            return of_photo.where(stored.c.source == source)


def has_verdict_of(option: VerdictOption) -> Condition:
    given = exists().where(verdicts.c.content_id == photos.c.content_id)
    match option:
        case "none":
            return ~given & ~is_dismissed(photos.c.content_id)
        case "any":
            return given
        case "corrected":
            other = verdicts.alias()
            rejected = exists().where(
                other.c.content_id == photos.c.content_id, other.c.verdict == "rejected"
            )
            return given.where(verdicts.c.verdict == "confirmed") & rejected
        case verdict:
            return given.where(verdicts.c.verdict == verdict)
