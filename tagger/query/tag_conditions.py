"""Conditions in SQL for sorted and counted results: on a photo's effective tags, and that it is one of several copies.

Rejected tags never count, confirmed ones always, as in `ResolvedQuery.select_tags`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import FromClause, Table, exists, or_, true
from sqlalchemy.sql.visitors import ExternallyTraversible, replacement_traverse

from tagger.catalog.dismissals import is_dismissed
from tagger.database.tables import photos, tags, taught_tags, verdicts
from tagger.query.index_scan import Condition


def has_tag(
    *, landmark_id: int | None = None, min_score: float | None = None, any_rank: bool = False
) -> Condition:
    """Whether a tag of the photo matches: of the landmark, with at least the score or confirmed, accepted unless `any_rank`."""

    def conditions(table: Table) -> Iterator[Condition]:
        yield table.c.content_id == photos.c.content_id
        yield ~is_rejected(table)
        if landmark_id is not None:
            yield table.c.landmark_id == landmark_id
        if min_score is not None:
            yield table.c.score >= min_score
        if not any_rank:
            yield table.c.accepted == true()
            yield ~is_dismissed(table.c.content_id)

    confirmed = exists().where(
        verdicts.c.content_id == photos.c.content_id, verdicts.c.verdict == "confirmed"
    )
    if landmark_id is not None:
        confirmed = confirmed.where(verdicts.c.landmark_id == landmark_id)
    return or_(*(exists().where(*conditions(table)) for table in (tags, taught_tags)), confirmed)


def is_first_copy(among: Iterable[Condition]) -> Condition:
    """Whether the photo has the lowest id of those with its image that exist and meet the conditions on `photos`."""
    other = photos.alias()

    def on_other(element: ExternallyTraversible, **_: Any) -> Any:
        return other.c[element.name] if getattr(element, "table", None) is photos else None  # type: ignore[attr-defined]

    conditions = (replacement_traverse(condition, {}, on_other) for condition in among)
    return ~exists().where(
        other.c.content_id == photos.c.content_id,
        other.c.gone_since.is_(None),
        other.c.id < photos.c.id,
        *conditions,
    )


def is_rejected(table: FromClause) -> Condition:
    """Whether a person rejected the landmark of a row of this table on its image."""
    return exists().where(
        verdicts.c.content_id == table.c.content_id,
        verdicts.c.landmark_id == table.c.landmark_id,
        verdicts.c.verdict == "rejected",
    )
