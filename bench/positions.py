"""Measures position estimates on real GPS tracks with simulated photos.

    python -m bench.positions TRACKS… [--hidden 0.7] [--draws 4] [--seed 0]

TRACKS are folders of GPX files; the files of one folder are the movement of one person. A phone takes
photos on it, the GPS of most bursts is hidden, and the tagger estimates where these photos were taken.
"""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.report import note, print_heading, print_table
from tagger.library.positions.estimation import QUANTILE_90, Floats, Indices, Truth, distances_m, estimate
from tagger.library.positions.estimation import Sequence as Line

MAX_GAP_S = 7200.0
CAMERA_TRUST = 3
BETWEEN_MIN = (0, 10, 30, 60, 121, np.inf)
NEAR_MIN = (0, 2, 10, 31, np.inf)
FIGURES = ("photos", "located", "median", "90 %", "median stated", "within", "within twice")
STEP_S = 10.0
MAX_STEP_S = 120.0
"""Between two points of a track that are farther apart, a position is known only if the person stayed."""
MAX_STAY_S = 3 * 3600.0
STAY_M = 150.0
LEAST_S = 600.0
BURST_GAP_S = 900.0
"""Median time between bursts; two thirds of the times are within a factor of e^BURST_SPREAD."""
BURST_SPREAD = 1.2
MOST_IN_BURST = 8
IN_BURST_S = 12.0
PHONE_ERROR_M = (5.0, 30.0)
STALE = 0.03
STALE_S = 900.0
M_PER_DEGREE = 111_195.0


@dataclass(frozen=True)
class Movement:
    """One person's known positions, every STEP_S seconds, with gaps where the tracks have them."""

    at: Floats
    """(N,) Seconds since 1970 UTC, ascending."""
    latitude: Floats
    longitude: Floats


@dataclass(frozen=True)
class Photos:
    """Photos of one person, N of them, in order of the time when they were taken."""

    at: Floats
    """(N,) Seconds since 1970 UTC when the photo was taken."""
    latitude: Floats
    """(N,) Where the photo was taken. So is longitude."""
    longitude: Floats
    gps_latitude: Floats
    """(N,) What the file says; not a number: no GPS. So are longitude and error."""
    gps_longitude: Floats
    gps_error_m: Floats

    def __len__(self) -> int:
        return len(self.at)


@dataclass(frozen=True)
class Located:
    """What is estimated of all photos without GPS, N of them."""

    error_m: Floats
    """(N,) Not a number if not located."""
    stated_m: Floats
    """(N,) The error that the estimate states."""
    before_s: Floats
    """(N,) To the anchor before; infinite if the position does not follow from one. So is after_s."""
    after_s: Floats

    def only(self, chosen: Truth) -> Located:
        """Return some of the photos."""
        return Located(*(getattr(self, field.name)[chosen] for field in fields(self)))


def main() -> None:
    """Hide the positions of simulated photos on GPS tracks, and estimate them."""
    parser = argparse.ArgumentParser(prog="python -m bench.positions", description=main.__doc__)
    tracks = "folders of GPX files, one of each person"
    parser.add_argument("tracks", type=Path, nargs="+", metavar="TRACKS", help=tracks)
    parser.add_argument("--hidden", type=float, default=0.7, help="share of the bursts without GPS [0.7]")
    parser.add_argument("--draws", type=int, default=4, help="drawn sets of photos for each person [4]")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn [0]")
    args = parser.parse_args()
    movements = read_movements(args.tracks)
    if not movements:
        raise SystemExit("no GPX file has a track with times")
    print_heading("Positions")
    libraries = list(_libraries(movements, args.hidden, args.draws, args.seed))
    _print_calibration(_measure(libraries))
    print(
        f"{len(movements)} persons, {sum(map(len, libraries))} photos, {args.draws} draws, {args.hidden:.0%} of the bursts "
        f"without GPS. Errors are in metres.\n"
    )


