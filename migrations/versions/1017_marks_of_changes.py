"""Marks of changed photos and images, from which their days are found later; and a version of trips."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "1017"
down_revision = "1016"

_IDENTIFIER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# The columns of each table that name days, and those that are new.
_MARKS: dict[str, tuple[dict[str, sa.types.TypeEngine[Any]], list[str]]] = {
    "visit_changes": ({"camera_id": _IDENTIFIER, "day": sa.Date()}, ["photo_id"]),
    "trip_changes": ({"day": sa.Date()}, ["content_id"]),
    "count_changes": ({"part": sa.Integer()}, ["photo_id", "content_id"]),
}
_EVENTS = ("insert", "delete", "update")
_COUNTED = ("photos", "positions", "contents", "effective_tags")
_TRIGGERS = (
    *(
        (f"visits_{event}_{table}", table)
        for table in ("photos", "positions")
        for event in _EVENTS
    ),
    *((f"counts_{event}_{table}", table) for table in _COUNTED for event in _EVENTS),
    *((f"trips_{event}_tags", "effective_tags") for event in ("insert", "delete")),
)
_FUNCTIONS = (
    *("mark_visits_of_photo", "mark_visits_of_positions", "mark_trips_of_tags"),
    *(f"counts_{event}_{table}" for table in _COUNTED for event in _EVENTS),
)


def upgrade() -> None:
    connection = op.get_bind()
    is_sqlite = connection.dialect.name == "sqlite"
    for name, table in _TRIGGERS:
        op.execute(
            f"DROP TRIGGER IF EXISTS {name}{'' if is_sqlite else f' ON {table}'}"
        )
    if not is_sqlite:
        op.execute(f"DROP FUNCTION IF EXISTS {', '.join(_FUNCTIONS)}")
    for table, (days, added) in _MARKS.items():
        if is_sqlite:
            _make_again(table, days, added)
            continue
        for name in days:
            op.alter_column(table, name, nullable=True)
        for name in added:
            op.add_column(table, sa.Column(name, _IDENTIFIER))
    op.add_column(
        "ledgers",
        sa.Column("trips_version", sa.Integer, nullable=False, server_default="0"),
    )
    _forget_library_odds(connection)


def _forget_library_odds(connection: sa.Connection) -> None:
    # Of libraries of the unreleased 2.1, decide images again that had odds by the share of landmarks.
    if "library_odds" not in {
        column["name"] for column in sa.inspect(connection).get_columns("ledgers")
    }:
        return
    op.drop_column("ledgers", "library_odds")
    op.execute(
        "INSERT INTO position_changes (content_id)"
        " SELECT content_id FROM tags WHERE odds_reason = 'library'"
        " UNION SELECT content_id FROM taught_tags WHERE odds_reason = 'library'"
    )


def _make_again(
    table: str, days: dict[str, sa.types.TypeEngine[Any]], added: list[str]
) -> None:
    # SQLite lets no column become nullable: the table is made again, with its rows.
    index = f"ix_{table}_{'_'.join(days)}"
    op.drop_index(index, table)
    op.rename_table(table, f"old_{table}")
    op.create_table(
        table,
        sa.Column("id", _IDENTIFIER, primary_key=True),
        *(sa.Column(name, kind) for name, kind in days.items()),
        *(sa.Column(name, _IDENTIFIER) for name in added),
    )
    names = ", ".join(days)
    op.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM old_{table}")  # noqa: S608 - names of columns
    op.drop_table(f"old_{table}")
    op.create_index(index, table, list(days))
