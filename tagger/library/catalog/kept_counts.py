"""The kept numbers of photos of each landmark and month: exact at each moment, without counting the library.

Images are counted in blocks of successive ids. Triggers insert a mark into `changed_blocks`, in the transaction of each
change of tags, verdicts, dismissals, images or photos. Readers count marked blocks themselves, and sum the kept
numbers of the rest. By month, exact copies are one photo, the first of them, as on the timeline.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Exists,
    Row,
    Table,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    union,
)

from tagger.database.connection import Database
from tagger.database.statements import month_of
from tagger.database.tables import (
    changed_blocks,
    contents,
    landmark_block_counts,
    month_block_counts,
    photos,
)
from tagger.library.catalog.landmarks import Images, all_images, photos_by_landmark, shown_landmark_rows

NO_MONTH = "none"
"""The month of photos without a date, in tables and addresses."""

ASPECT_UNIT = 1_000_000
USUAL_ASPECT = 4 * ASPECT_UNIT // 3
"""The width of a photo whose size is unknown, divided by its height, in millionths."""
ASPECT = case(
    (contents.c.height > 0, cast(contents.c.width, BigInteger) * ASPECT_UNIT // contents.c.height),
    else_=USUAL_ASPECT,
)
"""The width of an image divided by its height, in millionths: sums of whole numbers are exact."""


@dataclass(frozen=True)
class MonthPhotos:
    """How many photos a month has, and the sum of their `ASPECT`. `month` is like `2024-06`, or None for photos without a date."""

    month: str | None
    photos: int
    aspects: int


def photos_by_month(connection: Connection, images: Images = all_images) -> list[Row[Any]]:
    """The month, which may be null, with the numbers of `month_block_counts`, of the photos of these images that exist."""
    image = _classified_and_tagged(images)
    month = month_of(photos.c.taken_at)
    query = (
        select(
            month.label("month"),
            func.sum(case((image.c.is_classified, 1), else_=0)).label("classified"),
            func.sum(case((image.c.is_classified, image.c.aspect), else_=0)).label("classified_aspects"),
            func.sum(case((image.c.is_tagged, 1), else_=0)).label("tagged"),
            func.sum(case((image.c.is_tagged, image.c.aspect), else_=0)).label("tagged_aspects"),
        )
        .select_from(photos.join(image, image.c.id == photos.c.content_id))
        .where(photos.c.gone_since.is_(None), images(photos.c.content_id), ~_has_earlier_copy(images))
        .group_by(month)
    )
    return list(connection.execute(query))


def _classified_and_tagged(images: Images) -> CTE:
    """Images that a model has classified, and those that show a landmark.

    Materialized: joined with photos first, PostgreSQL would expect too few of them, and compare each with all tagged ones.
    """
    rows = (
        select(table.c.content_id).where(*conditions, images(table.c.content_id))
        for table, conditions in shown_landmark_rows()
    )
    tagged = union(*rows).subquery("tagged")
    is_classified, is_tagged = contents.c.outcome.is_not(None), tagged.c.content_id.is_not(None)
    return (
        select(
            contents.c.id,
            is_classified.label("is_classified"),
            is_tagged.label("is_tagged"),
            ASPECT.label("aspect"),
        )
        .select_from(contents.outerjoin(tagged, tagged.c.content_id == contents.c.id))
        .where(images(contents.c.id), or_(is_classified, is_tagged))
        .cte("images")
        .prefix_with("MATERIALIZED")
    )


def _has_earlier_copy(images: Images) -> Exists:
    other = photos.alias("copies")
    is_copy: tuple[ColumnElement[bool], ...] = (
        other.c.content_id == photos.c.content_id,
        other.c.gone_since.is_(None),
        other.c.id < photos.c.id,
    )
    return exists().where(*is_copy, images(other.c.content_id))


Numbers = Counter[tuple[Any, str]]
"""Numbers by key, such as a month, and column."""


@dataclass(frozen=True)
class KeptNumbers:
    """The table with the numbers of each block by key, and how the photos of images are counted."""

    table: Table
    count: Callable[[Connection, Images], Numbers]

    def sums(self, connection: Connection, *blocks: ColumnElement[bool]) -> Numbers:
        """The kept numbers of the blocks with these conditions, summed."""
        key, *columns = (column for column in self.table.c if column.name != "block")
        sums = (func.sum(column) for column in columns)
        rows = connection.execute(select(key, *sums).where(*blocks).group_by(key))
        names = [column.name for column in columns]
        return Counter(
            {(row[0], name): int(row[place]) for row in rows for place, name in enumerate(names, 1)}
        )

    def store_block(self, connection: Connection, block: int, numbers: Numbers) -> None:
        """Keep the numbers of a block."""
        connection.execute(delete(self.table).where(self.table.c.block == block))
        key, *columns = (column.name for column in self.table.c if column.name != "block")
        keys = {key for (key, _), number in numbers.items() if number}
        rows = [
            {"block": block, key: each, **{name: numbers[each, name] for name in columns}} for each in keys
        ]
        if rows:
            connection.execute(insert(self.table), rows)


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


LANDMARKS = KeptNumbers(landmark_block_counts, _count_landmarks)
MONTHS = KeptNumbers(month_block_counts, _count_months)
KEPT = (LANDMARKS, MONTHS)


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
    numbers = kept.sums(connection, kept.table.c.block.not_in(select(changed_blocks.c.block)))
    marked = connection.scalars(select(changed_blocks.c.block).distinct().order_by(changed_blocks.c.block))
    for ranges in _ranges(marked.all()):
        numbers.update(_count(connection, kept, ranges))
    return numbers


def count_changed_blocks(database: Database, within_s: float) -> None:
    """Count marked blocks again for this time, in short transactions; while a job runs, leave what it may change again.

    While another process does so on PostgreSQL, it has to do that.
    """
    from tagger.ledger.progress import is_any_claimable

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
    # Blocks without images any more are not counted again.
    for kept in KEPT:
        connection.execute(delete(kept.table))
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
        for block in blocks:
            kept.store_block(connection, block, count_block(connection, kept, block))


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
