"""The kept numbers of photos of each landmark and month: exact at each moment, without counting the library.

Images are counted in blocks of successive ids. Triggers insert a mark into `changed_blocks`, in the transaction of each
change of tags, verdicts, dismissals, images or photos. Readers count marked blocks themselves, and take the sums for the rest.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, text

from tagger.database.connection import Database
from tagger.database.tables import changed_blocks
from tagger.ledger.job_facts import is_any_claimable
from tagger.library.catalog.kept_numbers import KEPT, LANDMARKS, MONTHS, KeptNumbers, Numbers
from tagger.library.catalog.month_photos import NO_MONTH, MonthPhotos

BLOCK = 4096
"""Images of a block. The triggers divide by this number, too."""
COUNTED_AT_ONCE = 8
"""Blocks that one transaction counts: SQLite has one writer."""
COUNT_S = 2.0
"""How long a process that has other work counts. Readers count what is left."""
BLOCKS_OF_JOBS = 32
"""Blocks that changed last and are not counted while a job runs: it may change them again."""
RANGES = 50
"""Ranges of successive blocks in one condition: SQLite limits its depth."""

_LOCK = 7_309_454
"""Key of PostgreSQL's advisory lock: one process at a time counts. On SQLite, there is one writer anyway."""
_IMAGE_BLOCKS = text(f"""
    WITH RECURSIVE blocks(block) AS (
        SELECT min(id) / {BLOCK} FROM contents
        UNION ALL
        SELECT (SELECT min(id) / {BLOCK} FROM contents WHERE id >= (block + 1) * {BLOCK})
        FROM blocks WHERE block IS NOT NULL)
    SELECT block FROM blocks WHERE block IS NOT NULL""")  # noqa: S608 - a number
"""From block to block along the primary key: ids may have gaps."""


def kept_photos_by_landmark(connection: Connection) -> Counter[int]:
    """Numbers of photos whose files exist, by landmark id, as `connection` sees them: it has to see one state (`Database.snapshot`)."""
    numbers = _exact_numbers(connection, LANDMARKS)
    return Counter({landmark_id: number for (landmark_id, _), number in numbers.items()})


def kept_photos_by_month(connection: Connection, kind: Literal["classified", "tagged"]) -> list[MonthPhotos]:
    """The months that have photos of this kind, as `connection` sees them: it has to see one state."""
    numbers = _exact_numbers(connection, MONTHS)
    return [
        MonthPhotos(None if month == NO_MONTH else month, number, numbers[month, f"{kind}_aspects"])
        for (month, column), number in numbers.items()
        if column == kind and number
    ]


def _exact_numbers(connection: Connection, kept: KeptNumbers) -> Numbers:
    numbers = kept.in_all(connection)
    marked = connection.scalars(select(changed_blocks.c.block).distinct().order_by(changed_blocks.c.block))
    for ranges in _ranges(marked.all()):
        in_ranges = or_(*(kept.of_blocks.c.block.between(first, last) for first, last in ranges))
        numbers.subtract(kept.in_blocks(connection, in_ranges))
        numbers.update(_count(connection, kept, ranges))
    return numbers


def count_changed_blocks(database: Database, within_s: float) -> None:
    """Count marked blocks again for this time, in short transactions; while a job runs, leave what it may change again.

    While another process does so on PostgreSQL, it has to do that.
    """
    until_s = time.monotonic() + within_s
    leave = BLOCKS_OF_JOBS if is_any_claimable(database) else 0
    while time.monotonic() < until_s and count_some_blocks(database, leave):
        pass


def recount_all(
    database: Database, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> int:
    """Count all blocks again, whatever is kept; returns the number of blocks. Readers see exact numbers meanwhile.

    Waits for other processes that count. Counts each block once: what changes meanwhile is marked.
    """
    with database.write() as connection:
        blocks = mark_all_blocks(connection)
    for start in range(0, len(blocks), COUNTED_AT_ONCE):
        with database.write() as connection:
            _wait_for_others(connection)
            _count_again(connection, blocks[start : start + COUNTED_AT_ONCE])
        on_progress(min(start + COUNTED_AT_ONCE, len(blocks)), len(blocks))
    return len(blocks)


def count_some_blocks(database: Database, leave: int = 0) -> int:
    """Count up to COUNTED_AT_ONCE marked blocks again. Returns how many; 0: there are none, or another process counts."""
    with database.read() as connection:  # most often there are none, and SQLite has one writer
        if not _blocks_to_count(connection, leave):
            return 0
    with database.write() as connection:
        if not database.is_sqlite and not connection.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))):
            return 0
        blocks = _blocks_to_count(connection, leave)
        _count_again(connection, blocks)
    return len(blocks)


def mark_all_blocks(connection: Connection) -> Sequence[int]:
    """Let every block be counted again; returns the blocks. Waits for a process that counts."""
    _wait_for_others(connection)
    # Wrong totals would stay: counting adds differences.
    for kept in KEPT:
        kept.clear(connection)
    blocks = image_blocks(connection)
    if blocks:
        connection.execute(insert(changed_blocks), [{"block": block} for block in blocks])
    return blocks


def image_blocks(connection: Connection) -> Sequence[int]:
    """The blocks that have images, in order."""
    return connection.scalars(_IMAGE_BLOCKS).all()


def count_block(connection: Connection, kept: KeptNumbers, block: int) -> Numbers:
    """These numbers of a block, counted now."""
    return _count(connection, kept, [(block, block)])


def _wait_for_others(connection: Connection) -> None:
    """Be the one process that counts, until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def _count_again(connection: Connection, blocks: Sequence[int]) -> None:
    # Marks first: what is counted afterwards includes their changes, and later changes have marks of their own.
    connection.execute(delete(changed_blocks).where(changed_blocks.c.block.in_(blocks)))
    for kept in KEPT:
        differences: Numbers = Counter()
        for block in blocks:
            differences.update(kept.store_block(connection, block, count_block(connection, kept, block)))
        kept.add_to_totals(connection, differences)


def _blocks_to_count(connection: Connection, leave: int) -> Sequence[int]:
    """The marked blocks whose last change is the oldest: a job may be through with them."""
    by_age = func.max(changed_blocks.c.id)
    query = select(changed_blocks.c.block).group_by(changed_blocks.c.block).order_by(by_age)
    blocks = connection.scalars(query).all()
    return blocks[: max(len(blocks) - leave, 0)][:COUNTED_AT_ONCE]


def _count(connection: Connection, kept: KeptNumbers, ranges: Sequence[tuple[int, int]]) -> Numbers:
    def in_blocks(content_id: ColumnElement[int]) -> ColumnElement[bool]:
        return or_(*(content_id.between(first * BLOCK, (last + 1) * BLOCK - 1) for first, last in ranges))

    return kept.count(connection, in_blocks)


def _ranges(blocks: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """The ranges of successive blocks, the first and last of each, in parts of RANGES. `blocks` are in order."""
    ranges: list[tuple[int, int]] = []
    for block in blocks:
        if ranges and ranges[-1][1] == block - 1:
            ranges[-1] = ranges[-1][0], block
        else:
            ranges.append((block, block))
    for start in range(0, len(ranges), RANGES):
        yield ranges[start : start + RANGES]
