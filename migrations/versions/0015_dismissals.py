"""Images that are put away as not a landmark, and the best candidates of images without a landmark in order of score."""

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import create_index_concurrently

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
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
"""Tags and taught tags joined with verdicts and dismissals."""

FORMER_EFFECTIVE_TAGS = """\
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


def upgrade() -> None:
    is_candidate = f"rank = 1 AND accepted = {_literals()[1]}"
    create_index_concurrently("ix_tags_candidate_score", "tags", ["score", "content_id"], is_candidate)
    op.create_table(
        "dismissals",
        sa.Column("content_id", ID, autoincrement=False, nullable=False),
        sa.Column("given_by", sa.Text(), nullable=True),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], name=op.f("fk_dismissals_content_id")),
        sa.PrimaryKeyConstraint("content_id", name=op.f("pk_dismissals")),
    )
    _replace_view(EFFECTIVE_TAGS)


def downgrade() -> None:
    _replace_view(FORMER_EFFECTIVE_TAGS)
    op.drop_index(op.f("ix_tags_candidate_score"), "tags")
    op.drop_table("dismissals")


def _replace_view(query: str) -> None:
    true, false = _literals()
    op.execute("DROP VIEW effective_tags")
    op.execute("CREATE VIEW effective_tags AS " + query.format(true=true, false=false))


def _literals() -> tuple[str, str]:
    return ("1", "0") if op.get_bind().dialect.name == "sqlite" else ("true", "false")
