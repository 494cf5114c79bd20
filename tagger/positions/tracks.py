"""GPS tracks in the database: adding GPX files, listing and removing them.

A track's points are stored in parts, each in order of time and complete in itself, without outliers and
duplicates. A part alone tells where somebody was at any time within it: it begins with the last point of the
part before. Points are read in constant memory, and sorted only among some thousands: where a longer stretch
is out of order, parts overlap. A segment that begins before the last point begins a new line: two people's
tracks may be in one file. Each change of tracks is recorded for the photos of its time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from blake3 import blake3
from sqlalchemy import Connection, Select, delete, exists, func, insert, select

from tagger.cameras import LOCAL_TIMES
from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.statements import insert_missing
from tagger.database.tables import photos, track_parts, tracks
from tagger.errors import ImportRefused, NameAmbiguous, NameNotFound
from tagger.positions.estimation import MAX_SPEED_M_S, Truth, distances_m
from tagger.positions.gpx import (
    PointCounts,
    Points,
    SegmentPiece,
    open_gpx,
    read_blocks,
    read_segments,
)
from tagger.tags.contents import record_matching_photos

PART_POINTS = 4096
# The longest time of a part, so that an index on the ends of parts finds those of a given time.
PART_S = 86_400.0
# The most successive points that are outliers together.
OUTLIER_POINTS = 8
# The last points wait for the next ones, which show whether they are outliers.
_HELD_POINTS = 2 * OUTLIER_POINTS


def divide_track(
    pieces: Iterable[SegmentPiece], counts: PointCounts
) -> Iterator[Points]:
    """Yield the parts of a track. Outliers and duplicates are left out and counted."""
    line: list[Points] = []
    size = 0
    latest = -np.inf
    for piece in pieces:
        if piece.is_start and piece.points[0, 0] < latest:
            yield from _last_parts(line, counts)
            line, size, latest = [], 0, -np.inf
        line.append(piece.points)
        size += len(piece.points)
        latest = max(latest, piece.points[:, 0].max())
        if size > 2 * PART_POINTS:
            points = _clean(np.concatenate(line), counts)
            start = 0
            for start, end in _bounds(points[:, 0]):
                if end > len(points) - _HELD_POINTS:
                    break
                yield _ascending(points[start:end])
            line = [points[start:]]
            size = len(line[0])
    yield from _last_parts(line, counts)


def are_too_fast(first: Points, second: Points) -> Truth:
    """Between which points (N, 3) nobody can have travelled. Times are often whole seconds."""
    seconds = np.maximum(np.abs(second[:, 0] - first[:, 0]), 1.0)
    distances = distances_m(
        first[:, 1],
        first[:, 2],
        second[:, 1],
        second[:, 2],
    )
    return np.asarray(distances > MAX_SPEED_M_S * seconds)


def _last_parts(line: list[Points], counts: PointCounts) -> Iterator[Points]:
    if line:
        points = _clean(np.concatenate(line), counts)
        for start, end in _bounds(points[:, 0]):
            yield _ascending(points[start:end])


def _bounds(at: npt.NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    # The parts of points with these times, ascending or descending. The last one may be short.
    start = end = 0
    while end < len(at):
        end = start + int(
            np.searchsorted(
                np.abs(at[start : start + PART_POINTS] - at[start]),
                PART_S,
                "right",
            )
        )
        yield start, end
        start = end
        # The next part begins with the last point of this one, unless a day lies between them.
        if end < len(at) and abs(at[end] - at[end - 1]) <= PART_S:
            start -= 1


def _clean(points: Points, counts: PointCounts) -> Points:
    # The points in the direction in which they were read, without outliers and with one of each time.
    is_backwards = points[0, 0] > points[-1, 0]
    points = points[np.argsort(points[:, 0], kind="stable")]
    # Which points (N, 3) in order of time lie between a jump and the jump back.
    is_outlier: Truth = np.zeros(len(points), np.bool_)
    jumps = np.flatnonzero(are_too_fast(points[:-1], points[1:])) + 1
    # How many jumps after each one the track is back where it was before; 0: not within OUTLIER_POINTS.
    jumps_ahead = np.zeros(len(jumps), np.intp)
    for ahead in range(min(OUTLIER_POINTS, len(jumps) - 1), 0, -1):
        first, last = jumps[:-ahead], jumps[ahead:]
        is_short = last - first <= OUTLIER_POINTS
        is_back = ~are_too_fast(points[first - 1], points[last])
        jumps_ahead[:-ahead][is_short & is_back] = ahead
    back = jumps_ahead.tolist()
    number = 0
    while number < len(jumps):
        if back[number]:
            is_outlier[jumps[number] : jumps[number + back[number]]] = True
        number += back[number] + 1
    points = points[~is_outlier]
    is_duplicate = np.diff(points[:, 0], prepend=-np.inf) == 0
    points = points[~is_duplicate]
    counts.outliers += int(is_outlier.sum())
    counts.duplicates += int(is_duplicate.sum())
    return points[::-1] if is_backwards else points


def _ascending(points: Points) -> Points:
    return points if points[0, 0] <= points[-1, 0] else points[::-1]


_SPOOL_BYTES = 1 << 20
_PARTS_AT_ONCE = 8
_POINT = np.dtype("<f8")


@dataclass(frozen=True)
class Track:
    id: int
    name: str
    points: int
    first_at: datetime
    last_at: datetime
    added_at: datetime


@dataclass(frozen=True)
class AddedTrack(Track):
    """`is_new`: False if the file had been added before. `left_out`: numbers of unused points, by reason.

    `fault`: where and why the file breaks off, if it does.
    """

    is_new: bool
    left_out: Mapping[str, int]
    fault: str | None = None


@dataclass(frozen=True)
class ReadTrack:
    """A GPX file that was read; one that was stored before has no parts. `start`: of them in the spool."""

    file: Path
    digest: str
    counts: PointCounts
    start: int
    parts: Sequence[tuple[int, datetime, datetime]]


def track_spool() -> IO[bytes]:
    """A temporary file for the points of tracks that were read and are not stored yet."""
    return SpooledTemporaryFile(_SPOOL_BYTES)


def read_track(database: Database, file: Path, spool: IO[bytes]) -> ReadTrack:
    """Read a GPX file into the spool, in flat memory, so that nobody waits for the database meanwhile.

    Raises:
        PathNotFound, SystemRefused: there is no such file, or it cannot be read.
        ImportRefused: it is not GPX, or has no points with a time.
    """
    with open_gpx(file) as gpx:
        hasher = blake3()
        for data in read_blocks(gpx, file):
            hasher.update(data)
        gpx.seek(0)
        digest = hasher.hexdigest()
        is_known = database.scalar(select(exists().where(tracks.c.digest == digest)))
        counts, start = PointCounts(), spool.tell()
        pieces = () if is_known else read_segments(gpx, file, counts)
        parts = []
        for points in divide_track(pieces, counts):
            size = spool.write(points.astype(_POINT).tobytes())
            limits = points[[0, -1], 0].tolist()
            first, last = (datetime.fromtimestamp(seconds, UTC) for seconds in limits)
            parts.append((size, first, last))
    if not (parts or is_known):
        reason = f"none of its {counts.read} points has a valid time and position"
        if not counts.read:
            plans = "waypoints and planned routes do not say when somebody was there"
            reason = f"it has no points of tracks; {plans}"
        raise ImportRefused(
            file=file, reason=reason, remedy="export the recorded track, with times"
        )
    return ReadTrack(file, digest, counts, start, parts)


def store_track(
    connection: Connection, track: ReadTrack, spool: IO[bytes]
) -> AddedTrack:
    """Store a track that was read, unless it is stored: another process may have done so meanwhile.

    Raises:
        ImportRefused: it was stored when it was read, and was removed since then.
    """
    name = track.file.name.encode(errors="backslashreplace").decode()
    row = {
        "digest": track.digest,
        "name": name,
        "points": track.counts.used,
        "added_at": datetime.now(UTC),
    }
    insert_missing(connection, tracks, [row])
    track_id = connection.execute(
        select(tracks.c.id).where(tracks.c.digest == track.digest)
    ).scalar_one()
    is_new = not connection.scalar(
        select(exists().where(track_parts.c.track_id == track_id))
    )
    if is_new and not track.parts:
        raise ImportRefused(
            file=track.file,
            reason="it was removed at the same time",
            remedy="add it again",
        )
    if is_new:
        spool.seek(track.start)
        parts = (
            {
                "part": number,
                "first_at": first,
                "last_at": last,
                "data": spool.read(size),
            }
            for number, (size, first, last) in enumerate(track.parts)
        )
        while rows := [
            {"track_id": track_id} | part for part in islice(parts, _PARTS_AT_ONCE)
        ]:
            connection.execute(insert(track_parts), rows)
    (stored,) = _tracks(connection, _SELECT.where(tracks.c.id == track_id))
    if is_new:
        _record_photos(connection, stored)
        record_action(
            connection,
            AuditAction.TRACK_ADD,
            name,
            track=stored.id,
            points=stored.points,
        )
    return AddedTrack(
        **vars(stored),
        is_new=is_new,
        left_out=track.counts.left_out,
        fault=track.counts.fault,
    )


def list_tracks(database: Database) -> list[Track]:
    with database.read() as connection:
        return _tracks(
            connection,
            _SELECT.order_by(func.min(track_parts.c.first_at), tracks.c.id),
        )


def remove_track(database: Database, name: str) -> Track:
    """Raises:
    NameNotFound, NameAmbiguous: no track has the name or number, or several have the name.
    """
    with database.write() as connection:
        matching = _tracks(
            connection,
            _SELECT.where(tracks.c.name == name).order_by(tracks.c.id),
        )
        if not matching and name.isdecimal() and len(name) < 16:
            matching = _tracks(
                connection,
                _SELECT.where(tracks.c.id == int(name)),
            )
        if not matching:
            raise NameNotFound(
                kind="track", name=name, known="`tagger locate tracks` shows the tracks"
            )
        if len(matching) > 1:
            keys = ", ".join(str(track.id) for track in matching)
            raise NameAmbiguous(kinds="tracks", name=name, key="number", keys=keys)
        track = matching[0]
        _record_photos(connection, track)
        connection.execute(delete(tracks).where(tracks.c.id == track.id))
        record_action(connection, AuditAction.TRACK_REMOVE, track.name, track=track.id)
    return track


_SELECT = (
    select(
        tracks.c.id,
        tracks.c.name,
        tracks.c.points,
        func.min(track_parts.c.first_at).label("first_at"),
        func.max(track_parts.c.last_at).label("last_at"),
        tracks.c.added_at,
    )
    .join(track_parts, track_parts.c.track_id == tracks.c.id)
    .group_by(tracks.c.id)
)


def _tracks(connection: Connection, query: Select[Any]) -> list[Track]:
    return [Track(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - its public name


def _record_photos(connection: Connection, track: Track) -> None:
    # Record the change for photos that may be of the time of the track, whatever their zone.
    first = track.first_at.replace(tzinfo=None) - LOCAL_TIMES
    last = track.last_at.replace(tzinfo=None) + LOCAL_TIMES
    record_matching_photos(connection, photos.c.taken_at.between(first, last))
