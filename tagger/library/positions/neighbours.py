"""The positions that photos get from photos taken before and after: of the same camera, and of cameras that are used with it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tagger.database.enums import PositionSource
from tagger.library.positions import estimation
from tagger.library.positions.companions import estimate_together
from tagger.library.positions.evidence import TRUST, Fix, Shot


@dataclass(frozen=True)
class _Timed:
    """A photo with the time of a clock. `fix`: its anchor."""

    photo_id: int
    at: float
    is_utc: bool
    fix: Fix | None


def estimate_fixes(cameras: Sequence[Sequence[Shot]], max_gap_s: float) -> dict[int, Fix]:
    """Estimates by photo id, of photos of cameras that are used together.

    An anchor by a camera's GPS keeps its position, even if others contradict it. Photos whose time is not known in UTC are estimated from
    those of their own camera.
    """
    lines = [_timed(shots) for shots in cameras]
    found: dict[int, Fix] = {}
    for line in lines:
        companions = _anchors_in_utc(other for other in lines if other is not line)
        own = _sequence(line)
        if not companions or not all(photo.is_utc for photo in line):
            alone = estimation.estimate(own, max_gap_s)
            found |= _fixes(line, line, alone, {False} if companions else {False, True})
        if companions:
            together = estimate_together(own, _sequence(companions), max_gap_s)
            found |= _fixes(line, [*line, *companions], together, {True})
    return found


def _timed(shots: Sequence[Shot]) -> list[_Timed]:
    return [
        _Timed(shot.photo_id, shot.at, shot.is_utc, shot.fix)
        for shot in shots
        if shot.at is not None and shot.is_original
    ]


def _anchors_in_utc(lines: Iterator[Sequence[_Timed]]) -> list[_Timed]:
    anchors = [photo for line in lines for photo in line if photo.is_utc and photo.fix is not None]
    return sorted(anchors, key=lambda photo: (photo.at, photo.photo_id))


def _sequence(photos: Sequence[_Timed]) -> estimation.Sequence:
    nothing = (np.nan,) * 3
    rows = [
        (photo.at, *((fix.latitude, fix.longitude, fix.error_m) if (fix := photo.fix) else nothing))
        for photo in photos
    ]
    at, latitude, longitude, error_m = np.array(rows, np.float64).reshape(-1, 4).T
    trust = np.array([TRUST[photo.fix.source] if photo.fix else 0 for photo in photos], np.int64)
    return estimation.Sequence(at, latitude, longitude, error_m, trust)


def _fixes(
    line: Sequence[_Timed],
    evidence: Sequence[_Timed],
    found: estimation.Estimates,
    is_utc: Container[bool],
) -> dict[int, Fix]:
    """The estimates by photo id, of photos whose time is known in UTC, or is not."""
    located = [(line[index], index) for index in np.flatnonzero(np.isfinite(found.error_m)).tolist()]
    return {
        photo.photo_id: Fix(
            float(found.latitude[index]),
            float(found.longitude[index]),
            float(found.error_m[index]),
            PositionSource.NEIGHBOUR,
            _evidence(photo, evidence, int(found.before[index]), int(found.after[index])),
        )
        for photo, index in located
        if photo.is_utc in is_utc and not _has_gps(photo)
    }


def _has_gps(photo: _Timed) -> bool:
    return photo.fix is not None and photo.fix.source is PositionSource.CAMERA


def _evidence(photo: _Timed, evidence: Sequence[_Timed], before: int, after: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, anchor in (("before", before), ("after", after)):
        if anchor >= 0:
            seconds = abs(evidence[anchor].at - photo.at)
            found |= {name: evidence[anchor].photo_id, f"{name}_s": round(seconds)}
    return found
