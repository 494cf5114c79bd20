"""Positions of photos that decide about tags: their odds, and the switch."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = ("tags", "taught_tags")

EFFECTIVE_TAGS = """\
SELECT t.content_id, t.landmark_id, t.rank,
       CASE WHEN g.accepted AND NOT t.accepted THEN g.score ELSE t.score END AS score,
       t.model_id,
       CASE WHEN g.accepted AND NOT t.accepted THEN 'taught' ELSE 'model' END AS source,
       v.verdict,
       CASE v.verdict WHEN 'confirmed' THEN {true} WHEN 'rejected' THEN {false}
            ELSE t.accepted OR COALESCE(g.accepted, {false}) END AS accepted,
       CASE WHEN t.accepted THEN t.position_odds WHEN g.accepted THEN g.position_odds
            ELSE COALESCE(t.position_odds, g.position_odds) END AS position_odds,
       CASE WHEN t.accepted THEN t.distance_m WHEN g.accepted THEN g.distance_m
            ELSE COALESCE(t.distance_m, g.distance_m) END AS distance_m
FROM tags AS t
LEFT JOIN taught_tags AS g ON g.content_id = t.content_id AND g.landmark_id = t.landmark_id
LEFT JOIN verdicts AS v ON v.content_id = t.content_id AND v.landmark_id = t.landmark_id
UNION ALL
SELECT g.content_id, g.landmark_id, NULL, g.score, g.model_id, 'taught', v.verdict,
       CASE v.verdict WHEN 'confirmed' THEN {true} WHEN 'rejected' THEN {false} ELSE g.accepted END,
       g.position_odds, g.distance_m
FROM taught_tags AS g
LEFT JOIN verdicts AS v ON v.content_id = g.content_id AND v.landmark_id = g.landmark_id
WHERE NOT EXISTS (SELECT 1 FROM tags AS t WHERE t.content_id = g.content_id AND t.landmark_id = g.landmark_id)
UNION ALL
SELECT v.content_id, v.landmark_id, NULL, NULL, NULL, 'verdict', v.verdict, {true}, NULL, NULL
FROM verdicts AS v
WHERE v.verdict = 'confirmed'
  AND NOT EXISTS (SELECT 1 FROM tags AS t WHERE t.content_id = v.content_id AND t.landmark_id = v.landmark_id)
  AND NOT EXISTS (
    SELECT 1 FROM taught_tags AS g WHERE g.content_id = v.content_id AND g.landmark_id = v.landmark_id)"""
"""Tags and taught tags joined with verdicts, with the odds that decided about them."""

FORMER_EFFECTIVE_TAGS = """\
SELECT t.content_id, t.landmark_id, t.rank,
       CASE WHEN g.accepted AND NOT t.accepted THEN g.score ELSE t.score END AS score,
       t.model_id,
       CASE WHEN g.accepted AND NOT t.accepted THEN 'taught' ELSE 'model' END AS source,
       v.verdict,
       CASE v.verdict WHEN 'confirmed' THEN {true} WHEN 'rejected' THEN {false}
            ELSE t.accepted OR COALESCE(g.accepted, {false}) END AS accepted
FROM tags AS t
LEFT JOIN taught_tags AS g ON g.content_id = t.content_id AND g.landmark_id = t.landmark_id
LEFT JOIN verdicts AS v ON v.content_id = t.content_id AND v.landmark_id = t.landmark_id
UNION ALL
SELECT g.content_id, g.landmark_id, NULL, g.score, g.model_id, 'taught', v.verdict,
       CASE v.verdict WHEN 'confirmed' THEN {true} WHEN 'rejected' THEN {false} ELSE g.accepted END
FROM taught_tags AS g
LEFT JOIN verdicts AS v ON v.content_id = g.content_id AND v.landmark_id = g.landmark_id
WHERE NOT EXISTS (SELECT 1 FROM tags AS t WHERE t.content_id = g.content_id AND t.landmark_id = g.landmark_id)
UNION ALL
SELECT v.content_id, v.landmark_id, NULL, NULL, NULL, 'verdict', v.verdict, {true}
FROM verdicts AS v
WHERE v.verdict = 'confirmed'
  AND NOT EXISTS (SELECT 1 FROM tags AS t WHERE t.content_id = v.content_id AND t.landmark_id = v.landmark_id)
  AND NOT EXISTS (
    SELECT 1 FROM taught_tags AS g WHERE g.content_id = v.content_id AND g.landmark_id = v.landmark_id)"""


def upgrade() -> None:
    op.add_column("ledgers", sa.Column("position_odds", sa.Boolean(), nullable=False, server_default="1"))
    for table in TABLES:
        for column in ("position_odds", "distance_m"):
            op.add_column(table, sa.Column(column, sa.Float(), nullable=True))
        is_set = sa.text("position_odds IS NOT NULL")
        op.create_index(
            op.f(f"ix_{table}_position_odds"),
            table,
            ["content_id"],
            postgresql_where=is_set,
            sqlite_where=is_set,
        )
    _replace_view(EFFECTIVE_TAGS)
    op.execute(
        "INSERT INTO position_changes (photo_id) SELECT id FROM photos"
        " WHERE content_id IS NOT NULL AND (latitude IS NOT NULL OR EXISTS (SELECT 1 FROM tracks))"
    )


def downgrade() -> None:
    op.execute("DROP VIEW effective_tags")
    op.execute("UPDATE tags SET accepted = NOT accepted WHERE position_odds IS NOT NULL")
    op.execute("UPDATE taught_tags SET accepted = NOT accepted WHERE position_odds IS NOT NULL")
    op.execute(
        "UPDATE contents SET outcome = CASE WHEN EXISTS"
        " (SELECT 1 FROM tags WHERE tags.content_id = contents.id AND tags.accepted) THEN 'tagged' ELSE 'unknown' END"
        " WHERE id IN (SELECT content_id FROM tags WHERE position_odds IS NOT NULL)"
    )
    for table in TABLES:
        op.drop_index(op.f(f"ix_{table}_position_odds"), table)
        for column in ("distance_m", "position_odds"):
            op.drop_column(table, column)
    op.drop_column("ledgers", "position_odds")
    _create_view(FORMER_EFFECTIVE_TAGS)


def _replace_view(query: str) -> None:
    op.execute("DROP VIEW effective_tags")
    _create_view(query)


def _create_view(query: str) -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    true, false = ("1", "0") if sqlite else ("true", "false")
    op.execute("CREATE VIEW effective_tags AS " + query.format(true=true, false=false))
