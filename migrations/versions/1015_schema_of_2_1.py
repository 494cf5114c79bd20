"""The schema of 2.1: odds that decide suggestions, positions of photos of trips, trips, mounts, sketches.

Suggestions, and what follows from days and trips, are decided again after the upgrade.
"""

import sqlalchemy as sa
from alembic import op

from tagger.database.statements import part_of

revision = "1015"
down_revision = "1014"

_IDENTIFIER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SOURCES = "'camera', 'sidecar', 'takeout', 'landmark', 'track', 'neighbour', 'trip'"
_REASONS = "'position', 'speed', 'trip', 'library'"
_INDEXES = (
    ["latitude", "longitude", "photo_id"],
    ["source", "photo_id"],
    ["country", "region", "city", "latitude", "longitude", "photo_id"],
)


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        _allow_trips_on_sqlite()
    else:
        _replace_check("positions", "source", _SOURCES)
    for table in ("tags", "taught_tags"):
        if is_sqlite:
            _allow_reasons_on_sqlite(table)
        else:
            _replace_check(table, "odds_reason", _REASONS)
    op.add_column(
        "classifications", sa.Column("classified_at", sa.DateTime(timezone=True))
    )
    op.execute("UPDATE ledgers SET settled_to = 0")
    _create_trips()
    _create_counts(is_sqlite=is_sqlite)
    _create_mounts()
    _create_sketches()
    _create_things()
    op.add_column("photos", sa.Column("retry_at", sa.DateTime(timezone=True)))
    op.execute(
        "INSERT INTO position_changes (content_id)"
        " SELECT content_id FROM tags WHERE position_odds IS NOT NULL OR score >= 0.1"
        " UNION SELECT content_id FROM taught_tags"
    )


def _replace_check(table: str, column: str, values: str) -> None:
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_{column}")
    op.execute(
        f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_{column} CHECK ({column} IN ({values}))"
    )


