"""Tags, embeddings and taught tags of an image by model: several models can be in use."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import create_index_concurrently

revision = "1006"
down_revision = "1005"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_KEYS = {
    "tags": (["content_id", "rank"], ["content_id", "model_id", "rank"]),
    "embeddings": (["content_id"], ["content_id", "model_id"]),
    "taught_tags": (["content_id", "landmark_id"], ["content_id", "landmark_id", "model_id"]),
}
"""The primary keys before and after."""
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
_DOUBTFUL = "doubtful IN ('position', 'speed', 'damaged')"


def upgrade() -> None:
    """Change the keys, and add what says which models classify: the one in use so far is the first."""
    if op.get_bind().dialect.name == "sqlite":
        _create_tables(1)
    else:
        for table, (_, key) in _KEYS.items():
            create_index_concurrently(f"new_pk_{table}", table, key, unique=True)
        for table in _KEYS:
            _change_key(table, f"USING INDEX new_pk_{table}")
        op.add_column("tags", sa.Column("counts", sa.Boolean, nullable=False, server_default="1"))
    op.add_column("models", sa.Column("use_order", sa.Integer))
    op.execute(sa.text("UPDATE models SET use_order = 1 WHERE in_use"))
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


def downgrade() -> None:
    """Of each image, the results of the last model that classified it stay."""
    op.drop_table("job_models")
    op.drop_table("classifications")
    op.drop_column("models", "use_order")
    op.drop_column("ledgers", "models_settled_to")
    for table in _KEYS:
        op.execute(f"DELETE FROM {table} WHERE {_IS_OTHER.format(table=table)}")  # noqa: S608 - no values
    if op.get_bind().dialect.name == "sqlite":
        _create_tables(0)
        return
    for table, (key, _) in _KEYS.items():
        _change_key(table, f"({', '.join(key)})")
    op.drop_column("tags", "counts")


_IS_OTHER = "model_id <> (SELECT c.model_id FROM contents AS c WHERE c.id = {table}.content_id)"


def _change_key(table: str, key: str) -> None:
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT pk_{table}, ADD CONSTRAINT pk_{table} PRIMARY KEY {key}")


def _create_tables(version: int) -> None:
    """SQLite cannot change the key of a table: a copy takes its place."""
    counts = [sa.Column("counts", sa.Boolean, nullable=False, server_default="1")] * version
    _replace("tags", version, ["rank", "landmark_id", "score", "accepted", "model_id", *_ODDS], counts)
    _replace("embeddings", version, ["model_id", "taught_version", "data"])
    columns = ["landmark_id", "score", "accepted", "model_id", "pack", *_ODDS]
    _replace("taught_tags", version, columns)
    for name, (table, of_index, where) in _INDEXES.items():
        op.create_index(name, table, of_index, sqlite_where=None if where is None else sa.text(where))


_ODDS = ("doubtful", "position_odds", "distance_m")


def _replace(table: str, version: int, names: Sequence[str], added: Sequence[sa.Column[bool]] = ()) -> None:
    landmark_ends = "CASCADE" if table == "taught_tags" else None
    landmark = sa.ForeignKey("landmarks.id", ondelete=landmark_ends, name=op.f(f"fk_{table}_landmark_id"))
    model = sa.ForeignKey("models.id", name=op.f(f"fk_{table}_model_id"))
    content = sa.ForeignKey("contents.id", ondelete="CASCADE", name=op.f(f"fk_{table}_content_id"))
    columns = {
        "rank": sa.Column("rank", sa.Integer, nullable=False),
        "landmark_id": sa.Column("landmark_id", _ID, landmark, nullable=False),
        "score": sa.Column("score", sa.Float, nullable=False),
        "accepted": sa.Column("accepted", sa.Boolean, nullable=False),
        "model_id": sa.Column("model_id", _ID, model, nullable=False),
        "pack": sa.Column("pack", sa.Text, nullable=False, server_default=""),
        "doubtful": sa.Column(
            "doubtful", sa.Text, sa.CheckConstraint(_DOUBTFUL, name=op.f(f"ck_{table}_doubtful"))
        ),
        "position_odds": sa.Column("position_odds", sa.Float),
        "distance_m": sa.Column("distance_m", sa.Float),
        "taught_version": sa.Column("taught_version", sa.Integer, nullable=False),
        "data": sa.Column("data", sa.LargeBinary, nullable=False),
    }
    op.create_table(
        f"new_{table}",
        sa.Column("content_id", _ID, content, nullable=False),
        *(columns[name] for name in names),
        *added,
        sa.PrimaryKeyConstraint(*_KEYS[table][version], name=op.f(f"pk_{table}")),
        sqlite_with_rowid=table == "embeddings",
    )
    copied = ", ".join(("content_id", *names))
    op.execute(f"INSERT INTO new_{table} ({copied}) SELECT {copied} FROM {table}")  # noqa: S608 - no values
    op.drop_table(table)
    op.rename_table(f"new_{table}", table)
