"""What `tagger locate` does: settings of the estimates, an update, and what came of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, exists, func, or_, select, update

from tagger.database.connection import Database
from tagger.database.enums import ClockSource, PositionSource
from tagger.database.statements import AdvisoryLock, among, take_lock
from tagger.database.tables import cameras, contents, ledgers, photos, positions
from tagger.errors import CameraNotFound, NameAmbiguous
from tagger.kept.update import Progress, update_kept
from tagger.positions.clocks import CameraClock, estimate_clocks
from tagger.positions.companions import Companions, find_companions
from tagger.positions.tag_odds import count_overruled_by_gps
from tagger.positions.tracks import AddedTrack, read_track, store_track, track_spool
from tagger.tags.contents import record_camera, record_matching_photos


@dataclass(frozen=True)
class EstimateSettings:
    """What to change before an update. `clock_offsets`: seconds ahead of UTC by camera.

    `position_odds`: whether positions count when tags are accepted. None: as before, and so for `max_gap_s`.
    `tracks`: GPX files to add.
    """

    max_gap_s: int | None
    clock_offsets: Mapping[str, int]
    position_odds: bool | None = None
    tracks: Sequence[Path] = ()


@dataclass(frozen=True)
class PositionCounts:
    """Numbers of photos, by the source of their position.

    `moved`: positions that are new, moved or gone. `clocks`: the camera clocks that were estimated anew.
    `companions`: all pairs. `tracks`: those added. `doubtful` and `accepted`: numbers of all images with a
    tag that is not accepted, or is accepted, because of the position, although the score says otherwise.
    """

    photos: int
    sources: Mapping[PositionSource, int]
    moved: int
    clocks: Sequence[CameraClock]
    companions: Sequence[Companions]
    tracks: Sequence[AddedTrack]
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
    """Change settings, bring all positions up to date, and count those of `photo_ids`; None: of all.

    Settings and tracks stay: all, or none if one is refused. With `dry_run`, everything is rolled back, and
    other processes cannot write meanwhile.

    Raises:
        CameraNotFound, NameAmbiguous: a clock is set of a camera that is not known, or of several.
        PathNotFound, SystemRefused, ImportRefused: a track cannot be added; see `read_track`.
    """
    with track_spool() as spool:
        read = [read_track(database, file, spool) for file in settings.tracks]
        with database.rehearsal() if dry_run else nullcontext(database) as library:
            with library.write() as connection:
                if dry_run:
                    # Before the row of the settings, as updates do.
                    take_lock(connection, AdvisoryLock.UPDATE_KEPT)
                _apply(connection, settings)
                tracks = [store_track(connection, track, spool) for track in read]
                clocks, companions = estimate_clocks(connection), find_companions(connection)
            moved = update_kept(library, on_progress)
            with library.read() as connection:
                return _counts(connection, photo_ids, moved, clocks, companions, tracks)


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
    # The camera whose name contains the text; one with exactly this name, or key, comes first.
    rows = connection.execute(select(cameras).order_by(cameras.c.name, cameras.c.key)).all()
    wanted = name.casefold()
    matches: Callable[[str], bool]
    for matches in (wanted.__eq__, lambda text: wanted in text):
        found = [row for row in rows if matches(row.name.casefold()) or matches(row.key.casefold())]
        if len(found) == 1:
            return int(found[0].id)
        if found:
            keys = "; ".join(row.key for row in found[:10])
            raise NameAmbiguous(kinds="cameras", name=name, key="whole name", keys=keys)
    names = (
        ", ".join(sorted({row.name for row in rows})[:20])
        or "none yet: run `tagger tag FOLDER` first"
    )
    raise CameraNotFound(name=name, names=names)


def _counts(
    connection: Connection,
    photo_ids: Collection[int] | None,
    moved: int,
    clocks: Sequence[CameraClock],
    companions: Sequence[Companions],
    tracks: Sequence[AddedTrack],
) -> PositionCounts:
    # The result of an update. Photos and their positions are counted now.
    query = (
        select(positions.c.source, func.count().label("photos"))
        .select_from(photos.outerjoin(positions, positions.c.photo_id == photos.c.id))
        .group_by(positions.c.source)
    )
    if photo_ids is None:
        # Queries find no photo that failed and was never classified.
        is_classified = exists().where(
            contents.c.id == photos.c.content_id, contents.c.outcome.is_not(None)
        )
        is_found = or_(photos.c.failure_kind.is_(None), is_classified)
        is_read = photos.c.content_id.is_not(None) & photos.c.gone_since.is_(None)
        query = query.where(is_read, is_found)
    else:
        query = query.where(among(photos.c.id, photo_ids))
    counts = {row.source: row.photos for row in connection.execute(query)}
    sources = {source: counts.get(source, 0) for source in PositionSource}
    overruled = count_overruled_by_gps(connection)
    return PositionCounts(
        sum(counts.values()), sources, moved, clocks, companions, tracks, *overruled
    )
