"""Reading whole tables in pages, in the order of their keys and in constant memory."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, literal, tuple_

PAGE = 2000


def stored_rows(connection: Connection, table: Table, query: Select[Any]) -> Iterator[Row[Any]]:
    """Every row that `query` selects from `table`, with its key."""
    keys = list(table.primary_key.columns)
    page = query.order_by(*keys).limit(PAGE)
    rows = connection.execute(page).all()
    while rows:
        yield from rows
        if len(rows) < PAGE:
            return
        last = [literal(getattr(rows[-1], key.name), key.type) for key in keys]
        rows = connection.execute(page.where(tuple_(*keys) > tuple_(*last))).all()
