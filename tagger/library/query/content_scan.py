"""Scans along the contents of an index: blocks of images, and the photos of each.

One kind scans the photos that show landmarks: of some landmarks in order, of many together, and which of these have any that match.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from math import ceil
from operator import add
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    exists,
    literal,
    or_,
    select,
    true,
    union,
)

from tagger.database.statements import among
from tagger.database.tables import contents, dismissals, landmarks, photos, tags, taught_tags, verdicts
from tagger.library.query.index_scan import (
    Condition,
    Key,
    PageRequest,
    ScanPage,
    counted_rows,
    is_id,
    off_index,
)
from tagger.library.query.tagged_photos import select_photos

BLOCK = 64
"""A content scan reads blocks of this many consecutive content ids. Within a block, photos are in the order of their own ids."""
_LAST_ID = 2**63 - 1


@dataclass(frozen=True)
class ContentSource:
    """Content ids in the order of an index: the column, and the conditions on its table that the index answers.

    `row_conditions` are checked row by row; they shorten the pages, not the scan. `cost` weighs a row of this source
    against the rows of other scans.
    """

    content_id: ColumnElement[int]
    conditions: tuple[Condition, ...]
    row_conditions: tuple[Condition, ...] = ()
    cost: int = 1


@dataclass(frozen=True)
class ContentScan:
    """The contents of all `sources`, block by block, and the photos of each block in the order of their ids.

    A key is a block number and a photo id. `of_matches`: few of the contents have a photo that matches, so the others are left out
    where the sources are read.
    """

    sources: Iterable[ContentSource]
    landmark_id: int | None = None
    of_matches: bool = False

    def page(self, connection: Connection, request: PageRequest) -> ScanPage:
        ids, next_block = self._content_ids(connection, request)
        order = (photos.c.content_id // BLOCK, photos.c.id)
        query = request.select(order).where(photos.c.content_id.in_(ids))
        found = connection.execute(query).all() if ids else ()
        first_id = _LAST_ID if request.backwards else 0
        return ScanPage(found, None if next_block is None else (next_block, first_id))

    def key(self, row: Row[Any]) -> Key:
        return row.content_id // BLOCK, row.id

    def contains(self, connection: Connection, row: Row[Any]) -> bool:  # noqa: ARG002 - the row is enough
        return row.content_id is not None

    def size(self, connection: Connection, limit: int) -> int:
        # One statement for all sources: most have few rows or none, and a statement costs more than these.
        counts = [
            source.cost
            * counted_rows(select(source.content_id).where(*source.conditions), ceil(limit / source.cost))
            for source in self.sources
        ]
        return connection.scalar(select(reduce(add, counts))) or 0 if counts else 0

    @property
    def condition(self) -> Condition:
        """Whether the scan returns the photo; perhaps of other photos that do not match the query."""
        ids = (
            select(source.content_id.label("id")).where(*source.conditions, *source.row_conditions)
            for source in self.sources
        )
        return photos.c.content_id.in_(union(*ids))

    def photo_ids(self) -> Select[Any]:
        return select(photos.c.id).where(self.condition)

    def accepts(self, key: Key) -> bool:
        return len(key) == 2 and all(is_id(part) for part in key) and key[0] <= _LAST_ID // BLOCK

    def _content_ids(self, connection: Connection, request: PageRequest) -> tuple[Sequence[int], int | None]:
        """About `rows` ids from all sources, in whole blocks starting with that of the key; and the block to continue with."""
        count = max(request.rows, BLOCK)
        nearest = connection.scalars(self._nearest(request, count)).all()
        if len(nearest) < count:
            return nearest, None
        last_block = nearest[-1] // BLOCK
        whole_blocks = [number for number in nearest if number // BLOCK != last_block]
        if whole_blocks:
            return whole_blocks, last_block
        following = last_block + (-1 if request.backwards else 1)
        return nearest, following  # all ids are of one block, which is full

    def _nearest(self, request: PageRequest, count: int) -> Select[Any]:
        """The next ids of all sources, each once and in order: one statement, since most sources have few or none."""
        parts = [select(self._next_of(source, request, count).subquery().c.id) for source in self.sources]
        found = union(*parts).subquery()
        return (
            select(found.c.id).order_by(found.c.id.desc() if request.backwards else found.c.id).limit(count)
        )

    def _next_of(self, source: ContentSource, request: PageRequest, count: int) -> Select[Any]:
        column = source.content_id
        query = select(column.label("id")).distinct().where(*source.conditions, *source.row_conditions)
        if self.of_matches:
            query = query.where(has_photo(column, request.conditions))
        if request.after is not None:
            first = request.after[0] * BLOCK
            query = query.where(column < first + BLOCK if request.backwards else column >= first)
        return query.order_by(column.desc() if request.backwards else column).limit(count)


def has_photo(content_id: ColumnElement[int], conditions: Sequence[Condition]) -> Condition:
    """Whether the content has a photo with these conditions, which may be on its position."""
    of_content = select_photos().with_only_columns(literal(1), maintain_column_froms=True)
    return of_content.where(photos.c.content_id == content_id, *conditions).exists()


def outcome_source(
    outcome: str | None, *, min_score: float | None = None, any_rank: bool = False
) -> ContentSource:
    """Contents by outcome; None: contents that no model has classified."""
    has_outcome = contents.c.outcome.is_(None) if outcome is None else contents.c.outcome == outcome
    if min_score is None:
        return ContentSource(contents.c.id, (has_outcome,))
    scored = exists().where(tags.c.content_id == contents.c.id, tags.c.score >= min_score)
    row_condition = scored if any_rank else scored.where(tags.c.accepted == true())
    return ContentSource(contents.c.id, (has_outcome,), (row_condition,))


def score_source(min_score: float) -> ContentSource:
    """Contents with an accepted tag of at least `min_score`. The index is ordered by score, so each page is sorted."""
    # Without off_index, SQLite scans all contents in order rather than sort these few.
    content_id = off_index(tags.c.content_id)
    return ContentSource(content_id, (tags.c.accepted == true(), tags.c.score >= min_score), cost=4)


def taught_source(*, min_score: float | None = None, any_rank: bool = False) -> ContentSource:
    """Contents with a taught tag, accepted or (with `any_rank`) not."""
    accepted = () if any_rank else (taught_tags.c.accepted == true(),)
    scored = () if min_score is None else (taught_tags.c.score >= min_score,)
    return ContentSource(taught_tags.c.content_id, accepted, scored)


def verdict_source(verdict: str | None = None) -> ContentSource:
    """Contents with at least one such verdict; None: with any."""
    return ContentSource(verdicts.c.content_id, () if verdict is None else (verdicts.c.verdict == verdict,))


def dismissal_source() -> ContentSource:
    """Contents that were put away as not a landmark."""
    return ContentSource(dismissals.c.content_id, ())


def model_source(model_id: int) -> ContentSource:
    """Contents that this model classified last."""
    return ContentSource(contents.c.id, (contents.c.model_id == model_id,))


@dataclass(frozen=True)
class LandmarkScans:
    """Scans of contents with an accepted tag of a landmark, or (with `any_rank`) with any; and of those for which it is confirmed."""

    any_rank: bool = False
    min_score: float | None = None

    def of(self, landmark_ids: Sequence[int], *, of_matches: bool = False) -> ContentScan:
        """Those of some landmarks, in order."""
        sources = _SourcesInOrder(self, tuple(landmark_ids))
        return ContentScan(
            sources, landmark_ids[0] if len(landmark_ids) == 1 else None, of_matches=of_matches
        )

    def of_many(self, landmark_ids: Sequence[int], of_photos: Condition) -> ContentScan:
        """Those of any number of landmarks, of photos with a condition: to be counted or sorted, because no index has their order."""
        return ContentScan(tuple(self._sources(lambda column: among(column, landmark_ids), of_photos)))

    def with_photos(
        self,
        connection: Connection,
        landmark_ids: Collection[int],
        conditions: Sequence[Condition],
        count: int,
        *,
        backwards: bool,
    ) -> Sequence[int]:
        """The first landmarks, in the order of their ids, that have a photo with these conditions: at most `count`.

        Reads photos of each landmark until one has, and nothing of those that follow the last.
        """
        sources = self._sources(_equals(landmarks.c.id))
        found = (
            exists().where(
                *source.conditions, *source.row_conditions, has_photo(source.content_id, conditions)
            )
            for source in sources
        )
        query = select(landmarks.c.id).where(among(landmarks.c.id, landmark_ids), or_(*found))
        order = landmarks.c.id.desc() if backwards else landmarks.c.id
        return connection.scalars(query.order_by(order).limit(count)).all()

    def sources_of(self, landmark_id: int) -> Iterator[ContentSource]:
        """The contents of one landmark."""
        return self._sources(_equals(landmark_id))

    def _sources(
        self, is_landmark: Callable[[ColumnElement[int]], Condition], of_photos: Condition | None = None
    ) -> Iterator[ContentSource]:
        def source(table: Table, indexed: Sequence[Condition], rest: Sequence[Condition]) -> ContentSource:
            content_id = table.c.content_id
            of_content = () if of_photos is None else (has_photo(content_id, (of_photos,)),)
            return ContentSource(
                content_id, (is_landmark(table.c.landmark_id), *indexed), (*rest, *of_content)
            )

        for table in (tags, taught_tags):
            accepted = () if self.any_rank else (table.c.accepted == true(),)
            yield source(
                table, accepted, () if self.min_score is None else (table.c.score >= self.min_score,)
            )
        yield source(verdicts, (verdicts.c.verdict == "confirmed",), ())


@dataclass(frozen=True)
class _SourcesInOrder:
    """The sources of landmarks, made where they are read: an area has thousands of landmarks, most without a photo that matches."""

    scans: LandmarkScans
    landmark_ids: tuple[int, ...]

    def __iter__(self) -> Iterator[ContentSource]:
        return chain.from_iterable(map(self.scans.sources_of, self.landmark_ids))


def _equals(landmark_id: int | ColumnElement[int]) -> Callable[[ColumnElement[int]], Condition]:
    return lambda column: column == landmark_id
