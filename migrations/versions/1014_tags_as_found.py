"""Tags as they were found: whether the score is enough, and the odds of a position that matter. What follows is in effective_tags alone."""

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import create_index_concurrently

revision = "1014"
down_revision = "1013"
branch_labels = None
depends_on = None

_TABLES = ("tags", "taught_tags")
_KEY = ["landmark_id", "content_id"]
_BEST = ["score", "content_id"]
_IS_DAMAGED = "EXISTS (SELECT 1 FROM contents AS c WHERE c.id = tags.content_id AND c.damaged)"


def upgrade() -> None:
    false = "0" if op.get_bind().dialect.name == "sqlite" else "false"
    for table in _TABLES:
        create_index_concurrently(f"ix_{table}_landmark_id_content_id", table, _KEY)
    is_candidate = f"rank = 1 AND (accepted = {false} OR position_odds IS NOT NULL)"
    create_index_concurrently("ix_tags_candidate", "tags", _BEST, is_candidate)
    for table in _TABLES:
        op.drop_index(f"ix_{table}_landmark_id_content_id_accepted", table)
        is_reason = "odds_reason IN ('position', 'speed')"
        column = f"odds_reason TEXT CONSTRAINT ck_{table}_odds_reason CHECK ({is_reason})"
        op.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
        reason = "CASE doubtful WHEN 'speed' THEN 'speed' ELSE 'position' END"
        op.execute(f"UPDATE {table} SET odds_reason = {reason} WHERE position_odds IS NOT NULL")  # noqa: S608 - no values
    for name in ("ix_tags_candidate_score", "ix_tags_accepted_score_landmark"):
        op.drop_index(name, "tags")
    op.execute(
        "UPDATE tags SET accepted = (doubtful IS NOT NULL) WHERE doubtful IS NOT NULL OR position_odds IS NOT NULL"
    )
    op.execute("ALTER TABLE tags RENAME COLUMN accepted TO enough")
    op.drop_column("taught_tags", "accepted")
    for table in _TABLES:
        op.drop_column(table, "doubtful")


def downgrade() -> None:
    """The odds that are stored have reversed what the score says."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    op.drop_index("ix_tags_candidate", "tags")
    op.execute("ALTER TABLE tags RENAME COLUMN enough TO accepted")
    op.add_column("taught_tags", sa.Column("accepted", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute("UPDATE taught_tags SET accepted = (score >= 0.9)")
    for table in _TABLES:
        is_reason = "doubtful IN ('position', 'speed', 'damaged')"
        column = f"doubtful TEXT CONSTRAINT ck_{table}_doubtful CHECK ({is_reason})"
        op.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
        reversed_ = "doubtful = CASE WHEN accepted THEN odds_reason END, accepted = NOT accepted"
        op.execute(f"UPDATE {table} SET {reversed_} WHERE position_odds IS NOT NULL")  # noqa: S608 - no values
        op.drop_column(table, "odds_reason")
        op.drop_index(f"ix_{table}_landmark_id_content_id", table)
        op.create_index(f"ix_{table}_landmark_id_content_id_accepted", table, [*_KEY, "accepted"])
    op.execute(f"UPDATE tags SET doubtful = 'damaged', accepted = false WHERE accepted AND {_IS_DAMAGED}")  # noqa: S608 - no values
    yes, no = ("1", "0") if is_sqlite else ("true", "false")
    indexes = (
        ("ix_tags_accepted_score_landmark", [*_BEST, "landmark_id"], f"accepted = {yes}"),
        ("ix_tags_candidate_score", _BEST, f"rank = 1 AND accepted = {no}"),
    )
    for name, columns, where in indexes:
        condition = sa.text(where)
        op.create_index(name, "tags", columns, sqlite_where=condition, postgresql_where=condition)
