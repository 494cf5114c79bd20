"""The kept numbers of photos of each landmark and month, compared with a count of all photos."""

from collections.abc import Iterator

from sqlalchemy import Connection, select, true

from tagger.database.connection import Database
from tagger.database.tables import changed_blocks
from tagger.library.catalog.kept_counts import count_block, image_blocks
from tagger.library.catalog.kept_numbers import KEPT, KeptNumbers

WRONG_COUNTS = "the kept numbers of photos are wrong; correct them with: tagger db recount"


def count_problems(database: Database) -> Iterator[str]:
    """Yield a line if kept numbers are wrong. Blocks that wait to be counted again are not compared."""
    with database.snapshot() as connection:
        if not all(
            _blocks_are_right(connection, kept) and _totals_are_sums(connection, kept) for kept in KEPT
        ):
            yield WRONG_COUNTS


def _blocks_are_right(connection: Connection, kept: KeptNumbers) -> bool:
    marked = set(connection.scalars(select(changed_blocks.c.block).distinct()))
    in_table = connection.scalars(select(kept.of_blocks.c.block).distinct())
    return all(
        count_block(connection, kept, block) == kept.in_blocks(connection, kept.of_blocks.c.block == block)
        for block in sorted({*image_blocks(connection), *in_table} - marked)
    )


def _totals_are_sums(connection: Connection, kept: KeptNumbers) -> bool:
    return kept.in_blocks(connection, true()) == kept.in_all(connection)
