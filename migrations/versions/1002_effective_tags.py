"""`effective_tags` becomes a table, which the views read. Its rows follow when the database is opened (see tagger.database.connection)."""

import sqlalchemy as sa
from alembic import op

revision = "1002"
down_revision = "1001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_STATES = "state IN ('accepted', 'doubtful', 'suggested', 'rejected', 'confirmed')"
_REASONS = "reason IN ('confirmed-other', 'taught-other', 'scored-other', 'certain-other', 'position', 'speed', 'damaged')"
_INDEXES = {
    "ix_effective_tags_accepted_landmark": (["landmark_id", "score", "content_id"], "accepted = {true}"),
    "ix_effective_tags_accepted_score": (["score", "content_id", "landmark_id"], "accepted = {true}"),
    "ix_effective_tags_suggested": (["landmark_id", "score", "content_id"], "state = 'suggested'"),
    "ix_effective_tags_landmark_reason": (["reason", "landmark_id", "content_id"], "reason IS NOT NULL"),
}
_PATH = "CASE WHEN r.location LIKE '%/' THEN r.location || p.path ELSE r.location || '/' || p.path END"
_PRESENT = "p.gone_since IS NULL AND p.primary_id IS NULL"
_PHOTO_TAGS = f"""\
SELECT p.id AS photo_id, {_PATH} AS path, r.name AS root, l.slug AS landmark, l.name AS name, l.country AS country,
       l.city AS city, e.score AS score, e.accepted AS accepted, e.verdict AS verdict, e.source AS source,
       p.taken_at AS taken_at, o.latitude AS latitude, o.longitude AS longitude, o.source AS position_source,
       o.error_m AS error_m, m.name AS model
FROM effective_tags AS e
JOIN landmarks AS l ON l.id = e.landmark_id
JOIN photos AS p ON p.content_id = e.content_id AND {_PRESENT}
JOIN roots AS r ON r.id = p.root_id
LEFT JOIN positions AS o ON o.photo_id = p.id
LEFT JOIN models AS m ON m.id = e.model_id
WHERE e.accepted = {{true}}"""  # noqa: S608 - no values
_PHOTOS_VIEW = f"""\
SELECT p.id AS photo_id, {_PATH} AS path, r.name AS root,
       CASE WHEN p.failure_kind IS NOT NULL THEN 'failed' ELSE COALESCE(c.outcome, 'untagged') END AS outcome,
       p.taken_at AS taken_at, CASE WHEN substr(k.key, 1, 7) = 'camera|' THEN k.name END AS camera,
       o.latitude AS latitude, o.longitude AS longitude, o.source AS position_source, o.error_m AS error_m, o.country AS country, o.city AS city,
       c.width AS width, c.height AS height, c.digest AS digest, p.failure_kind AS failure_kind, p.failure_text AS failure_text
FROM photos AS p
JOIN roots AS r ON r.id = p.root_id
LEFT JOIN contents AS c ON c.id = p.content_id
LEFT JOIN cameras AS k ON k.id = p.camera_id
LEFT JOIN positions AS o ON o.photo_id = p.id
WHERE {_PRESENT}"""  # noqa: S608 - no values


def upgrade() -> None:
    """Create the table in place of the view, and the other views anew; mark all images as not settled."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    true = "1" if is_sqlite else "true"
    for view in ("photo_tags", "photos_view", "effective_tags"):
        op.execute(f"DROP VIEW {view}")
    _create_table()
    for name, (columns, where) in _INDEXES.items():
        condition = sa.text(where.format(true=true))
        op.create_index(name, "effective_tags", columns, sqlite_where=condition, postgresql_where=condition)
    op.execute(f"CREATE VIEW photo_tags AS {_PHOTO_TAGS.format(true=true)}")
    op.execute(f"CREATE VIEW photos_view AS {_PHOTOS_VIEW}")
    op.add_column("ledgers", sa.Column("settled_to", _ID))
    op.execute("UPDATE ledgers SET settled_to = 0")


def _create_table() -> None:
    op.create_table(
        "effective_tags",
        sa.Column("content_id", _ID, sa.ForeignKey("contents.id", ondelete="CASCADE"), nullable=False),
        sa.Column("landmark_id", _ID, sa.ForeignKey("landmarks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("state", sa.Text, sa.CheckConstraint(_STATES, name="state"), nullable=False),
        sa.Column("reason", sa.Text, sa.CheckConstraint(_REASONS, name="reason")),
        sa.Column("score", sa.Float),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("rank", sa.Integer),
        sa.Column("model_id", _ID, sa.ForeignKey("models.id")),
        sa.Column("pack", sa.Text),
        sa.Column("position_odds", sa.Float),
        sa.Column("distance_m", sa.Float),
        sa.Column(
            "accepted",
            sa.Boolean,
            sa.Computed("state IN ('accepted', 'confirmed')", persisted=True),
            nullable=False,
        ),
        sa.Column(
            "verdict",
            sa.Text,
            sa.Computed("CASE WHEN state IN ('confirmed', 'rejected') THEN state END", persisted=True),
        ),
        sa.Column(
            "doubtful",
            sa.Text,
            sa.Computed("CASE WHEN state = 'doubtful' THEN reason END", persisted=True),
        ),
        sa.PrimaryKeyConstraint("content_id", "landmark_id"),
        sqlite_with_rowid=False,
    )
