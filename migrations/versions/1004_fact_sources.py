"""Photos say who states their date and position, and which files are beside them. Positions can come from those."""

import sqlalchemy as sa
from alembic import op

revision = "1004"
down_revision = "1003"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SOURCES = ("camera", "sidecar", "takeout", "landmark", "track", "neighbour")
_INDEXES = (
    ["latitude", "longitude", "photo_id"],
    ["source", "photo_id"],
    ["country", "latitude", "longitude", "photo_id"],
)
_INDEX_NAMES = (
    "ix_positions_latitude_longitude_photo_id",
    "ix_positions_source_photo_id",
    "ix_positions_country_latitude_longitude_photo_id",
)
_PATH = "CASE WHEN r.location LIKE '%/' THEN r.location || p.path ELSE r.location || '/' || p.path END"
_PRESENT = "p.gone_since IS NULL AND p.primary_id IS NULL"
_TAKEN_SOURCE = "CASE WHEN p.taken_at IS NOT NULL THEN p.taken_source END AS taken_source"
_PHOTO_TAGS = f"""\
SELECT p.id AS photo_id, {_PATH} AS path, r.name AS root, l.slug AS landmark, l.name AS name, l.country AS country,
       l.city AS city, e.score AS score, e.accepted AS accepted, e.verdict AS verdict, e.source AS source,
       p.taken_at AS taken_at, o.latitude AS latitude, o.longitude AS longitude, o.source AS position_source,
       o.error_m AS error_m, m.name AS model{{added}}
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
       c.width AS width, c.height AS height, c.digest AS digest, p.failure_kind AS failure_kind, p.failure_text AS failure_text{{added}}
FROM photos AS p
JOIN roots AS r ON r.id = p.root_id
LEFT JOIN contents AS c ON c.id = p.content_id
LEFT JOIN cameras AS k ON k.id = p.camera_id
LEFT JOIN positions AS o ON o.photo_id = p.id
WHERE {_PRESENT}"""  # noqa: S608 - no values


def upgrade() -> None:
    """Add the columns. What was read so far is what the photos' own files state, as their defaults say."""
    _drop_views()
    for name in ("taken_source", "gps_source"):
        _add_column(name, "TEXT NOT NULL DEFAULT 'camera'", ("camera", "sidecar", "takeout", "name"))
    op.add_column("photos", sa.Column("side_files", sa.Text))
    _add_column("unread_facts", "TEXT", ("date", "side-file"))
    _allow(_SOURCES)
    _create_views(f", {_TAKEN_SOURCE}")


def downgrade() -> None:
    """Positions of files beside photos become those of cameras."""
    _drop_views()
    op.execute("UPDATE positions SET source = 'camera' WHERE source IN ('sidecar', 'takeout')")
    for name in ("taken_source", "gps_source", "side_files", "unread_facts"):
        op.drop_column("photos", name)
    _allow(tuple(source for source in _SOURCES if source not in ("sidecar", "takeout")))
    _create_views("")


def _drop_views() -> None:
    for view in ("photo_tags", "photos_view"):
        op.execute(f"DROP VIEW {view}")


def _create_views(added: str) -> None:
    true = "1" if op.get_bind().dialect.name == "sqlite" else "true"
    op.execute(f"CREATE VIEW photo_tags AS {_PHOTO_TAGS.format(true=true, added=added)}")
    op.execute(f"CREATE VIEW photos_view AS {_PHOTOS_VIEW.format(added=added)}")


def _allow(sources: tuple[str, ...]) -> None:
    """Let positions have these sources alone. Stored ones have no other."""
    if op.get_bind().dialect.name == "sqlite":
        _replace_positions(sources)
        return
    op.drop_constraint("ck_positions_source", "positions")
    check = f"CHECK ({_one_of('source', sources)}) NOT VALID"
    op.execute(f"ALTER TABLE positions ADD CONSTRAINT ck_positions_source {check}")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def _add_column(column: str, kind: str, values: tuple[str, ...]) -> None:
    """Alembic cannot add a column with a check on SQLite."""
    check = f"CONSTRAINT ck_photos_{column} CHECK ({_one_of(column, values)})"
    op.execute(f"ALTER TABLE photos ADD COLUMN {column} {kind} {check}")


def _replace_positions(sources: tuple[str, ...]) -> None:
    """SQLite cannot change a constraint of a table: a copy takes its place."""
    op.create_table(
        "new_positions",
        sa.Column(
            "photo_id",
            _ID,
            sa.ForeignKey("photos.id", ondelete="CASCADE", name=op.f("fk_positions_photo_id")),
            autoincrement=False,
        ),
        sa.Column("latitude", sa.Float, nullable=False),
        sa.Column("longitude", sa.Float, nullable=False),
        sa.Column("error_m", sa.Float, nullable=False),
        sa.Column(
            "source",
            sa.Text,
            sa.CheckConstraint(_one_of("source", sources), name=op.f("ck_positions_source")),
            nullable=False,
        ),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("country", sa.Text),
        sa.Column("region", sa.Text),
        sa.Column("city", sa.Text),
        sa.PrimaryKeyConstraint("photo_id", name=op.f("pk_positions")),
    )
    op.execute(
        "INSERT INTO new_positions SELECT photo_id, latitude, longitude, error_m, source, evidence, country, region, city FROM positions"
    )
    op.drop_table("positions")
    op.rename_table("new_positions", "positions")
    for name, columns in zip(_INDEX_NAMES, _INDEXES, strict=True):
        op.create_index(name, "positions", columns)
