"""Tracks: GPX files, what a library keeps of them, and the positions that follow for photos.

Only points of tracks (`trkpt`) say where somebody was, and when. Waypoints and routes are plans, and are
ignored. Names are compared without their namespace, which many programs write wrong.

expat builds no tree, but keeps the names of open elements, so deep nesting is refused. Before version 2.6, it
reads a tag or comment again from its start with each block, so long ones are refused. So are documents with a
document type, which alone defines entities. A file that breaks off, as that of a device whose battery was
empty does, has good points up to there. (gpxpy keeps none of them, nor any of a file with one invalid number,
and needs 16 bytes of memory for each of the file.)
A track's points are stored in parts, each in order of time and complete in itself, without outliers and
duplicates. A part alone tells where somebody was at any time within it: it begins with the last point of the
part before. Points are read in constant memory, and sorted only among some thousands: where a longer stretch
is out of order, parts overlap. A segment that begins before the last point begins a new line: two people's
tracks may be in one file. Each change of tracks is recorded for the photos of its time.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, BinaryIO
from xml.parsers import expat

import numpy as np
import numpy.typing as npt
from blake3 import blake3
from sqlalchemy import Connection, Select, delete, exists, func, insert, select

from tagger.cameras import LOCAL_TIMES
from tagger.database.connection import AuditAction, Database, record_action
from tagger.database.statements import insert_missing
from tagger.database.tables import photos, track_parts, tracks
from tagger.errors import (
    ImportRefused,
    NameAmbiguous,
    NameNotFound,
    PathNotFound,
    SystemRefused,
)
from tagger.geo import is_on_earth
from tagger.photos.files import open_at_once
from tagger.positions.estimation import MAX_SPEED_M_S, Truth, distances_m
from tagger.tags import record_matching_photos
from tagger.texts import encoding_of
from tagger.texts.text_format import plain_number, with_ascii_digits

# (N, 3): seconds since 1970, latitude and longitude in degrees.
Points = npt.NDArray[np.float64]

# The start of GPS time.
EARLIEST = datetime(1980, 1, 6, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)

MAX_BYTES = 2 << 30

_PATH = ("gpx", "trk", "trkseg", "trkpt", "time", None)
# Elements of the path down to a point, and to its time.
_POINT, _TIME = 4, 5

_POINT_START = re.compile(rb"<(?:[\w.-]+:)?trkpt\b")
_READ_BYTES = 1 << 17
_TIME_LENGTH = 64
# expat keeps the names of open elements: 25 bytes of memory for each byte of a file that only opens
# them.
_MOST_DEPTH = 100
# Of one tag, comment or instruction.
_MOST_UNREAD_BYTES = 1 << 20
# The encodings of expat, and others with one byte for each character.
_ENCODINGS = re.compile(
    r"utf-8|utf-16([bl]e)?|us-ascii|iso-8859-([1-9]|1[013-6])|(windows-|cp)125[0-8]",
    re.IGNORECASE,
)
# Blanks and byte order marks at the start of a file, and its XML declaration.
_STARTS = {
    "utf-8": re.compile(rb"((?:[ \t\r\n]|\xef\xbb\xbf)*)(<\?xml\s[^>]*>)?"),
    "utf-16-le": re.compile(
        rb"((?:[ \t\r\n]\0|\xff\xfe)*)(<\0\?\0x\0m\0l\0(?:[^>]\0)*>\0)?"
    ),
    "utf-16-be": re.compile(
        rb"((?:\0[ \t\r\n]|\xfe\xff)*)(\0<\0\?\0x\0m\0l(?:\0[^>])*\0>)?"
    ),
}


@dataclass
class PointCounts:
    """How many points of tracks a file has, and how many of them were left out, by reason."""

    read: int = 0
    without_time: int = 0
    # No time, or one before EARLIEST or after LATEST: the clock was not set.
    invalid_time: int = 0
    # Not a number, outside the Earth, or exactly 0, 0: the receiver had no position.
    invalid_position: int = 0
    outliers: int = 0
    duplicates: int = 0
    # At and after the place where the XML is invalid.
    unreadable: int = 0
    # Where and why the file breaks off, if it does.
    fault: str | None = None

    @property
    def used(self) -> int:
        return self.read - sum(self.left_out.values())

    @property
    def left_out(self) -> dict[str, int]:
        return {
            name: count
            for name, count in vars(self).items()
            if count and name not in {"read", "fault"}
        }


@dataclass(frozen=True)
class SegmentPiece:
    """Successive points of one segment, in the order of the file. `is_start`: they are its first ones."""

    points: Points
    is_start: bool


@contextmanager
def open_gpx(path: Path) -> Iterator[BinaryIO]:
    """Open a file for `read_blocks` and `read_segments`.

    Raises:
        PathNotFound, SystemRefused: there is no such file, or it cannot be opened.
        ImportRefused: it is a folder or a device, is empty, or larger than MAX_BYTES.
    """
    with _open(path) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ImportRefused(
                file=path,
                reason="it is a pipe or a device",
                remedy="save the track as a file first",
            )
        if not status.st_size:
            raise ImportRefused(
                file=path,
                reason="it is empty",
                remedy="copy it again from where it came from",
            )
        if status.st_size > MAX_BYTES:
            raise ImportRefused(
                file=path,
                reason=f"it is larger than {MAX_BYTES >> 30} GiB",
                remedy="export the track in several files",
            )
        yield file


def read_blocks(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """Yield the rest of a file.

    Raises:
        SystemRefused: it cannot be read.
    """
    try:
        while data := file.read(_READ_BYTES):
            yield data
    except OSError as error:
        raise _system_refused(path, error) from error


def read_segments(
    file: IO[bytes],
    path: Path,
    counts: PointCounts,
) -> Iterator[SegmentPiece]:
    """Yield the valid points of a GPX file's tracks, in pieces of up to some thousands, and count all points.

    If the XML is invalid somewhere, the points before that are read, and those after it are counted.

    Raises:
        ImportRefused: it is not GPX, or has no valid point before its XML is invalid.
        SystemRefused: it cannot be read.
    """
    try:
        yield from _parse_segments(read_blocks(file, path), counts)
    except _GpxInvalid as error:
        raise ImportRefused(
            file=path, reason=str(error), remedy="copy or export it again, as GPX"
        ) from error


class _GpxInvalid(ValueError):
    """With the reason and its line."""


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "rb", opener=open_at_once)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PathNotFound(path=path) from error
    except IsADirectoryError as error:
        raise ImportRefused(
            file=path, reason="it is a folder", remedy="name the GPX files in it"
        ) from error
    except OSError as error:
        raise _system_refused(path, error) from error


def _system_refused(path: Path, error: OSError) -> SystemRefused:
    return SystemRefused(
        what=str(path),
        reason=(error.strerror or str(error)).lower(),
    )


def _parse_segments(
    blocks: Iterable[bytes], counts: PointCounts
) -> Iterator[SegmentPiece]:
    blocks = iter(blocks)
    data = _declaration_first(next(blocks, b""))
    parser = expat.ParserCreate(None if encoding_of(data) == "utf-8" else "utf-16")
    segments = _SegmentReader(parser, counts)
    size, previous, is_end = 0, b"", False
    while not is_end:
        is_end = not data
        size += len(data)
        try:
            parser.Parse(data, is_end)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            counts.fault = f"line {error.lineno}, column {error.offset + 1}: {reason}"
            if not counts.used:
                raise _GpxInvalid(counts.fault) from error
            yield from segments.take_pieces()
            window = (
                previous + data
            )  # a tag that is cut off can begin in the previous block
            rest = window[len(window) - (size - parser.ErrorByteIndex) :]
            unread = sum(
                len(_POINT_START.findall(block)) for block in chain([rest], blocks)
            )
            counts.unreadable = segments.is_in_point + unread
            counts.read += counts.unreadable
            return
        if size - parser.CurrentByteIndex > _MOST_UNREAD_BYTES:
            raise _invalid(
                parser,
                f"a tag or comment is longer than {_MOST_UNREAD_BYTES >> 20} MiB",
            )
        yield from segments.take_pieces()
        previous, data = data, next(blocks, b"")


def _declaration_first(data: bytes) -> bytes:
    # The start of a file whose XML declaration, if it has one, comes before blank lines, as expat wants it.
    #
    # People leave blank lines and byte order marks there with text editors. Later lines keep their numbers.
    encoding = encoding_of(data)
    mark = "\ufeff".encode(encoding)
    start = b"" if encoding == "utf-8" else mark

    def in_order(match: re.Match[bytes]) -> bytes:
        return start + (match[2] or b"") + match[1].replace(mark, b"")

    return _STARTS[encoding].sub(in_order, data, count=1)


def _invalid(parser: expat.XMLParserType, reason: str) -> _GpxInvalid:
    return _GpxInvalid(f"line {parser.CurrentLineNumber}: {reason}")


class _SegmentReader:
    def __init__(self, parser: expat.XMLParserType, counts: PointCounts) -> None:
        self._parser = parser
        self._counts = counts
        self._depth = 0
        # How many of the open elements, from the root on, are those of _PATH.
        self._matched = 0
        self._position: dict[str, str] = {}
        self._time = ""
        self._pieces: list[list[tuple[float, float, float]]] = [[]]
        # Whether the first piece is the start of its segment. All others are.
        self._is_start = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.XmlDeclHandler = self._check_declaration
        parser.StartDoctypeDeclHandler = self._refuse_document_type

    @property
    def is_in_point(self) -> bool:
        return self._matched >= _POINT

    def take_pieces(self) -> Iterator[SegmentPiece]:
        pieces, self._pieces = self._pieces, [[]]
        for number, points in enumerate(pieces):
            if points:
                is_start = number > 0 or self._is_start
                yield SegmentPiece(np.array(points, np.float64), is_start)
        self._is_start = not pieces[-1] and (len(pieces) > 1 or self._is_start)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if (
            self._depth == self._matched
            and name.rpartition(":")[2] == _PATH[self._matched]
        ):
            self._matched += 1
            match self._matched:
                case 3:
                    self._pieces.append([])
                case 4:
                    self._position = attributes
                    self._time = ""
                case 5:
                    self._parser.CharacterDataHandler = self._add_time
        elif not self._depth:
            raise _invalid(
                self._parser, f"its first element is {name[:40]!r} and not 'gpx'"
            )
        elif self._depth == _MOST_DEPTH:
            raise _invalid(
                self._parser, f"more than {_MOST_DEPTH} elements are inside each other"
            )
        self._depth += 1

    def _end(self, _name: str) -> None:
        if self._depth == self._matched:
            if self._matched == _TIME:
                self._parser.CharacterDataHandler = None
            elif self._matched == _POINT:
                self._counts.read += 1
                position = _parse_position(self._position)
                time = self._time.strip()
                seconds = _parse_time(time)
                if not time:
                    self._counts.without_time += 1
                elif seconds is None:
                    self._counts.invalid_time += 1
                elif position is None:
                    self._counts.invalid_position += 1
                else:
                    self._pieces[-1].append((seconds, *position))
            self._matched -= 1
        self._depth -= 1

    def _add_time(self, text: str) -> None:
        if len(self._time) <= _TIME_LENGTH:
            self._time += text

    def _check_declaration(
        self, _version: str, encoding: str | None, _standalone: int
    ) -> None:
        if encoding is not None and not _ENCODINGS.fullmatch(encoding):
            raise _invalid(
                self._parser, f"its encoding {encoding[:40]!r} is not supported"
            )

    def _refuse_document_type(self, *_declaration: object) -> None:
        raise _invalid(self._parser, "it has a document type, which GPX has not")


def _parse_position(attributes: dict[str, str]) -> tuple[float, float] | None:
    try:
        latitude, longitude = (
            float(plain_number(attributes[name])) for name in ("lat", "lon")
        )
    except (KeyError, ValueError):
        return None
    if not is_on_earth(latitude, longitude) or (latitude, longitude) == (0, 0):
        return None
    return latitude, longitude


def _parse_time(text: str) -> float | None:
    # Seconds since 1970. A time without a zone is in UTC, as GPX has it; a date alone is no time.
    try:
        time = datetime.fromisoformat(with_ascii_digits(text))
    except ValueError:
        return None
    if ":" not in text:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return time.timestamp() if EARLIEST <= time < LATEST else None


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
_POINT_TYPE = np.dtype("<f8")


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
            size = spool.write(points.astype(_POINT_TYPE).tobytes())
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
