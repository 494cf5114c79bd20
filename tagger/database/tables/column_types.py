"""What the tables share: their metadata, and helpers for types, constraints and indexes."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    Text,
    TypeDecorator,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


# The views: a migration creates them, `metadata.create_all` does not.
views = MetaData()


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC. SQLite has no time zones and stores it as UTC text."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self, value: datetime | None, _dialect: Dialect
    ) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(
        self, value: datetime | None, _dialect: Dialect
    ) -> datetime | None:
        if value is None:
            return None
        return (
            value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        )


# Ids have 64 bits on PostgreSQL. SQLite generates ids only for the type INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")
# Paths compare by bytes on both databases: the scan merges them with a listing in that order.
PathText = Text().with_variant(Text(collation="C"), "postgresql")


def counter(name: str, doc: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0", doc=doc)


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    literals = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({literals})", name=column)


def add_partial_index(
    name: str, *columns: ColumnElement[Any], where: ColumnElement[bool]
) -> None:
    """Add an index of the rows that meet a condition, which is in its `info`; migrations repeat it.

    SQLAlchemy's own parameter would import the dialect of PostgreSQL: a tenth of `tagger query`.
    """
    Index(name, *columns, info={"where": where})


def listed(values: type[StrEnum]) -> str:
    """`tag`, `retry` or `undo`: the values of a column for its `doc`."""
    *others, last = (f"`{value}`" for value in values)
    return f"{', '.join(others)} or {last}"
