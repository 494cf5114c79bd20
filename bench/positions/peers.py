"""The rules of other programs, from their documentation and source.

Each gets the GPS of all photos, whichever device took them, and times in UTC as far as clocks and time zones tell them.
"""

from __future__ import annotations

import numpy as np

from bench.positions.answers import Answers, no_answers
from bench.positions.photos import Photos
from tagger.positions.estimation import Indices, Truth, distances_m

HOUR_S = 3600.0


OSXPHOTOS_WINDOW_S = HOUR_S


def osxphotos(photos: Photos) -> Answers:
    """Give a photo the location of the nearest photo in time, at most one hour away.

    `get_location` of `osxphotos add-locations` (osxphotos/cli/add_locations.py, version 0.77.2, https://rhettbull.github.io/osxphotos/).
    """
    anchors = _anchors(photos)
    answers = no_answers(len(photos))
    for photo in _sought(photos):
        earlier, later = _around(photos, anchors, photo)
        before_s, after_s = _seconds_to(photos, photo, earlier), _seconds_to(photos, photo, later)
        nearest, seconds = (earlier, before_s) if before_s < after_s else (later, after_s)
        if nearest is not None and seconds <= OSXPHOTOS_WINDOW_S:
            _answer(answers, photo, photos.gps_latitude[nearest], photos.gps_longitude[nearest])
    return answers


GEO_MAX_INT_S = GEO_MAX_EXT_S = 1800.0


def exiftool(photos: Photos) -> Answers:
    """Interpolate in the track that the photos with GPS are, or take its nearest fix.

    `exiftool -geotag` with the defaults of GeoMaxIntSecs and GeoMaxExtSecs (lib/Image/ExifTool/Geotag.pm 1.88 in ExifTool 13.58,
    https://exiftool.org/geotag.html): linear between fixes at most GeoMaxIntSecs apart, else the nearest fix within GeoMaxExtSecs.
    """
    anchors = _anchors(photos)
    answers = no_answers(len(photos))
    for photo in _sought(photos):
        earlier, later = _around(photos, anchors, photo)
        before_s, after_s = _seconds_to(photos, photo, earlier), _seconds_to(photos, photo, later)
        if earlier is not None and later is not None and before_s + after_s <= GEO_MAX_INT_S:
            fraction = before_s / (before_s + after_s) if before_s + after_s else 0.0
            _answer(answers, photo, *_moving(photos, earlier, later, fraction))
            continue
        nearest, seconds = (earlier, before_s) if before_s < after_s else (later, after_s)
        if nearest is not None and seconds <= GEO_MAX_EXT_S:
            _answer(answers, photo, photos.gps_latitude[nearest], photos.gps_longitude[nearest])
    return answers


PHOTOPRISM_SEARCH_S, PHOTOPRISM_MAX_H = 37 * HOUR_S, 36
PHOTOPRISM_MAX_KM, PHOTOPRISM_MAX_ERROR_M = 100.0, 1000.0
MAX_KM_H, MAX_SHORT_KM_H, SHORT_S = 900.0, 200.0, 60.0


def photoprism(photos: Photos, *, places: bool = False) -> Answers:
    """Estimate from the two photos with GPS that are nearest in time, at most 36 h away.

    If they are less than 100 km apart and the accuracy is better than 1 km, the position is that of a constant movement through both;
    outside of them the square root of the seconds counts. Otherwise PhotoPrism adopts the place of the nearest photo, without
    coordinates; `places` takes the coordinates of that photo for it. `Photo.EstimateLocation` and `geo.Movement`
    (internal/entity/photo_estimate.go, pkg/geo/movement.go at commit 382ffa8 of December 2024,
    https://docs.photoprism.app/user-guide/organize/estimates/).
    """
    anchors = _anchors(photos)
    answers = no_answers(len(photos))
    for photo in _sought(photos):
        away_s = np.abs(photos.utc[anchors] - photos.utc[photo])
        nearest = anchors[np.argsort(away_s, kind="stable")[:2]]
        nearest = nearest[np.abs(photos.utc[nearest] - photos.utc[photo]) <= PHOTOPRISM_SEARCH_S]
        if (
            not len(nearest)
            or int(abs(photos.utc[nearest[0]] - photos.utc[photo]) / HOUR_S) > PHOTOPRISM_MAX_H
        ):
            continue
        estimate = (
            _movement_estimate(photos, photo, *sorted(nearest, key=lambda i: photos.utc[i]))
            if len(nearest) == 2
            else None
        )
        if estimate is not None:
            _answer(answers, photo, *estimate)
        elif places:
            _answer(answers, photo, photos.gps_latitude[nearest[0]], photos.gps_longitude[nearest[0]])
    return answers


