"""What `tagger locate` does: camera facts that the database lacks, settings of the estimates, an update, and what came of it.

Facts are read from the files of photos that were tagged before the database had cameras. These photos keep their tags.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, exists, func, or_, select, update

from tagger.database.connection import Database
from tagger.database.enums import ClockSource, PositionSource
from tagger.database.statements import pages
from tagger.database.tables import cameras, contents, ledgers, photos, positions
from tagger.errors import CameraAmbiguous, CameraNotFound, PhotoFailed
from tagger.library.catalog.cameras import camera_of, ensure_cameras, fact_columns
from tagger.library.catalog.contents import record_camera, record_matching_photos, record_photos
from tagger.library.catalog.roots import Root, RootPaths, list_roots, unavailable_roots
from tagger.library.positions.camera_companions import Companions, find_companions
from tagger.library.positions.clocks import CameraClock, estimate_clocks
from tagger.library.positions.tag_odds import count_turned
from tagger.library.positions.update import Progress, update_positions, update_positions_in
from tagger.metadata.camera import CameraFacts, camera_facts
from tagger.photos.files import PhotoVersion
from tagger.photos.paths import path_from_text
from tagger.pipeline.reader_pool import read_in_time
from tagger.pipeline.requests import Limits


@dataclass(frozen=True)
class EstimateSettings:
    """What to change before an update. `clock_offsets`: seconds ahead of UTC by camera.

    `position_odds`: whether positions count when tags are accepted. None: as before, and so for `max_gap_s`.
    """

    max_gap_s: int | None
    clock_offsets: Mapping[str, int]
    position_odds: bool | None = None


@dataclass(frozen=True)
class PositionCounts:
    """Numbers of photos, by the source of their position.

    `moved`: positions that are new, moved or gone. `clocks`: those of cameras that were estimated anew. `companions`: all pairs.
    `doubtful` and `accepted`: numbers of all images with a tag that is not accepted, or is accepted, because of the position, although
    the score says otherwise.
    """

    photos: int
    sources: Mapping[PositionSource, int]
    moved: int
    clocks: Sequence[CameraClock]
    companions: Sequence[Companions]
    doubtful: int
    accepted: int

    @property
    def unknown(self) -> int:
        return self.photos - sum(self.sources.values())


def locate(
    database: Database,
    settings: EstimateSettings,
    photo_ids: Collection[int] | None,
    on_progress: Progress,
    *,
    dry_run: bool,
) -> PositionCounts:
    """Change the settings, bring all positions up to date, and count those of `photo_ids`; None: of all photos.

    Settings stay. With `dry_run`, everything is rolled back, and other processes cannot write meanwhile.

    Raises:
        CameraNotFound, CameraAmbiguous: a clock is set of a camera that is not known, or of several.
    """
    if dry_run:
        with database.write(dry_run=True) as connection:
            _apply(connection, settings)
            found = estimate_clocks(connection), find_companions(connection)
            moved = update_positions_in(connection, on_progress)
            return PositionCounts(*_count(connection, photo_ids), moved, *found, *count_turned(connection))
    with database.write() as connection:
        _apply(connection, settings)
        found = estimate_clocks(connection), find_companions(connection)
    moved = update_positions(database, on_progress)
    with database.read() as connection:
        return PositionCounts(*_count(connection, photo_ids), moved, *found, *count_turned(connection))


PAGE = 200
"""Photos per transaction."""
FactsProgress = Callable[[int, int], None]
"""Called with the number of photos done, and of all."""


@dataclass(frozen=True)
class MissingFacts:
    """How many photos had no facts.

    `read`: they have them now. `changed`: the file is not the stored one any more, and tagging it will read them. `unreadable`: the
    file is gone or cannot be read. `unavailable`: the disk or share of their root is not mounted. The next call tries the last three again.
    """

    read: int = 0
    changed: int = 0
    unreadable: int = 0
    unavailable: int = 0


def has_missing_facts(database: Database) -> bool:
    """Whether there are present photos that have a content but no camera."""
    with database.read() as connection:
        return connection.execute(select(photos.c.id).where(*_IS_MISSING).limit(1)).first() is not None


def read_missing_facts(
    database: Database,
    root_paths: RootPaths,
    limits: Limits,
    on_progress: FactsProgress = lambda _done, _total: None,
) -> MissingFacts:
    """Store the facts of present photos that have a content but no camera.

    `limits.readers` threads read a file each; the ids of the photos take 8 bytes each. What was stored stays if the call is interrupted.
    """
    limits = replace(limits, settle_s=0.0)
    roots, unavailable = _roots(database, root_paths)
    ids = _photo_ids(database)
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(limits.readers) as pool:
        for start in range(0, len(ids), PAGE):
            rows = _rows(database, ids[start : start + PAGE])
            available = [row for row in rows if row.root_id not in unavailable]
            results = list(pool.map(lambda row: _read(row, roots[row.root_id], limits), available))
            found = [
                (row, result)
                for row, result in zip(available, results, strict=True)
                if isinstance(result, CameraFacts)
            ]
            if found:
                _store(database, found)
            counts.update(result if isinstance(result, str) else "read" for result in results)
            counts["unavailable"] += len(rows) - len(available)
            on_progress(min(start + PAGE, len(ids)), len(ids))
    return MissingFacts(**counts)


_CHANGED, _UNREADABLE = "changed", "unreadable"
_IS_MISSING = (photos.c.camera_id.is_(None), photos.c.content_id.is_not(None), photos.c.gone_since.is_(None))


def _apply(connection: Connection, settings: EstimateSettings) -> None:
    stored = connection.execute(select(ledgers.c.max_gap_s, ledgers.c.position_odds)).one()
    if settings.position_odds not in (None, stored.position_odds):
        connection.execute(update(ledgers).values(position_odds=settings.position_odds))
        record_matching_photos(connection, photos.c.content_id.is_not(None))
    if settings.max_gap_s not in (None, stored.max_gap_s):
        connection.execute(update(ledgers).values(max_gap_s=settings.max_gap_s))
        record_matching_photos(connection, photos.c.camera_id.is_not(None))
    for name, offset_s in settings.clock_offsets.items():
        camera_id = _find_camera(connection, name)
        values = {"clock_offset_s": offset_s, "clock_source": ClockSource.GIVEN}
        connection.execute(update(cameras).where(cameras.c.id == camera_id).values(values))
        record_camera(connection, camera_id)


def _find_camera(connection: Connection, name: str) -> int:
    """The camera whose name contains the text; one with exactly this name, or key, comes first."""
    rows = connection.execute(select(cameras).order_by(cameras.c.name, cameras.c.key)).all()
    wanted = name.casefold()
    matches: Callable[[str], bool]
    for matches in (wanted.__eq__, lambda text: wanted in text):
        found = [row for row in rows if matches(row.name.casefold()) or matches(row.key.casefold())]
        if len(found) == 1:
            return int(found[0].id)
        if found:
            raise CameraAmbiguous(name=name, keys="; ".join(row.key for row in found[:10]))
    names = ", ".join(sorted({row.name for row in rows})[:20]) or "none yet: run `tagger tag FOLDER` first"
    raise CameraNotFound(name=name, names=names)


def _count(
    connection: Connection, photo_ids: Collection[int] | None
) -> tuple[int, Mapping[PositionSource, int]]:
    """The number of photos, and how many of them have a position of each source."""
    query = (
        select(positions.c.source, func.count().label("photos"))
        .select_from(photos.outerjoin(positions, positions.c.photo_id == photos.c.id))
        .group_by(positions.c.source)
    )
    counts: Counter[str | None] = Counter()
    if photo_ids is None:
        # Queries find no photo that failed and was never classified.
        is_classified = exists().where(contents.c.id == photos.c.content_id, contents.c.outcome.is_not(None))
        is_found = or_(photos.c.failure_kind.is_(None), is_classified)
        is_read = photos.c.content_id.is_not(None) & photos.c.gone_since.is_(None)
        counts.update({row.source: row.photos for row in connection.execute(query.where(is_read, is_found))})
    else:
        for page in pages(sorted(photo_ids)):
            rows = connection.execute(query.where(photos.c.id.in_(page)))
            counts.update({row.source: row.photos for row in rows})
    sources = {source: counts[source] for source in PositionSource}
    return counts.total(), sources


def _roots(database: Database, root_paths: RootPaths) -> tuple[dict[int, Root], Collection[int]]:
    """All roots by id, and the ids of those that are unavailable."""
    with database.read() as connection:
        roots = list_roots(connection, root_paths)
        unavailable = unavailable_roots(connection, roots)
    return {root.id: root for root in roots}, {root.id for root in unavailable}


def _photo_ids(database: Database) -> "array[int]":
    """The ids of all photos without facts. Their index is not in the order of ids, so pages would sort them again and again."""
    query = select(photos.c.id).where(*_IS_MISSING)
    with database.read() as connection:
        found = connection.execution_options(yield_per=10_000).scalars(query)
        return array("q", sorted(array("q", found)))


def _rows(database: Database, ids: Sequence[int]) -> Sequence[Row[Any]]:
    query: Select[Any] = (
        select(
            photos.c.id,
            photos.c.root_id,
            photos.c.path,
            photos.c.path_bytes,
            photos.c.size_bytes,
            photos.c.mtime_ns,
            photos.c.classified_size_bytes,
            photos.c.classified_mtime_ns,
        )
        .where(photos.c.id.in_(ids), *_IS_MISSING)
        .order_by(photos.c.id)
    )
    with database.read() as connection:
        return connection.execute(query).all()


def _read(row: Row[Any], root: Root, limits: Limits) -> CameraFacts | str:
    """The facts of a photo, or what kept them from being read."""
    path = path_from_text(row.path, row.path_bytes)
    version = PhotoVersion(row.size_bytes, row.mtime_ns)
    if row.classified_mtime_ns is not None:
        version = PhotoVersion(row.classified_size_bytes, row.classified_mtime_ns)
    try:
        photo = read_in_time(root.source, path, limits)
    except PhotoFailed:
        return _UNREADABLE
    return camera_facts(photo.data) if photo.version == version else _CHANGED


def _store(database: Database, found: Sequence[tuple[Row[Any], CameraFacts]]) -> None:
    cameras = {row.id: camera_of(facts, row.root_id, row.path) for row, facts in found}
    # In a transaction of its own: workers that wait for a new camera hold the locks of their photos.
    with database.write() as connection:
        camera_ids = ensure_cameras(connection, set(cameras.values()))
    values = [
        {"photo": row.id, "camera_id": camera_ids[cameras[row.id]], **fact_columns(facts)}
        for row, facts in found
    ]
    with database.write() as connection:
        record_photos(connection, cameras)
        _update(connection, values)


def _update(connection: Connection, values: Sequence[dict[str, Any]]) -> None:
    columns: dict[str, Any] = {name: bindparam(name) for name in values[0] if name != "photo"}
    # Tagging may have read the facts meanwhile, of a later file.
    still_missing = (photos.c.id == bindparam("photo"), photos.c.camera_id.is_(None))
    connection.execute(update(photos).where(*still_missing).values(columns), values)