def _libraries(movements: list[Movement], hidden: float, draws: int, seed: int) -> Iterator[Photos]:
    for number, movement in enumerate(movements):
        for draw in range(draws):
            yield take_photos(movement, hidden, np.random.default_rng((seed, number, draw)))


def _measure(libraries: Sequence[Photos]) -> Located:
    """Estimate the photos of each person."""
    measured = [_measure_library(photos) for photos in libraries]
    return Located(
        *(np.concatenate([getattr(part, field.name) for part in measured]) for field in fields(Located))
    )


def _measure_library(photos: Photos) -> Located:
    is_hidden = np.isnan(photos.gps_latitude)
    trust = np.where(is_hidden, 0, CAMERA_TRUST)
    line = Line(photos.at, photos.gps_latitude, photos.gps_longitude, photos.gps_error_m, trust)
    estimates = estimate(line, MAX_GAP_S)
    error_m = distances_m(photos.latitude, photos.longitude, estimates.latitude, estimates.longitude)
    before_s, after_s = (
        np.where(anchor >= 0, np.abs(photos.at - photos.at[anchor]), np.inf)
        for anchor in (estimates.before, estimates.after)
    )
    return Located(error_m, estimates.error_m, before_s, after_s).only(is_hidden)


def _print_calibration(located: Located) -> None:
    """Whether errors hold at each length of time, not only on average."""
    between_min = (located.before_s + located.after_s) / 60
    nearest_min = np.minimum(located.before_s, located.after_s) / 60
    is_between = np.isfinite(between_min)
    groups = {
        f"between two, {_range(low, high)} apart": is_between & (low <= between_min) & (between_min < high)
        for low, high in pairwise(BETWEEN_MIN)
    } | {
        f"near one, {_range(low, high)} away": ~is_between & (low <= nearest_min) & (nearest_min < high)
        for low, high in pairwise(NEAR_MIN)
    }
    rows: list[tuple[object, ...]] = [("all", *_figures(located))]
    rows += [(name, *_figures(located.only(group))) for name, group in groups.items() if group.any()]
    print_table(("anchors", *FIGURES), rows)


def _range(low: float, high: float) -> str:
    return f"{low} to {high} min" if np.isfinite(high) else f"over {low} min"


def _figures(found: Located) -> tuple[object, ...]:
    is_located = np.isfinite(found.error_m)
    if not is_located.any():
        return len(is_located), "0%", "", "", "", "", ""
    error_m, stated_m = found.error_m[is_located], found.stated_m[is_located]
    return (
        len(is_located),
        f"{is_located.mean():.0%}",
        *(float(value) for value in np.percentile(error_m, (50, 90))),
        float(np.median(stated_m)),
        f"{(error_m <= stated_m).mean():.1%}",
        f"{(error_m <= 2 * stated_m).mean():.1%}",
    )


def read_movements(folders: Sequence[Path]) -> list[Movement]:
    """Read the GPX files under `folders`; those of one folder belong to one person."""
    files = sorted({file for folder in folders for file in folder.rglob("*.gpx")})
    persons = sorted({file.parent for file in files})
    movements = [_movement([file for file in files if file.parent == person]) for person in persons]
    return [movement for movement in movements if len(movement.at)]


def _movement(files: Sequence[Path]) -> Movement:
    tracks = [track for file in files for track in _tracks(file)]
    points = np.concatenate([np.empty((0, 3)), *tracks])
    _, first = np.unique(points[:, 0], return_index=True)
    at, latitude, longitude = points[first].T
    return _on_grid(at, latitude, longitude)


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
    else:
        yield track


