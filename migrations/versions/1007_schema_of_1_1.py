"""The schema of 1.1: stored tags, several models, files beside photos, translated notes, changes of trips.

Rows of `effective_tags` follow at the end of the upgrade (see tagger.transfer.upgrade).
"""

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "1007"
down_revision = "1001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_STATES = ("accepted", "doubtful", "suggested", "rejected", "confirmed")
_REASONS = (
    *("confirmed-other", "taught-other", "scored-other", "certain-other"),
    *("position", "speed", "damaged"),
)
_TAG_INDEXES = {
    "ix_effective_tags_accepted_landmark": (["landmark_id", "score", "content_id"], "accepted = {true}"),
    "ix_effective_tags_accepted_score": (["score", "content_id", "landmark_id"], "accepted = {true}"),
    "ix_effective_tags_suggested": (["landmark_id", "score", "content_id"], "state = 'suggested'"),
    "ix_effective_tags_landmark_reason": (["reason", "landmark_id", "content_id"], "reason IS NOT NULL"),
}
_PATH = "CASE WHEN r.location LIKE '%/' THEN r.location || p.path ELSE r.location || '/' || p.path END"
_PRESENT = "p.gone_since IS NULL AND p.primary_id IS NULL"
_PHOTO_TAGS = f"""\
SELECT p.id AS photo_id, {_PATH} AS path, r.name AS root, l.slug AS landmark, l.name AS name,
       l.country AS country, l.city AS city, e.score AS score, e.accepted AS accepted,
       e.verdict AS verdict, e.source AS source, p.taken_at AS taken_at, o.latitude AS latitude,
       o.longitude AS longitude, o.source AS position_source, o.error_m AS error_m, m.name AS model,
       CASE WHEN p.taken_at IS NOT NULL THEN p.taken_source END AS taken_source
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
       o.latitude AS latitude, o.longitude AS longitude, o.source AS position_source, o.error_m AS error_m,
       o.country AS country, o.city AS city, c.width AS width, c.height AS height, c.digest AS digest,
       p.failure_kind AS failure_kind, p.failure_text AS failure_text,
       CASE WHEN p.taken_at IS NOT NULL THEN p.taken_source END AS taken_source
FROM photos AS p
JOIN roots AS r ON r.id = p.root_id
LEFT JOIN contents AS c ON c.id = p.content_id
LEFT JOIN cameras AS k ON k.id = p.camera_id
LEFT JOIN positions AS o ON o.photo_id = p.id
WHERE {_PRESENT}"""  # noqa: S608 - no values


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    true = "1" if is_sqlite else "true"
    for view in ("photo_tags", "photos_view", "effective_tags"):
        op.execute(f"DROP VIEW {view}")
    _create_effective_tags()
    for name, (columns, where) in _TAG_INDEXES.items():
        condition = sa.text(where.format(true=true))
        op.create_index(name, "effective_tags", columns, sqlite_where=condition, postgresql_where=condition)
    op.add_column("ledgers", sa.Column("settled_to", _ID))
    op.execute("UPDATE ledgers SET settled_to = 0")
    _add_note_messages()
    _add_fact_sources()
    _allow_sources(is_sqlite=is_sqlite)
    _add_models(is_sqlite=is_sqlite)
    _create_trip_edits()
    op.execute(f"CREATE VIEW photo_tags AS {_PHOTO_TAGS.format(true=true)}")
    op.execute(f"CREATE VIEW photos_view AS {_PHOTOS_VIEW}")


