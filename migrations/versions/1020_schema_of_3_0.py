"""The schema of 3.0: without people, their sessions and tokens, and links for visitors.

It says what ends. The log of changes stays.
"""

import logging

import sqlalchemy as sa
from alembic import op

from tagger.database.changed_days import trigger_statements
from tagger.database.schema import view_statements
from tagger.database.statements import part_of

revision = "1020"
down_revision = "1017"

_IS_VALID = "(expires_at IS NULL OR expires_at > CURRENT_TIMESTAMP)"
_USERS = "SELECT name FROM users ORDER BY name"
_TOKENS = f"SELECT name FROM access_tokens WHERE name <> 'TAGGER_WEB_TOKEN' AND {_IS_VALID} ORDER BY name"  # noqa: S608
_SHARES = f"SELECT count(*) FROM shares WHERE revoked_at IS NULL AND {_IS_VALID}"  # noqa: S608

_IDENTIFIER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_STEPS = "'positions', 'days', 'numbers', 'trips'"
_OUTCOMES = "'tagged', 'unknown', 'written', 'unchanged', 'refused', 'skipped', 'gone', 'failed', 'cancelled'"
_OLD_TRIGGERS = [
    f"{name}_{event}_{table}"
    for name, tables in (
        ("visits", ("photos", "positions")),
        ("counts", ("photos", "positions", "contents")),
        ("tags", ("effective_tags",)),
    )
    for table in tables
    for event in ("insert", "delete", "update")
]

log = logging.getLogger(__name__)


def upgrade() -> None:
    _add_sights()
    _add_own_facts()
    _say_what_ends()
    for table in (
        "share_photos",
        "shares",
        "page_sessions",
        "sign_in_attempts",
        "access_tokens",
        "users",
    ):
        op.drop_table(table)
    _join_changes()
    _add_looks()
    _add_outcome_of_gone_photos()


def _add_outcome_of_gone_photos() -> None:
    op.add_column("ledgers", sa.Column("last_removed_job", _IDENTIFIER))
    op.add_column("jobs", sa.Column("tagged_at_end", sa.Integer))
    op.add_column(
        "chunks", sa.Column("gone", sa.Integer, nullable=False, server_default="0")
    )
    # Without the tables to which it refers: SQLAlchemy warns of an index of `photos`.
    alone = {"resolve_fks": False}
    with op.batch_alter_table(
        "job_items", table_kwargs={"sqlite_with_rowid": False}, reflect_kwargs=alone
    ) as items:
        items.drop_constraint(op.f("ck_job_items_outcome"), type_="check")
        items.create_check_constraint(
            op.f("ck_job_items_outcome"), f"outcome IN ({_OUTCOMES})"
        )


