"""Scans of the photos that show landmarks: of some landmarks in order, of many together, and which of these have any that match."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from sqlalchemy import ColumnElement, Connection, Table, exists, or_, select, true

from tagger.database.statements import among
from tagger.database.tables import landmarks, tags, taught_tags, verdicts
from tagger.library.query.content_scan import ContentScan, ContentSource, has_photo
from tagger.library.query.index_scan import Condition


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