def _create_effective_tags() -> None:
    state = sa.CheckConstraint(_one_of("state", _STATES), name="state")
    reason = sa.CheckConstraint(_one_of("reason", _REASONS), name="reason")
    computed = {
        "accepted": "state IN ('accepted', 'confirmed')",
        "verdict": "CASE WHEN state IN ('confirmed', 'rejected') THEN state END",
        "doubtful": "CASE WHEN state = 'doubtful' THEN reason END",
    }
    op.create_table(
        "effective_tags",
        sa.Column("content_id", _ID, sa.ForeignKey("contents.id", ondelete="CASCADE"), nullable=False),
        sa.Column("landmark_id", _ID, sa.ForeignKey("landmarks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("state", sa.Text, state, nullable=False),
        sa.Column("reason", sa.Text, reason),
        sa.Column("score", sa.Float),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("rank", sa.Integer),
        sa.Column("model_id", _ID, sa.ForeignKey("models.id")),
        sa.Column("pack", sa.Text),
        sa.Column("position_odds", sa.Float),
        sa.Column("distance_m", sa.Float),
        *(
            sa.Column(
                name,
                sa.Boolean if name == "accepted" else sa.Text,
                sa.Computed(sql, persisted=True),
                nullable=name != "accepted",
            )
            for name, sql in computed.items()
        ),
        sa.PrimaryKeyConstraint("content_id", "landmark_id"),
        sqlite_with_rowid=False,
    )


def _one_of(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


_PAUSED = re.compile(
    r"paused at (?P<end>\S+) \((?P<zone>\S+)\); the next run of the schedule (?P<name>.*) continues it"
)
_JOBS = sa.table(
    "jobs", sa.column("id"), sa.column("state"), sa.column("note"), sa.column("note_message", sa.JSON)
)


def _add_note_messages() -> None:
    """The notes of paused jobs get messages, by which the end of the pause knows them; others stay texts."""
    for table, column in (("jobs", "note"), ("schedule_runs", "note"), ("workers", "waits_for")):
        op.add_column(table, sa.Column(f"{column}_message", sa.JSON()))
    connection = op.get_bind()
    paused = sa.select(_JOBS.c.id, _JOBS.c.note).where(_JOBS.c.state == "paused")
    for job in connection.execute(paused).all():
        if found := _PAUSED.fullmatch(job.note or ""):
            message = {"code": "paused-until-next-run", "values": found.groupdict()}
            connection.execute(_JOBS.update().where(_JOBS.c.id == job.id).values(note_message=message))


def _add_fact_sources() -> None:
    """What was read so far is what the photos' own files state, as the defaults say."""
    sources = ("camera", "sidecar", "takeout", "name")
    # Alembic cannot add a column with a check on SQLite.
    for column, kind, values in (
        ("taken_source", "TEXT NOT NULL DEFAULT 'camera'", sources),
        ("gps_source", "TEXT NOT NULL DEFAULT 'camera'", sources),
        ("side_files", "TEXT", ()),
        ("unread_facts", "TEXT", ("date", "side-file")),
    ):
        check = f"CONSTRAINT ck_photos_{column} CHECK ({_one_of(column, values)})" if values else ""
        op.execute(f"ALTER TABLE photos ADD COLUMN {column} {kind} {check}")
    where = sa.text("unread_facts IS NOT NULL")
    op.create_index("ix_photos_unread_facts", "photos", ["id"], sqlite_where=where, postgresql_where=where)


def _allow_sources(*, is_sqlite: bool) -> None:
    """Let positions come from files beside photos."""
    check = _one_of("source", ("camera", "sidecar", "takeout", "landmark", "track", "neighbour"))
    if not is_sqlite:
        op.drop_constraint("ck_positions_source", "positions")
        op.execute(f"ALTER TABLE positions ADD CONSTRAINT ck_positions_source CHECK ({check})")
        return
    photo = sa.ForeignKey("photos.id", ondelete="CASCADE", name=op.f("fk_positions_photo_id"))
    source = sa.CheckConstraint(check, name=op.f("ck_positions_source"))
    _replace(
        "positions",
        ["photo_id"],
        sa.Column("photo_id", _ID, photo, autoincrement=False),
        sa.Column("latitude", sa.Float, nullable=False),
        sa.Column("longitude", sa.Float, nullable=False),
        sa.Column("error_m", sa.Float, nullable=False),
        sa.Column("source", sa.Text, source, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("country", sa.Text),
        sa.Column("region", sa.Text),
        sa.Column("city", sa.Text),
        with_rowid=True,
    )
    op.create_index(
        "ix_positions_latitude_longitude_photo_id", "positions", ["latitude", "longitude", "photo_id"]
    )
    op.create_index("ix_positions_source_photo_id", "positions", ["source", "photo_id"])
    by_country = ["country", "latitude", "longitude", "photo_id"]
    op.create_index("ix_positions_country_latitude_longitude_photo_id", "positions", by_country)


def _replace(table: str, key: Sequence[str], *columns: sa.Column[Any], with_rowid: bool = False) -> None:
    """SQLite cannot change a constraint: a copy replaces the table. Columns with a default are new."""
    names = ", ".join(column.name for column in columns if column.server_default is None)
    key_constraint = sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{table}"))
    op.create_table(f"new_{table}", *columns, key_constraint, sqlite_with_rowid=with_rowid)
    op.execute(f"INSERT INTO new_{table} ({names}) SELECT {names} FROM {table}")  # noqa: S608 - no values
    op.drop_table(table)
    op.rename_table(f"new_{table}", table)


_KEYS = {
    "tags": ["content_id", "model_id", "rank"],
    "embeddings": ["content_id", "model_id"],
    "taught_tags": ["content_id", "landmark_id", "model_id"],
}
"""The primary keys of what an image has of each model."""
_INDEXES = {
    "ix_tags_landmark_id_content_id_accepted": ("tags", ["landmark_id", "content_id", "accepted"], None),
    "ix_tags_accepted_score_landmark": ("tags", ["score", "content_id", "landmark_id"], "accepted = 1"),
    "ix_tags_candidate_score": ("tags", ["score", "content_id"], "rank = 1 AND accepted = 0"),
    "ix_tags_position_odds": ("tags", ["content_id"], "position_odds IS NOT NULL"),
    "ix_embeddings_model_id_taught_version": ("embeddings", ["model_id", "taught_version"], None),
    "ix_taught_tags_landmark_id_content_id_accepted": (
        "taught_tags",
        ["landmark_id", "content_id", "accepted"],
        None,
    ),
    "ix_taught_tags_position_odds": ("taught_tags", ["content_id"], "position_odds IS NOT NULL"),
}
"""Those of these tables, which SQLite has to create again."""


def _add_models(*, is_sqlite: bool) -> None:
    """Change the keys, and add what says which models classify: the one in use so far is the first."""
    if is_sqlite:
        _replace_tables()
    else:
        for table, key in _KEYS.items():
            new = f"ADD CONSTRAINT pk_{table} PRIMARY KEY ({', '.join(key)})"
            op.execute(f"ALTER TABLE {table} DROP CONSTRAINT pk_{table}, {new}")
        op.add_column("tags", sa.Column("counts", sa.Boolean, nullable=False, server_default="1"))
    op.add_column("models", sa.Column("use_order", sa.Integer))
    op.execute("UPDATE models SET use_order = 1 WHERE in_use")
    op.add_column("ledgers", sa.Column("models_settled_to", _ID))
    op.create_table(
        "classifications",
        sa.Column("content_id", _ID, sa.ForeignKey("contents.id", ondelete="CASCADE"), nullable=False),
        sa.Column("model_id", _ID, sa.ForeignKey("models.id"), nullable=False),
        sa.Column("top_k", sa.Integer, nullable=False),
        sa.Column("threshold", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("content_id", "model_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_classifications_model_id", "classifications", ["model_id"])
    op.create_table(
        "job_models",
        sa.Column("job_id", _ID, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("model_id", _ID, sa.ForeignKey("models.id"), nullable=False),
        sa.Column("threshold", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "position"),
    )


def _replace_tables() -> None:
    counts = sa.Column("counts", sa.Boolean, nullable=False, server_default="1")
    of_tags = ["content_id", "rank", "landmark_id", "score", "accepted", "model_id", *_ODDS]
    _replace("tags", _KEYS["tags"], *_columns("tags", of_tags), counts)
    of_embeddings = _columns("embeddings", ["content_id", "model_id", "taught_version", "data"])
    _replace("embeddings", _KEYS["embeddings"], *of_embeddings, with_rowid=True)
    of_taught = ["content_id", "landmark_id", "score", "accepted", "model_id", "pack", *_ODDS]
    _replace("taught_tags", _KEYS["taught_tags"], *_columns("taught_tags", of_taught))
    for name, (table, columns, where) in _INDEXES.items():
        op.create_index(name, table, columns, sqlite_where=None if where is None else sa.text(where))


_ODDS = ("doubtful", "position_odds", "distance_m")


def _columns(table: str, names: Sequence[str]) -> list[sa.Column[Any]]:
    content = sa.ForeignKey("contents.id", ondelete="CASCADE", name=op.f(f"fk_{table}_content_id"))
    landmark_ends = "CASCADE" if table == "taught_tags" else None
    landmark = sa.ForeignKey("landmarks.id", ondelete=landmark_ends, name=op.f(f"fk_{table}_landmark_id"))
    model = sa.ForeignKey("models.id", name=op.f(f"fk_{table}_model_id"))
    doubtful = _one_of("doubtful", ("position", "speed", "damaged"))
    columns: list[sa.Column[Any]] = [
        sa.Column("content_id", _ID, content, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("landmark_id", _ID, landmark, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("accepted", sa.Boolean, nullable=False),
        sa.Column("model_id", _ID, model, nullable=False),
        sa.Column("pack", sa.Text, nullable=False),
        sa.Column("doubtful", sa.Text, sa.CheckConstraint(doubtful, name=op.f(f"ck_{table}_doubtful"))),
        sa.Column("position_odds", sa.Float),
        sa.Column("distance_m", sa.Float),
        sa.Column("taught_version", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    ]
    by_name = {column.name: column for column in columns}
    return [by_name[name] for name in names]


def _create_trip_edits() -> None:
    kind = sa.CheckConstraint(_one_of("kind", ("rename", "split", "merge")), name="kind")
    op.create_table(
        "trip_edits",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("kind", sa.Text, kind, nullable=False),
        sa.Column("camera_id", _ID, sa.ForeignKey("cameras.id"), nullable=False),
        sa.Column("taken_at", sa.DateTime, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("split_at", sa.DateTime),
        sa.Column("other_camera_id", _ID, sa.ForeignKey("cameras.id")),
        sa.Column("other_taken_at", sa.DateTime),
    )
