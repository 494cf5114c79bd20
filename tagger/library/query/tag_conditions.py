"""Conditions in SQL for sorted and counted results: on a photo's effective tags, and that it is one of several copies.

Rejected tags never count, confirmed ones always, as in `ResolvedQuery.select_tags`.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    FromClause,
    Select,
    Table,
    and_,
    exists,
    false,
    func,
    or_,
    select,
    true,
    union,
)
from sqlalchemy.sql.visitors import ExternallyTraversible, replacement_traverse

from tagger.database.statements import among, greatest
from tagger.database.tables import photos, tags, taught_tags, verdicts
from tagger.library.catalog.contents import is_dismissed, is_undisputed
from tagger.library.query.photo_conditions import Condition


def has_tag(
    landmark_ids: Collection[int] | None = None, *, min_score: float | None = None, any_rank: bool = False
) -> Condition:
    """Whether a tag of the photo matches: of one of the landmarks, with at least the score or confirmed, accepted unless `any_rank`."""

    def of_photo(table: Table) -> Iterator[Condition]:
        yield table.c.content_id == photos.c.content_id
        if landmark_ids is not None:
            yield _is_of(table, landmark_ids)

    matching = (
        exists().where(*of_photo(table), *_matches(table, min_score, any_rank=any_rank))
        for table in (tags, taught_tags)
    )
    return or_(*matching, exists().where(*of_photo(verdicts), verdicts.c.verdict == "confirmed"))


def _is_of(table: Table, landmark_ids: Collection[int]) -> Condition:
    """Whether the landmark of a tag or verdict of a photo is one of these: as many as a query names, or thousands in an area."""
    if len(landmark_ids) == 1:
        return table.c.landmark_id.in_(landmark_ids)
    # With the sum, no index serves: a photo has few tags, so these are read, not those of each landmark.
    return among(table.c.landmark_id + 0, landmark_ids)


def shown_landmarks(
    rows: FromClause, columns: Sequence[ColumnElement[Any]] = (), *, min_score: float | None, any_rank: bool
) -> CompoundSelect[Any]:
    """Each `unit` of rows with a `content_id`, and these columns, with the ids of the landmarks of all its tags that match, as `has_tag`."""

    def of_table(table: Table, *conditions: Condition) -> Select[Any]:
        joined = select(rows.c.unit, table.c.landmark_id, *columns)
        return joined.join_from(rows, table, table.c.content_id == rows.c.content_id).where(*conditions)

    matching = (
        of_table(table, *_matches(table, min_score, any_rank=any_rank)) for table in (tags, taught_tags)
    )
    return union(*matching, of_table(verdicts, verdicts.c.verdict == "confirmed"))


def best_accepted_score(landmark_ids: Sequence[int]) -> ColumnElement[float]:
    """The best score of the photo's accepted tags, of these landmarks if there are any; 0 without one."""

    def best(table: Table) -> ColumnElement[float]:
        of_photo = [table.c.content_id == photos.c.content_id, _gives_score(table)]
        if landmark_ids:
            of_photo.append(_is_of(table, landmark_ids))
        score = select(func.max(table.c.score)).where(*of_photo, is_accepted(table))
        return func.coalesce(score.scalar_subquery(), 0.0)

    return greatest(best(tags), best(taught_tags))


def is_accepted(table: Table) -> Condition:
    """Whether a row of `tags` or `taught_tags` is an accepted tag after verdicts."""
    return or_(_has_verdict(table, "confirmed"), and_(*_matches(table, None, any_rank=False)))


def _matches(table: Table, min_score: float | None, *, any_rank: bool) -> Iterator[Condition]:
    yield ~is_rejected(table)
    if min_score is not None:
        yield table.c.score >= min_score
        yield _gives_score(table)
    if not any_rank:
        yield table.c.accepted == true()
        yield ~is_dismissed(table.c.content_id)
        yield is_undisputed(table)


def _gives_score(table: Table) -> Condition:
    """Whether the score of a row is that of the effective tag: the taught one's if that alone is accepted, otherwise the model's."""
    other = (taught_tags if table is tags else tags).alias()
    same = exists().where(
        other.c.content_id == table.c.content_id, other.c.landmark_id == table.c.landmark_id
    )
    if table is tags:
        return or_(tags.c.accepted == true(), ~same.where(other.c.accepted == true()))
    return ~same.where(or_(other.c.accepted == true(), taught_tags.c.accepted == false()))


def is_first_copy(among: Iterable[Condition]) -> Condition:
    """Whether the photo has the lowest id of those with its image that exist and meet the conditions on `photos`."""
    other = photos.alias()

    def on_other(element: ExternallyTraversible, **_: Any) -> Any:
        return other.c[element.name] if getattr(element, "table", None) is photos else None  # type: ignore[attr-defined]

    conditions = (replacement_traverse(condition, {}, on_other) for condition in among)
    return ~exists().where(
        other.c.content_id == photos.c.content_id,
        other.c.gone_since.is_(None),
        # With the sum, no index is searched for it: PostgreSQL 18 would expect a search for each time of a month, and read the month.
        other.c.id + 0 < photos.c.id,
        *conditions,
    )


def is_rejected(table: FromClause) -> Condition:
    """Whether a person rejected the landmark of a row of this table on its image."""
    return _has_verdict(table, "rejected")


def _has_verdict(table: FromClause, verdict: str) -> Condition:
    return exists().where(
        verdicts.c.content_id == table.c.content_id,
        verdicts.c.landmark_id == table.c.landmark_id,
        verdicts.c.verdict == verdict,
    )
