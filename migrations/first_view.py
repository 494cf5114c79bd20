"""The view of the first schema, `effective_tags`: tags and taught tags joined with verdicts and dismissals."""

from alembic import op

from migrations.first_counts import is_sqlite

EFFECTIVE_TAGS = """\
SELECT t.content_id, t.landmark_id, t.rank,
       CASE WHEN g.accepted AND NOT t.accepted THEN g.score ELSE t.score END AS score,
       t.model_id,
       CASE WHEN g.accepted AND NOT t.accepted THEN 'taught' ELSE 'model' END AS source,
       v.verdict,
       CASE v.verdict WHEN 'confirmed' THEN {true} WHEN 'rejected' THEN {false}
            ELSE d.content_id IS NULL AND (t.accepted OR COALESCE(g.accepted, {false})) END AS accepted,
       CASE WHEN t.accepted THEN t.position_odds WHEN g.accepted THEN g.position_odds
            ELSE COALESCE(t.position_odds, g.position_odds) END AS position_odds,
       CASE WHEN t.accepted THEN t.distance_m WHEN g.accepted THEN g.distance_m
            ELSE COALESCE(t.distance_m, g.distance_m) END AS distance_m
FROM tags AS t
LEFT JOIN taught_tags AS g ON g.content_id = t.content_id AND g.landmark_id = t.landmark_id
LEFT JOIN verdicts AS v ON v.content_id = t.content_id AND v.landmark_id = t.landmark_id
LEFT JOIN dismissals AS d ON d.content_id = t.content_id
UNION ALL
SELECT g.content_id, g.landmark_id, NULL, g.score, g.model_id, 'taught', v.verdict,
       CASE v.verdict WHEN 'confirmed' THEN {true} WHEN 'rejected' THEN {false}
            ELSE d.content_id IS NULL AND g.accepted END,
       g.position_odds, g.distance_m
FROM taught_tags AS g
LEFT JOIN verdicts AS v ON v.content_id = g.content_id AND v.landmark_id = g.landmark_id
LEFT JOIN dismissals AS d ON d.content_id = g.content_id
WHERE NOT EXISTS (SELECT 1 FROM tags AS t WHERE t.content_id = g.content_id AND t.landmark_id = g.landmark_id)
UNION ALL
SELECT v.content_id, v.landmark_id, NULL, NULL, NULL, 'verdict', v.verdict, {true}, NULL, NULL
FROM verdicts AS v
WHERE v.verdict = 'confirmed'
  AND NOT EXISTS (SELECT 1 FROM tags AS t WHERE t.content_id = v.content_id AND t.landmark_id = v.landmark_id)
  AND NOT EXISTS (
    SELECT 1 FROM taught_tags AS g WHERE g.content_id = v.content_id AND g.landmark_id = v.landmark_id)"""
"""A rejected tag is never accepted, a confirmed one always."""


def create() -> None:
    true, false = ("1", "0") if is_sqlite() else ("true", "false")
    op.execute("CREATE VIEW effective_tags AS " + EFFECTIVE_TAGS.format(true=true, false=false))


def drop() -> None:
    op.execute("DROP VIEW effective_tags")
