"""Which tags are accepted by their score alone, whatever the position of the photo says (see tagger.library.positions)."""

from sqlalchemy import ColumnElement, Table, and_, false, or_, true

TAUGHT_THRESHOLD = 0.9
"""A photo with at least this score gets the tag of a taught landmark."""


def is_accepted_by_score(table: Table) -> ColumnElement[bool]:
    """The condition on `tags` or `taught_tags` that the score reaches the threshold. A position has turned those that have odds."""
    odds = table.c.position_odds
    return or_(
        and_(table.c.accepted == true(), odds.is_(None)), and_(table.c.accepted == false(), odds.is_not(None))
    )


def is_refused_by_position(table: Table) -> ColumnElement[bool]:
    """The condition on `tags` or `taught_tags` that the score is enough, but the photo was taken too far from the landmark."""
    return and_(table.c.position_odds.is_not(None), table.c.accepted == false())
