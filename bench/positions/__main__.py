"""Measures position estimates on real GPS tracks with simulated photos, beside the rules of other programs.

    python -m bench.positions TRACKS… [--hidden 0.7] [--trips 10] [--draws 4] [--seed 0]

TRACKS are folders of GPX files; the files of one folder are the movement of one person, who repeats it every few weeks. A phone and a camera without GPS take
photos on it, the GPS of most bursts of the phone is hidden, and each rule says where the photos were taken.
"""

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.positions import peers
from bench.positions.measurement import Located, measure
from bench.positions.movement import KINDS, Movement, read_movements, repeat
from bench.positions.ours import meetings, tagger, tagger_of_each_camera, tagger_of_one_clock, times_in_utc
from bench.positions.photos import CAMERA, DEVICES, PHONE, Photos, take_photos
from bench.report import print_heading, print_table
from tagger.positions.estimation import Floats

MAX_GAP_S = 7200.0
WRONG_CLOCK_S = 1800.0
BETWEEN_MIN = (0, 10, 30, 60, 121, np.inf)
NEAR_MIN = (0, 2, 10, 31, np.inf)
OURS = "tagger"
RULES = {
    OURS: lambda photos: tagger(photos, MAX_GAP_S),
    "tagger, each camera alone": lambda photos: tagger_of_each_camera(photos, MAX_GAP_S),
    "tagger, one clock": lambda photos: tagger_of_one_clock(photos, MAX_GAP_S),
    "PhotoPrism": peers.photoprism,
    "PhotoPrism, places": lambda photos: peers.photoprism(photos, places=True),
    "osxphotos": peers.osxphotos,
    "exiftool": peers.exiftool,
}


def main() -> None:
    """Hide the positions of simulated photos on GPS tracks, and estimate them."""
    parser = argparse.ArgumentParser(prog="python -m bench.positions", description=main.__doc__)
    parser.add_argument(
        "tracks", type=Path, nargs="+", metavar="TRACKS", help="folders of GPX files, one of each person"
    )
    parser.add_argument(
        "--hidden", type=float, default=0.7, help="share of the phone's bursts without GPS [0.7]"
    )
    parser.add_argument("--trips", type=int, default=10, help="times that each person moves like this [10]")
    parser.add_argument("--draws", type=int, default=4, help="drawn sets of photos for each person [4]")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn [0]")
    args = parser.parse_args()
    movements = read_movements(args.tracks)
    if not movements:
        raise SystemExit("no GPX file has a track with times")
    print_heading("Positions")
    report(movements, args.hidden, args.trips, args.draws, args.seed)


def report(movements: list[Movement], hidden: float, trips: int, draws: int, seed: int) -> None:
    """Print all tables."""
    libraries = list(_libraries([repeat(each, trips) for each in movements], hidden, draws, seed))
    located = {name: measure(libraries, rule) for name, rule in RULES.items()}
    _print_movement(movements, libraries)
    for device in (PHONE, CAMERA):
        _print_rules(located, device)
    _print_calibration(located[OURS])
    _print_companions(libraries)
    print(
        f"{sum(map(len, libraries))} photos, {draws} draws of {trips} trips, {hidden:.0%} of the phone's bursts without GPS. Errors are in metres. Undated photos "
        f"count as not located. PhotoPrism gives some photos only the name of a place; 'places' takes the position of the photo that the "
        f"name comes from. 'One clock' tells what the tagger could do if it knew how the clocks of all devices differ.\n"
    )


def _libraries(movements: list[Movement], hidden: float, draws: int, seed: int) -> Iterator[Photos]:
    for number, movement in enumerate(movements):
        for draw in range(draws):
            yield take_photos(movement, hidden, np.random.default_rng((seed, number, draw)))


