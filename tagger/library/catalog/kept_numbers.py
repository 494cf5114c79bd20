"""Numbers of photos that are kept in two tables: for each block of images, and in all. Photos are counted by landmark, and by month.

Knows nothing of which blocks have changed (see kept_counts).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, delete, func, insert, select

from tagger.database.statements import among, upsert
from tagger.database.tables import (
    landmark_block_counts,
    landmark_totals,
    month_block_counts,
    month_totals,
    photos,
)
from tagger.library.catalog.landmark_photos import Images, photos_by_landmark
from tagger.library.catalog.month_photos import NO_MONTH, photos_by_month

Numbers = Counter[tuple[Any, str]]
"""Numbers by key, such as a month, and column."""


@dataclass(frozen=True)
class KeptNumbers:
    """The table with the numbers of each block by key, that of their sums, and how the photos of images are counted."""

    of_blocks: Table
    totals: Table
    count: Callable[[Connection, Images], Numbers]

    def in_all(self, connection: Connection) -> Numbers:
        """The kept sums of all blocks."""
        return self._numbers(connection.execute(select(self.totals)))

    def in_blocks(self, connection: Connection, blocks: ColumnElement[bool]) -> Numbers:
        """The kept numbers of the blocks with this condition, summed."""
        key = self.of_blocks.c[self._key]
        sums = (func.sum(self.of_blocks.c[name]).label(name) for name in self._columns)
        return self._numbers(connection.execute(select(key, *sums).where(blocks).group_by(key)))

    def store_block(self, connection: Connection, block: int, numbers: Numbers) -> Numbers:
        """Keep the numbers of a block; returns by how much they differ from those before."""
        in_block = self.of_blocks.c.block == block
        differences = numbers.copy()
        differences.subtract(self.in_blocks(connection, in_block))
        changed = _keys(differences)
        if changed:
            is_changed = among(self.of_blocks.c[self._key], changed)
            connection.execute(delete(self.of_blocks).where(in_block, is_changed))
        rows = [{"block": block, **row} for row in self._rows(numbers, _keys(numbers) & changed)]
        if rows:
            connection.execute(insert(self.of_blocks), rows)
        return differences

    def add_to_totals(self, connection: Connection, differences: Numbers) -> None:
        """Add what `store_block` returned for each of some blocks."""
        rows = self._rows(differences, _keys(differences))
        if not rows:
            return
        added = upsert(connection, self.totals)
        sums = {name: self.totals.c[name] + added.excluded[name] for name in self._columns}
        connection.execute(added.on_conflict_do_update(index_elements=[self._key], set_=sums), rows)
        is_zero = and_(*(self.totals.c[name] == 0 for name in self._columns))
        connection.execute(delete(self.totals).where(is_zero))

    def clear(self, connection: Connection) -> None:
        """Keep nothing."""
        connection.execute(delete(self.totals))
        connection.execute(delete(self.of_blocks))

    @property
    def _key(self) -> str:
        (column,) = self.totals.primary_key
        return column.name

    @property
    def _columns(self) -> list[str]:
        return [column.name for column in self.totals.c if not column.primary_key]

    def _numbers(self, rows: Iterable[Row[Any]]) -> Numbers:
        found = (row._asdict() for row in rows)
        return Counter({(row[self._key], name): int(row[name]) for row in found for name in self._columns})

    def _rows(self, numbers: Numbers, keys: Iterable[Any]) -> list[dict[str, Any]]:
        return [{self._key: key, **{name: numbers[key, name] for name in self._columns}} for key in keys]


def _keys(numbers: Numbers) -> set[Any]:
    """The keys with a number that is not zero."""
    return {key for (key, _), number in numbers.items() if number}


def _count_landmarks(connection: Connection, images: Images) -> Numbers:
    counted = photos_by_landmark(connection, photos.c.gone_since.is_(None), images)
    return Counter({(landmark_id, "photos"): number for landmark_id, number in counted.items()})


def _count_months(connection: Connection, images: Images) -> Numbers:
    numbers: Numbers = Counter()
    for row in photos_by_month(connection, images):
        counted = row._asdict()
        month = counted.pop("month") or NO_MONTH
        numbers.update({(month, name): int(number) for name, number in counted.items()})
    return numbers


LANDMARKS = KeptNumbers(landmark_block_counts, landmark_totals, _count_landmarks)
MONTHS = KeptNumbers(month_block_counts, month_totals, _count_months)
KEPT = (LANDMARKS, MONTHS)