def _add_looks() -> None:
    op.add_column("classifiers", sa.Column("share", sa.Float))
    op.create_table(
        "looks",
        sa.Column("id", _IDENTIFIER, primary_key=True),
        sa.Column("sight", sa.Text),
        *(
            sa.Column(name, sa.Float, nullable=False)
            for name in ("latitude", "longitude")
        ),
        sa.Column(
            "landmark_id",
            _IDENTIFIER,
            sa.ForeignKey("landmarks.id", ondelete="SET NULL"),
        ),
        sa.Column(
            "model_id", _IDENTIFIER, sa.ForeignKey("models.id", ondelete="SET NULL")
        ),
        sa.Column("evidence", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.Integer, nullable=False)
            for name in ("scenes", "photos", "days", "likely")
        ),
        sa.Column("data", sa.LargeBinary),
        sa.Column("compared_to", _IDENTIFIER, nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("answered_scenes", sa.Integer),
        sa.Column("answered_by", sa.Text),
        sa.Column("answered_at", sa.DateTime(timezone=True)),
        sa.Column("added_landmark", sa.Boolean, nullable=False, server_default="0"),
        sa.CheckConstraint("answer IN ('yes', 'none')", name="answer"),
    )
    op.create_index("ix_looks_sight", "looks", ["sight"])
    op.create_index("ix_looks_landmark_id", "looks", ["landmark_id"])
    op.create_table(
        "look_photos",
        sa.Column("look_id", _IDENTIFIER, nullable=False),
        sa.Column("content_id", _IDENTIFIER, nullable=False),
        sa.Column("score", sa.Float),
        sa.ForeignKeyConstraint(["look_id"], ["looks.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["content_id"], ["contents.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("look_id", "content_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_look_photos_content_id", "look_photos", ["content_id"])


def _add_sights() -> None:
    op.add_column("positions", sa.Column("sight", sa.Text))
    op.create_index("ix_positions_sight_photo_id", "positions", ["sight", "photo_id"])
    op.add_column("day_places", sa.Column("sight", sa.Text))
    op.create_table(
        "sight_verdicts",
        sa.Column(
            "content_id", _IDENTIFIER, sa.ForeignKey("contents.id"), nullable=False
        ),
        sa.Column("sight", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("given_by", sa.Text),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("content_id", "sight"),
        sa.CheckConstraint("verdict IN ('confirmed', 'rejected')", name="verdict"),
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for name, query in view_statements(is_sqlite=is_sqlite).items():
        op.execute(f"DROP VIEW IF EXISTS {name}")
        op.execute(f"CREATE VIEW {name} AS {query}")


def _add_own_facts() -> None:
    op.add_column("photos", sa.Column("own_facts", sa.JSON))
    # The text differs and means the same: the next scan reads the files beside photos again, which may
    # correct what the photos state.
    op.execute(
        "UPDATE photos SET side_files = side_files || ' ' WHERE side_files IS NOT NULL"
    )


def _say_what_ends() -> None:
    connection = op.get_bind()
    names = dict.fromkeys(
        (*connection.scalars(sa.text(_USERS)), *connection.scalars(sa.text(_TOKENS)))
    )
    shares = connection.scalar(sa.text(_SHARES))
    if names:
        log.warning(
            "removed: the access of %s to the page. Without TAGGER_WEB_TOKEN, every user of this machine may "
            "do everything there. TAGGER_WEB_VIEW_TOKEN may look, and a proxy can name people",
            ", ".join(names),
        )
    if shares:
        log.warning("removed: links for visitors (%d). The photos stay", shares)


def _join_changes() -> None:
    # Make one table of changed days of four tables of changes.
    # Visits, numbers and trips are computed again, and positions, for the sights.
    connection = op.get_bind()
    is_sqlite = connection.dialect.name == "sqlite"
    for name in _OLD_TRIGGERS:
        op.execute(
            f"DROP TRIGGER IF EXISTS {name}"
            if is_sqlite
            else f"DROP FUNCTION IF EXISTS {name} CASCADE"
        )
    op.create_table(
        "changed_days",
        sa.Column("id", _IDENTIFIER, primary_key=True),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("part", sa.Integer),
        *(
            sa.Column(name, _IDENTIFIER)
            for name in ("photo_id", "content_id", "camera_id")
        ),
        sa.Column("taken_at", sa.DateTime),
        sa.CheckConstraint(f"step IN ({_STEPS})", name="step"),
    )
    op.create_index(
        "ix_changed_days_step_part_id", "changed_days", ["step", "part", "id"]
    )
    part, part_of_change = (
        part_of.sql("taken_at", name, is_sqlite=is_sqlite)
        for name in ("id", "photo_id")
    )
    part_of_day = part_of.sql("day", "0", is_sqlite=is_sqlite)
    of_photos = (
        f"SELECT 'positions', {part_of_change}, photo_id, camera_id, taken_at FROM position_changes"  # noqa: S608
        " WHERE photo_id IS NOT NULL"
    )
    located = (
        f"SELECT 'positions', {part}, id, camera_id, taken_at FROM photos"  # noqa: S608
        " WHERE EXISTS (SELECT 1 FROM positions WHERE photo_id = photos.id)"
    )
    for columns, query in (
        ("part", f"SELECT DISTINCT 'days', {part} FROM photos"),  # noqa: S608
        ("part, photo_id, camera_id, taken_at", located),
        (
            "part",
            f"SELECT 'days', {part_of_day} FROM visit_changes WHERE day IS NOT NULL",  # noqa: S608
        ),
        ("photo_id", "SELECT 'days', photo_id FROM visit_changes WHERE day IS NULL"),
        (
            "part",
            f"SELECT 'trips', {part_of_day} FROM trip_changes WHERE day IS NOT NULL",  # noqa: S608
        ),
        ("content_id", "SELECT 'days', content_id FROM trip_changes WHERE day IS NULL"),
        (
            "content_id",
            "SELECT 'positions', content_id FROM position_changes WHERE photo_id IS NULL",
        ),
        ("part, photo_id, camera_id, taken_at", of_photos),
    ):
        op.execute(f"INSERT INTO changed_days (step, {columns}) {query}")
    for table in (
        "visit_changes",
        "trip_changes",
        "count_changes",
        "position_changes",
        "visits",
    ):
        op.drop_table(table)
    op.create_table(
        "visits",
        sa.Column("id", _IDENTIFIER, primary_key=True),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("camera_id", _IDENTIFIER, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("country", "region", "city")
        ),
        *(sa.Column(name, sa.Float) for name in ("latitude", "longitude")),
        sa.Column("photos", sa.Integer, nullable=False),
        *(
            sa.Column(name, sa.DateTime, nullable=False)
            for name in ("first_at", "last_at")
        ),
        *(
            sa.Column(name, sa.Boolean, nullable=False)
            for name in ("is_measured", "is_dated")
        ),
        sa.Column("folder", sa.Text, nullable=False),
    )
    op.create_index("ix_visits_part", "visits", ["part"])
    # Once 3.0 is released, this revision makes what it made: whoever adds a cause copies the
    # statements of 3.0 to here first.
    for statement in trigger_statements(is_sqlite=is_sqlite):
        connection.exec_driver_sql(statement)