def _on_grid(at: Floats, latitude: Floats, longitude: Floats) -> Movement:
    """Interpolate the points every STEP_S seconds; a running median removes single wrong fixes."""
    if len(at) < 2:
        nothing = np.empty(0)
        return Movement(nothing, nothing, nothing)
    gaps_s, gaps_m = np.diff(at), _steps_m(latitude, longitude)
    is_known = (gaps_s <= MAX_STEP_S) | ((gaps_m <= STAY_M) & (gaps_s <= MAX_STAY_S))
    grid = np.concatenate(
        [np.arange(start, end, STEP_S) for start, end in _known_spans(at, is_known)] or [np.empty(0)]
    )
    unwrapped = np.unwrap(longitude, period=360)
    latitudes = _running_median(np.interp(grid, at, latitude))
    longitudes = (_running_median(np.interp(grid, at, unwrapped)) + 180) % 360 - 180
    return Movement(grid, latitudes, longitudes)


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


def _steps_m(latitude: Floats, longitude: Floats) -> Floats:
    return distances_m(latitude[:-1], longitude[:-1], latitude[1:], longitude[1:])


def take_photos(movement: Movement, hidden: float, generator: np.random.Generator) -> Photos:
    """Draw the photos of one person: bursts of 1 to 8 photos, minutes to hours apart.

    Nobody publishes a library with its photos, its tracks and a licence that allows their use, so only the movement is real. Bursts
    lose their GPS with the probability `hidden`; some positions are minutes old.
    """
    bursts = _draw_bursts(movement, generator)
    sizes = np.minimum(generator.geometric(0.4, len(bursts)), MOST_IN_BURST)
    burst = np.repeat(np.arange(len(bursts)), sizes)
    within_s = generator.uniform(0, 2 * IN_BURST_S, len(burst))
    start = np.repeat(np.cumsum(sizes) - sizes, sizes)
    waited = np.cumsum(within_s)
    seconds = waited - waited[start] if len(burst) else waited
    index = np.minimum(bursts[burst] + np.round(seconds / STEP_S).astype(np.int64), len(movement.at) - 1)
    # A burst at the end of a known span has no position beyond it.
    is_known = movement.at[index] - movement.at[bursts[burst]] <= seconds + STEP_S
    index, burst, seconds = index[is_known], burst[is_known], seconds[is_known]
    at = movement.at[bursts[burst]] + seconds
    order = np.argsort(at, kind="stable")
    index, burst, at = index[order], burst[order], at[order]
    is_hidden = (generator.random(len(bursts)) < hidden)[burst]
    gps = (np.where(is_hidden, np.nan, values) for values in _gps(movement, index, at, generator))
    return Photos(at, movement.latitude[index], movement.longitude[index], *gps)


def _draw_bursts(movement: Movement, generator: np.random.Generator) -> Indices:
    """Return steps of the movement (B,), ascending."""
    steps = []
    at = movement.at[0]
    while at < movement.at[-1]:
        at += BURST_GAP_S * float(np.exp(BURST_SPREAD * generator.standard_normal()))
        step = int(np.searchsorted(movement.at, at))
        if step < len(movement.at) and movement.at[step] - at <= STEP_S:
            steps.append(step)
        else:  # nothing is known here: the next photo is taken when it is
            at = movement.at[min(step, len(movement.at) - 1)]
    return np.unique(np.array(steps, np.int64))


def _gps(
    movement: Movement, index: Indices, at: Floats, generator: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Latitude, longitude and error: 90 % of the positions lie within it, unless they are old."""
    age_s = np.where(generator.random(len(at)) < STALE, generator.uniform(0, STALE_S, len(at)), 0.0)
    seen = np.where(age_s > 0, np.searchsorted(movement.at, at - age_s), index)
    error_m = generator.uniform(*PHONE_ERROR_M, len(at))
    north, east = generator.standard_normal((2, len(at))) * error_m / QUANTILE_90 / M_PER_DEGREE
    latitude = movement.latitude[seen]
    longitude = movement.longitude[seen] + east / np.cos(np.radians(latitude))
    return np.clip(latitude + north, -89.0, 89.0), (longitude + 180) % 360 - 180, error_m


if __name__ == "__main__":
    main()