def _allow_trips_on_sqlite() -> None:
    # SQLite changes no constraint: the table is made again. Its triggers go with it.
    # The schema of 3.0 makes the views again: theirs has later columns.
    for view in ("photo_tags", "photos_view"):
        op.execute(f"DROP VIEW IF EXISTS {view}")
    op.rename_table("positions", "old_positions")
    for columns in _INDEXES:
        op.drop_index(f"ix_positions_{'_'.join(columns)}", "old_positions")
    op.create_table(
        "positions",
        sa.Column("photo_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("latitude", sa.Float, nullable=False),
        sa.Column("longitude", sa.Float, nullable=False),
        sa.Column("error_m", sa.Float, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("country", sa.Text),
        sa.Column("region", sa.Text),
        sa.Column("city", sa.Text),
        sa.CheckConstraint(f"source IN ({_SOURCES})", name="source"),
        sa.ForeignKeyConstraint(
            ["photo_id"],
            ["photos.id"],
            name="fk_positions_photo_id",
            ondelete="CASCADE",
        ),
    )
    op.execute("INSERT INTO positions SELECT * FROM old_positions")
    op.drop_table("old_positions")
    for columns in _INDEXES:
        op.create_index(f"ix_positions_{'_'.join(columns)}", "positions", columns)


def _allow_reasons_on_sqlite(table: str) -> None:
    is_reason = f"CONSTRAINT ck_{table}_odds_reason CHECK (odds_reason IN ({_REASONS}))"
    op.execute(f"ALTER TABLE {table} RENAME COLUMN odds_reason TO old_reason")
    op.execute(f"ALTER TABLE {table} ADD COLUMN odds_reason TEXT {is_reason}")
    op.execute(
        f"UPDATE {table} SET odds_reason = old_reason WHERE old_reason IS NOT NULL"  # noqa: S608
    )
    op.execute(f"ALTER TABLE {table} DROP COLUMN old_reason")


def _create_trips() -> None:
    op.create_table(
        "trips",
        sa.Column("id", _IDENTIFIER, primary_key=True),
        sa.Column("first_at", sa.DateTime, nullable=False),
        sa.Column("last_at", sa.DateTime, nullable=False),
        sa.Column("summary", sa.JSON, nullable=False),
    )
    op.create_table(
        "trip_changes",
        sa.Column("id", _IDENTIFIER, primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
    )
    op.create_index("ix_trip_changes_day", "trip_changes", ["day"])
    op.execute("INSERT INTO trip_changes (day) SELECT DISTINCT day FROM visits")


def _create_counts(*, is_sqlite: bool) -> None:
    op.create_table(
        "day_places",
        sa.Column("id", _IDENTIFIER, primary_key=True),
        sa.Column("part", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("country", "region", "city")),
        *(sa.Column(name, sa.Integer) for name in ("cell_row", "cell_column")),
        *(
            sa.Column(name, sa.Integer, nullable=False)
            for name in ("classified", "tagged", "located")
        ),
        *(
            sa.Column(name, sa.Float, nullable=False)
            for name in ("classified_aspect", "tagged_aspect")
        ),
        *(sa.Column(name, sa.Float) for name in ("south", "north", "west", "east")),
        sa.Column("photo_id", _IDENTIFIER, nullable=False),
    )
    op.create_table(
        "day_landmarks",
        sa.Column("id", _IDENTIFIER, primary_key=True),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("landmark_id", _IDENTIFIER, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("photos", "images")),
    )
    op.create_table(
        "count_changes",
        sa.Column("id", _IDENTIFIER, primary_key=True),
        sa.Column("part", sa.Integer, nullable=False),
    )
    for table in ("day_places", "day_landmarks", "count_changes"):
        op.create_index(f"ix_{table}_part", table, ["part"])
    part = part_of.sql("taken_at", "id", is_sqlite=is_sqlite)
    op.execute(f"CREATE INDEX ix_photos_part ON photos ({part})")
    op.execute(f"INSERT INTO count_changes (part) SELECT DISTINCT {part} FROM photos")  # noqa: S608


def _create_mounts() -> None:
    op.create_table(
        "mounts",
        sa.Column("root_id", _IDENTIFIER, nullable=False),
        sa.Column(
            "path",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("path_bytes", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["root_id"], ["roots.id"], name="fk_mounts_root_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("root_id", "path", "path_bytes", name="pk_mounts"),
    )


def _create_sketches() -> None:
    op.create_table(
        "sketches",
        sa.Column("model_id", _IDENTIFIER, nullable=False),
        sa.Column("block", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name="fk_sketches_model_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "block", name="pk_sketches"),
    )


def _create_things() -> None:
    op.add_column(
        "models", sa.Column("kind", sa.Text, nullable=False, server_default="landmarks")
    )
    op.create_table(
        "things",
        sa.Column("slug", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("names", sa.JSON, nullable=False),
        sa.Column("aliases", sa.JSON, nullable=False),
        sa.Column("parent", sa.Text),
        sa.ForeignKeyConstraint(["parent"], ["things.slug"], name="fk_things_parent"),
    )
    op.create_table(
        "thing_labels",
        sa.Column("model_id", _IDENTIFIER, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("thing", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["models.id"],
            name="fk_thing_labels_model_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["thing"], ["things.slug"], name="fk_thing_labels_thing"
        ),
        sa.PrimaryKeyConstraint("model_id", "position", name="pk_thing_labels"),
    )
    op.create_table(
        "image_things",
        sa.Column("content_id", _IDENTIFIER, nullable=False),
        sa.Column("thing", sa.Text, nullable=False),
        sa.Column("score", sa.Float),
        sa.Column("model_id", _IDENTIFIER),
        sa.Column("verdict", sa.Text),
        sa.Column("given_by", sa.Text),
        sa.Column("given_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("verdict IN ('confirmed', 'rejected')", name="verdict"),
        sa.ForeignKeyConstraint(
            ["content_id"],
            ["contents.id"],
            name="fk_image_things_content_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["thing"], ["things.slug"], name="fk_image_things_thing"
        ),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["models.id"],
            name="fk_image_things_model_id",
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("content_id", "thing", name="pk_image_things"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_image_things_thing_content_id", "image_things", ["thing", "content_id"]
    )
    op.create_index(
        "ix_image_things_model_id_content_id",
        "image_things",
        ["model_id", "content_id"],
    )