def _print_movement(movements: list[Movement], libraries: list[Photos]) -> None:
    counts = np.bincount(np.concatenate([photos.kind for photos in libraries]), minlength=len(KINDS))
    rows = [
        (
            kind,
            f"{sum((movement.kind == number).sum() for movement in movements) / 360:.0f}",
            int(counts[number]),
        )
        for number, kind in enumerate(KINDS)
    ]
    days = sum(len(np.unique(movement.at // 86400)) for movement in movements)
    print_table((f"{len(movements)} persons, {days} days: kind", "hours", "photos"), rows)


def _print_rules(located: dict[str, Located], device: int) -> None:
    rows = [
        (
            kind,
            name,
            *_figures(found.only((found.device == device) & ((found.kind == number) | (kind == "all")))),
        )
        for number, kind in ((-1, "all"), *enumerate(KINDS))
        for name, found in located.items()
    ]
    title = f"{DEVICES[device]} without GPS"
    print_table(
        (title, "rule", "photos", "located", "median", "90 %", "outside error", "outside twice the error"),
        rows,
    )


def _print_companions(libraries: list[Photos]) -> None:
    rows = []
    for name, is_chosen in (("says its time zone", True), ("does not", False)):
        chosen = [photos for photos in libraries if _says_zone(photos) == is_chosen]
        known = [photos for photos in chosen if np.isfinite(_cameras_utc(photos)).any()]
        is_wrong = [_is_clock_wrong(photos) for photos in known]
        together = [meetings(photos).are_companions for photos in known]
        rows.append((name, len(chosen), len(known), sum(is_wrong), sum(together)))
    names = (
        "the camera",
        "libraries",
        "time known in UTC",
        f"wrong by over {WRONG_CLOCK_S / 60:.0f} min",
        "companions",
    )
    print_table(names, rows)


def _says_zone(photos: Photos) -> bool:
    return bool(np.isfinite(photos.zone_s[photos.device == CAMERA]).any())


def _cameras_utc(photos: Photos) -> Floats:
    utc: Floats = times_in_utc(photos)[photos.device == CAMERA]
    return utc


def _is_clock_wrong(photos: Photos) -> bool:
    off_s = np.abs(_cameras_utc(photos) - photos.at[photos.device == CAMERA])
    return bool(np.nanmedian(off_s) > WRONG_CLOCK_S)


def _figures(found: Located) -> tuple[object, ...]:
    if not found.is_located.any():
        return len(found.is_located), "0 %", "", "", "", ""
    error_m = found.error_m[found.is_located]
    stated_m = found.stated_m[found.is_located]
    states = np.isfinite(stated_m).all()
    return (
        len(found.is_located),
        f"{found.is_located.mean():.0%}",
        *(float(value) for value in np.percentile(error_m, (50, 90))),
        f"{(error_m > stated_m).mean():.1%}" if states else "",
        f"{(error_m > 2 * stated_m).mean():.1%}" if states else "",
    )


def _print_calibration(found: Located) -> None:
    """Whether errors hold at each length of time, not only on average."""
    between_min = (found.before_s + found.after_s) / 60
    nearest_min = np.minimum(found.before_s, found.after_s) / 60
    is_between = np.isfinite(between_min)
    groups = {
        f"between two, {_range(low, high)} apart": is_between & (low <= between_min) & (between_min < high)
        for low, high in pairwise(BETWEEN_MIN)
    } | {
        f"near one, {_range(low, high)} away": ~is_between & (low <= nearest_min) & (nearest_min < high)
        for low, high in pairwise(NEAR_MIN)
    }
    rows = [
        (name, kind, int(chosen.sum()), *_calibration(found, chosen))
        for name, group in groups.items()
        for number, kind in ((-1, "all"), *enumerate(KINDS))
        for chosen in [group & found.is_located & ((found.kind == number) | (kind == "all"))]
        if chosen.any()
    ]
    names = ("anchors", "kind", "photos", "median", "90 %", "median stated", "within", "within twice")
    print_table(names, rows)


def _range(low: float, high: float) -> str:
    return f"{low} to {high} min" if np.isfinite(high) else f"over {low} min"


def _calibration(found: Located, chosen: np.ndarray) -> tuple[object, ...]:
    error_m, stated_m = found.error_m[chosen], found.stated_m[chosen]
    return (
        *(float(value) for value in np.percentile(error_m, (50, 90))),
        float(np.median(stated_m)),
        f"{(error_m <= stated_m).mean():.1%}",
        f"{(error_m <= 2 * stated_m).mean():.1%}",
    )


if __name__ == "__main__":
    main()
