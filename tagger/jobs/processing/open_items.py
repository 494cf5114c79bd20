"""The open items of a claimed chunk: what is to be processed, and what came of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, select

from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.tables import contents, job_items, photos
from tagger.ledger.chunks import Claim, ItemOutcome, store_outcomes
from tagger.library.catalog.raw_pairs import files_of
from tagger.photos.files import PhotoVersion
from tagger.photos.paths import path_from_text
from tagger.pipeline.results import Result

FORGOTTEN = "removed with `tagger forget`"
"""The reason of a skipped item whose photo is no longer in the database."""
JOINED = "one photo with the JPEG of the same name"
"""The reason of a skipped item: a RAW file that was a photo of its own when the job was recorded."""


@dataclass(frozen=True)
class OpenItem:
    """A photo of a claimed chunk that has no outcome yet.

    `classified`: the version that the claim's model classified before with the same top-k and threshold, if any.
    `deaths`: how often a worker died while it classified this photo alone. `raw_files`: the RAW files of the photo, as the columns
    `path` and `path_bytes`.
    """

    position: int
    photo_id: int
    root_id: int
    path: str
    path_bytes: bytes
    content_id: int | None
    classified: PhotoVersion | None
    deaths: int
    size_bytes: int
    raw_files: tuple[tuple[str, bytes], ...] = ()

    @property
    def file(self) -> str:
        """The path, in the root, of the file to read."""
        return path_from_text(self.path, self.path_bytes)


@dataclass(frozen=True)
class ItemResult:
    """An item and the pipeline's result for its photo."""

    item: OpenItem
    result: Result


def open_items(database: Database, claim: Claim) -> list[OpenItem]:
    """Return the claimed chunk's items without an outcome, in order. Items of forgotten photos are skipped and stored as such."""
    with database.read() as connection:
        rows = connection.execute(_items_without_outcome(claim)).all()
        raw_files = raw_files_of(connection, [row.id for row in rows if row.id is not None])
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


def _items_without_outcome(claim: Claim) -> Select[Any]:
    return (
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
            contents.c.model_id,
            contents.c.top_k,
            contents.c.threshold,
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


def raw_files_of(
    connection: Connection, photo_ids: Collection[int]
) -> Mapping[int, tuple[tuple[str, bytes], ...]]:
    """The RAW files of photos, as the columns `path` and `path_bytes`, by photo id."""
    query = select(photos.c.primary_id, photos.c.path, photos.c.path_bytes).where(files_of(photo_ids))
    files: dict[int, tuple[tuple[str, bytes], ...]] = {}
    for row in connection.execute(query.order_by(photos.c.path)):
        files[row.primary_id] = (*files.get(row.primary_id, ()), (row.path, row.path_bytes))
    return files


def _open_item(row: Any, claim: Claim, raw_files: tuple[tuple[str, bytes], ...]) -> OpenItem:
    is_same = (row.model_id, row.top_k, row.threshold) == (claim.model_id, claim.top_k, claim.threshold)
    has_result = row.failure_kind is None and row.classified_mtime_ns is not None
    classified = None
    if is_same and has_result and not claim.reprocess:
        classified = PhotoVersion(row.classified_size_bytes, row.classified_mtime_ns)
    return OpenItem(
        position=row.position,
        photo_id=row.id,
        root_id=row.root_id,
        path=row.path,
        path_bytes=row.path_bytes,
        content_id=row.content_id,
        classified=classified,
        deaths=row.attempts,
        size_bytes=row.size_bytes,
        raw_files=raw_files,
    )
