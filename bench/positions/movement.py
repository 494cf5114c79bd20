"""Where people were, from GPX files: positions every ten seconds wherever the files tell them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.report import note
from tagger.positions.estimation import distances_m

Floats = npt.NDArray[np.float64]

STEP_S = 10.0
MAX_STEP_S = 120.0
"""Between two points of a track that are farther apart, a position is known only if the person stayed."""
MAX_STAY_S = 3 * 3600.0
STAY_M = 150.0
LEAST_VARIATION = 0.05
"""Standard deviation of the speed over its mean; route planners write times of one constant speed."""
LEAST_S = 600.0
KIND_WINDOW = 61
"""Steps: the kind of movement is that of the fastest minute within ten minutes."""
MINUTE = 6
DAY_S = 86400.0
DAYS_BETWEEN_TRIPS = 7

KINDS = ("on foot", "bicycle, run", "road, rail", "flight")
KIND_SPEEDS_M_S = (2.2, 8.0, 75.0)
"""The fastest minute of a kind is slower than this; 8, 29 and 270 km/h."""


@dataclass(frozen=True)
class Movement:
    """One person's known positions, every STEP_S seconds, with gaps where the tracks have them."""

    person: str
    at: Floats
    """(N,) Seconds since 1970 UTC, ascending."""
    latitude: Floats
    longitude: Floats
    speed_m_s: Floats
    kind: npt.NDArray[np.int64]
    """(N,) Index of KINDS."""


def read_movements(folders: Sequence[Path]) -> list[Movement]:
    """Read the GPX files under `folders`; those of one folder belong to one person."""
    files = sorted({file for folder in folders for file in folder.rglob("*.gpx")})
    persons = sorted({file.parent for file in files})
    movements = [_movement(person, [file for file in files if file.parent == person]) for person in persons]
    return [movement for movement in movements if len(movement.at)]


def repeat(movement: Movement, trips: int) -> Movement:
    """The same movement several times, a week after it has ended: a person's trips that are like each other."""
    days = np.ceil(np.ptp(movement.at) / DAY_S) + DAYS_BETWEEN_TRIPS
    later_s = DAY_S * days * np.arange(trips)
    return replace(
        movement,
        at=(movement.at + later_s[:, None]).reshape(-1),
        latitude=np.tile(movement.latitude, trips),
        longitude=np.tile(movement.longitude, trips),
        speed_m_s=np.tile(movement.speed_m_s, trips),
        kind=np.tile(movement.kind, trips),
    )


def _movement(person: Path, files: Sequence[Path]) -> Movement:
    tracks = [track for file in files for track in _tracks(file)]
    points = np.concatenate([np.empty((0, 3)), *tracks])
    _, first = np.unique(points[:, 0], return_index=True)
    at, latitude, longitude = points[first].T
    return _on_grid(person.name, at, latitude, longitude)


def _tracks(file: Path) -> Iterator[npt.NDArray[np.float64]]:
    """Yield a track of the file: (N, 3) of seconds, latitude and longitude in order of time."""
    points = []
    for _, element in ET.iterparse(file):
        if element.tag.endswith("}trkpt"):
            time = element.find(element.tag.replace("trkpt", "time"))
            if time is not None and time.text:
                at = datetime.fromisoformat(time.text.strip()).timestamp()
                points.append((at, float(element.get("lat", "nan")), float(element.get("lon", "nan"))))
            element.clear()
    track = np.array(sorted(points)).reshape(-1, 3)
    if len(track) < 2 or np.ptp(track[:, 0]) < LEAST_S:
        note(f"{file.name}: no times, or less than {LEAST_S:.0f} s")
    elif _is_generated(track):
        note(f"{file.name}: left out, of one constant speed")
    else:
        yield track


def _is_generated(track: npt.NDArray[np.float64]) -> bool:
    at, latitude, longitude = track.T
    travelled_m = np.concatenate([[0.0], np.cumsum(_steps_m(latitude, longitude))])
    speeds = np.diff(np.interp(np.arange(at[0], at[-1], 60.0), at, travelled_m))
    return bool(speeds.mean() > 0 and speeds.std() < LEAST_VARIATION * speeds.mean())


def _on_grid(person: str, at: Floats, latitude: Floats, longitude: Floats) -> Movement:
    """Interpolate the points every STEP_S seconds; a running median removes single wrong fixes."""
    if len(at) < 2:
        nothing = np.empty(0)
        return Movement(person, nothing, nothing, nothing, nothing, np.empty(0, np.int64))
    gaps_s, gaps_m = np.diff(at), _steps_m(latitude, longitude)
    is_known = (gaps_s <= MAX_STEP_S) | ((gaps_m <= STAY_M) & (gaps_s <= MAX_STAY_S))
    grid = np.concatenate(
        [np.arange(start, end, STEP_S) for start, end in _known_spans(at, is_known)] or [np.empty(0)]
    )
    unwrapped = np.unwrap(longitude, period=360)
    latitudes = _running_median(np.interp(grid, at, latitude))
    longitudes = (_running_median(np.interp(grid, at, unwrapped)) + 180) % 360 - 180
    steps_s, steps_m = np.diff(grid), _steps_m(latitudes, longitudes)
    speed = np.append(np.where(steps_s <= 2 * STEP_S, steps_m / np.maximum(steps_s, STEP_S), 0.0), 0.0)[
        : len(grid)
    ]
    return Movement(person, grid, latitudes, longitudes, speed, _kinds(speed))


def _known_spans(at: Floats, is_known: npt.NDArray[np.bool_]) -> Iterator[tuple[float, float]]:
    breaks = np.flatnonzero(~is_known)
    starts, ends = np.concatenate([[0], breaks + 1]), np.concatenate([breaks, [len(at) - 1]])
    for start, end in zip(starts, ends, strict=True):
        if at[end] - at[start] >= STEP_S:
            yield np.ceil(at[start] / STEP_S) * STEP_S, at[end]


def _running_median(values: Floats) -> Floats:
    if len(values) < 5:
        return values
    padded = np.pad(values, 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=-1)


def _kinds(speed: Floats) -> npt.NDArray[np.int64]:
    if not len(speed):
        return np.empty(0, np.int64)
    minute = np.convolve(speed, np.ones(MINUTE) / MINUTE, mode="same")
    padded = np.pad(minute, KIND_WINDOW, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * KIND_WINDOW + 1)
    kinds: npt.NDArray[np.int64] = np.digitize(windows.max(axis=-1), KIND_SPEEDS_M_S)
    return kinds


def _steps_m(latitude: Floats, longitude: Floats) -> Floats:
    return distances_m(latitude[:-1], longitude[:-1], latitude[1:], longitude[1:])