def _movement_estimate(photos: Photos, photo: int, start: int, end: int) -> tuple[float, float, float] | None:
    """Return latitude, longitude and accuracy in metres, unless they are too far apart or the accuracy is bad."""
    seconds = photos.utc[end] - photos.utc[start]
    metres = _distance_m(photos, start, end)
    km_h = metres / 1000 / (seconds / HOUR_S) if seconds else 0.0
    is_realistic = km_h <= MAX_KM_H and (km_h <= MAX_SHORT_KM_H or seconds >= SHORT_S)
    since = photos.utc[photo] - photos.utc[start]
    outside_s = max(-since, since - seconds, 0.0)
    if not is_realistic:
        accuracy_m = metres / 2
    elif outside_s:
        accuracy_m = km_h * np.sqrt(outside_s / HOUR_S * 1000)
    else:
        accuracy_m = metres / 20
    accuracy_m = max(5.0, accuracy_m)
    if metres / 1000 >= PHOTOPRISM_MAX_KM or accuracy_m >= PHOTOPRISM_MAX_ERROR_M:
        return None
    if is_realistic:
        moving_s = np.copysign(np.sqrt(abs(since)), since) if outside_s else since
        fraction = moving_s / seconds if seconds >= 1 else 0.0
    elif metres < 1000:
        fraction = 0.5
    else:
        fraction = 0.0 if abs(since) <= abs(seconds - since) else 1.0
    return *_moving(photos, start, end, fraction), accuracy_m


def _anchors(photos: Photos) -> Indices:
    """Photos with GPS and a date, in order of their times."""
    anchors = np.flatnonzero(np.isfinite(photos.gps_latitude) & photos.is_dated)
    return anchors[np.argsort(photos.utc[anchors], kind="stable")]


def _sought(photos: Photos) -> Indices:
    is_sought: Truth = np.isnan(photos.gps_latitude) & photos.is_dated
    return np.flatnonzero(is_sought)


def _around(photos: Photos, anchors: Indices, photo: int) -> tuple[int | None, int | None]:
    """Return the anchors before and after, either of which may be missing."""
    place = int(np.searchsorted(photos.utc[anchors], photos.utc[photo], side="right"))
    return (anchors[place - 1] if place else None), (anchors[place] if place < len(anchors) else None)


def _seconds_to(photos: Photos, photo: int, other: int | None) -> float:
    return float("inf") if other is None else abs(float(photos.utc[other] - photos.utc[photo]))


def _moving(photos: Photos, start: int, end: int, fraction: float) -> tuple[float, float]:
    """The position on the way from one photo to the other, linear in degrees as all these programs have it."""
    latitude, longitude = photos.gps_latitude, photos.gps_longitude
    return (
        float(latitude[start] + fraction * (latitude[end] - latitude[start])),
        float(longitude[start] + fraction * (longitude[end] - longitude[start])),
    )


def _distance_m(photos: Photos, start: int, end: int) -> float:
    latitude, longitude = photos.gps_latitude, photos.gps_longitude
    [metres] = distances_m(latitude[[start]], longitude[[start]], latitude[[end]], longitude[[end]])
    return float(metres)


def _answer(answers: Answers, photo: int, latitude: float, longitude: float, error_m: float = np.inf) -> None:
    answers.latitude[photo], answers.longitude[photo], answers.error_m[photo] = latitude, longitude, error_m
