"""Reads the tracks of GPX files (1.0 and 1.1) as a stream. Knows nothing of SQL.

Only points of tracks (`trkpt`) say where somebody was, and when. Waypoints and routes are plans, and are
ignored. Names are compared without their namespace, which many programs write wrong.

expat builds no tree, but keeps the names of open elements, so deep nesting is refused. Before version 2.6, it
reads a tag or comment again from its start with each block, so long ones are refused. So are documents with a
document type, which alone defines entities. A file that breaks off, as that of a device whose battery was
empty does, has good points up to there. (gpxpy keeps none of them, nor any of a file with one invalid number,
and needs 16 bytes of memory for each of the file.)
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import IO, BinaryIO
from xml.parsers import expat

import numpy as np
import numpy.typing as npt

from tagger.errors import ImportRefused, PathNotFound, SystemRefused
from tagger.photos.files import open_at_once
from tagger.texts.documents import encoding_of
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
        counts = {
            name: count
            for name, count in vars(self).items()
            if name not in {"read", "fault"}
        }
        return {name: count for name, count in counts.items() if count}


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
    is_on_earth = abs(latitude) <= 90 and abs(longitude) <= 180  # not a number is not
    return (
        (latitude, longitude)
        if is_on_earth and (latitude, longitude) != (0, 0)
        else None
    )


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
