"""The photos of a claimed chunk: those without an outcome, and what comes of each."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Row, select

from tagger.catalog.raw_pairs import files_of
from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.tables import contents, job_items, photos
from tagger.jobs.enqueue.photo_facts import stored_side_files
from tagger.ledger.chunks import Claim, ItemOutcome, store_outcomes
from tagger.metadata.stated_facts import SideFacts
from tagger.photos.files import PhotoVersion
from tagger.photos.paths import path_from_text
from tagger.photos.side_files import SideFile
from tagger.pipeline.requests import Reader, Result
from tagger.system.documents import document_of
from tagger.tags.contents import is_classified_by_all
from tagger.tags.rule import EffectiveTag

FORGOTTEN = "removed with `tagger forget`"
"""The reason of a skipped item whose photo is no longer in the database."""
JOINED = "one photo with the JPEG of the same name"
"""The reason of a skipped item: a RAW file that was a photo of its own when the job was recorded."""


@dataclass(eq=False)
class Item:
    """A photo of a claimed chunk, open at first, and what comes of it."""

    position: int
    photo_id: int
    root_id: int
    path: str
    path_bytes: bytes
    content_id: int | None
    classified: PhotoVersion | None
    """The version that the claim's models classified before with the same top-k and thresholds."""
    deaths: int
    """How often a worker died while it processed this photo alone."""
    size_bytes: int
    raw_files: tuple[tuple[str, bytes], ...] = ()
    """Its RAW files, as the columns `path` and `path_bytes`."""
    side_files: tuple[SideFile, ...] = ()
    """Those of all its files."""
    side_facts: SideFacts = field(default=(), init=False, repr=False)
    """What the side files state, once they are read."""
    reader: Reader | None = field(default=None, init=False, repr=False)
    """Opens the photo in place of the pipeline's own reader: in isolation."""
    result: Result | str = field(default="", init=False, repr=False)
    """Set once the photo is processed; a text in jobs of metadata."""
    image_id: int = field(default=0, init=False, repr=False)
    """The content of the image that was read, set when the result is stored; 0: none is known."""
    outcome: ItemOutcome = field(init=False, repr=False)
    """Set once it is stored."""
    tags: Sequence[EffectiveTag] = field(default=(), init=False)
    """The effective tags of its image, set once they are stored."""

    @property
    def file(self) -> str:
        """The path, in the root, of the file to read."""
        return path_from_text(self.path, self.path_bytes)


def open_items(database: Database, claim: Claim) -> list[Item]:
    """The items of a chunk without an outcome, in order. Those of forgotten photos are stored as skipped."""
    query = (
        select(
            job_items.c.position,
            job_items.c.attempts,
            photos.c.id,
            photos.c.root_id,
            photos.c.path,
            photos.c.path_bytes,
            photos.c.size_bytes,
            photos.c.content_id,
            photos.c.failure_kind,
            photos.c.primary_id,
            photos.c.classified_size_bytes,
            photos.c.classified_mtime_ns,
            photos.c.side_files,
            is_classified_by_all(claim.thresholds, claim.top_k).label("is_classified"),
        )
        .outerjoin(photos, photos.c.id == job_items.c.photo_id)
        .outerjoin(contents, contents.c.id == photos.c.content_id)
        .where(
            job_items.c.job_id == claim.name.job_id,
            job_items.c.position.between(claim.first, claim.last),
            job_items.c.outcome.is_(None),
        )
        .order_by(job_items.c.position)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
        photo_ids = [row.id for row in rows if row.id is not None]
        raw_files = raw_files_of(connection, photo_ids)
    skipped = [
        ItemOutcome(row.position, Outcome.SKIPPED, FORGOTTEN if row.id is None else JOINED)
        for row in rows
        if row.id is None or row.primary_id is not None
    ]
    if skipped:
        with database.write() as connection:
            store_outcomes(connection, claim, skipped)
    return [
        _open_item(row, claim, raw_files.get(row.id, ()))
        for row in rows
        if row.id is not None and row.primary_id is None
    ]


def raw_files_of(connection: Connection, photo_ids: Collection[int]) -> Mapping[int, Sequence[Row[Any]]]:
    """The rows of the RAW files of photos, with `path`, `path_bytes` and `side_files`, by photo id."""
    columns = (photos.c.primary_id, photos.c.path, photos.c.path_bytes, photos.c.side_files)
    files: dict[int, list[Any]] = {}
    for row in connection.execute(select(*columns).where(files_of(photo_ids)).order_by(photos.c.path)):
        files.setdefault(row.primary_id, []).append(row)
    return files


def _open_item(row: Any, claim: Claim, raw_files: Sequence[Row[Any]]) -> Item:
    has_result = row.failure_kind is None and row.classified_mtime_ns is not None
    classified = None
    if row.is_classified and has_result and not claim.reprocess:
        classified = PhotoVersion(row.classified_size_bytes, row.classified_mtime_ns)
    return document_of(
        Item,
        row,
        photo_id=row.id,
        classified=classified,
        deaths=row.attempts,
        raw_files=tuple((file.path, file.path_bytes) for file in raw_files),
        side_files=tuple(
            chain.from_iterable(stored_side_files(each.side_files) for each in (row, *raw_files))
        ),
    )
