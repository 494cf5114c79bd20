"""The tables of counts that are kept: how many photos each landmark and each month has, in blocks of images.

Triggers of the database record which blocks change, so that no writer forgets to (see tagger.library.catalog.kept_counts).
"""

from collections.abc import Iterator

from sqlalchemy import BigInteger, Column, Index, Integer, PrimaryKeyConstraint, Table, Text

from tagger.database.tables.column_types import Id, metadata

# Without foreign keys: what refers to a removed landmark or image is counted again.
landmark_block_counts = Table(
    "landmark_block_counts",
    metadata,
    Column("block", Id, nullable=False, doc="`contents.id` / 4096, rounded down"),
    Column("landmark_id", Id, nullable=False, doc="the landmark"),
    Column("photos", Integer, nullable=False, doc="number of photos, as in `landmark_totals`"),
    PrimaryKeyConstraint("block", "landmark_id"),
    info={"doc": "Photos with a landmark among 4096 images with successive ids, when last counted."},
)

landmark_totals = Table(
    "landmark_totals",
    metadata,
    Column("landmark_id", Id, primary_key=True, autoincrement=False, doc="the landmark"),
    Column(
        "photos",
        Integer,
        nullable=False,
        doc="photos with it as an accepted tag after verdicts; copies count, gone files do not",
    ),
    info={
        "doc": "Sums of `landmark_block_counts`. `tagger landmarks` counts the blocks in `changed_blocks` again."
    },
)


def _month_columns() -> Iterator[Column[object]]:
    """Exact copies are one photo, the first that exists. Whole numbers, so that sums of blocks are exact."""
    yield Column("classified", Integer, nullable=False, doc="number of photos that a model has classified")
    yield Column(
        "classified_aspects",
        BigInteger,
        nullable=False,
        doc="sum of their widths divided by their heights, in millionths",
    )
    yield Column(
        "tagged",
        Integer,
        nullable=False,
        doc="number of photos with an accepted tag after verdicts",
    )
    yield Column(
        "tagged_aspects",
        BigInteger,
        nullable=False,
        doc="sum of their widths divided by their heights, in millionths",
    )


month_block_counts = Table(
    "month_block_counts",
    metadata,
    Column("block", Id, nullable=False, doc="as in `landmark_block_counts`"),
    Column("month", Text, nullable=False, doc="as in `month_totals`"),
    *_month_columns(),
    PrimaryKeyConstraint("block", "month"),
    info={"doc": "Photos of a month among 4096 images with successive ids, when last counted."},
)

month_totals = Table(
    "month_totals",
    metadata,
    Column(
        "month",
        Text,
        primary_key=True,
        doc="month, like `2024-06`, or `none` for photos without a date",
    ),
    *_month_columns(),
    info={
        "doc": "Sums of `month_block_counts`. Exact copies are one photo, the first that exists. The page counts the blocks in `changed_blocks` again."
    },
)

changed_blocks = Table(
    "changed_blocks",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("block", Id, nullable=False, doc="as in `landmark_block_counts`"),
    Index(None, "block"),
    info={
        "doc": "A block of images that needs counting again: an image, or its tags, verdicts or photos have changed. Triggers insert rows; counting deletes them."
    },
)
