"""What the tagger estimates: cameras that are used together share their anchors, others are lines of time of their own."""

from __future__ import annotations

import numpy as np

from bench.positions.answers import Answers, no_answers
from bench.positions.photos import CAMERA, DEVICES, PHONE, Photos
from tagger.positions.clocks import Passage, Sighting, Site, estimate_clock, passed_landmarks
from tagger.positions.companions import Meetings, count_meetings, estimate_together
from tagger.positions.estimation import Estimates, Floats, Indices, Sequence, Truth, estimate

CAMERA_TRUST, LANDMARK_TRUST = 3, 2


def tagger(photos: Photos, max_gap_s: float) -> Answers:
    """Estimate the photos of each device from the anchors of both, if their times are known in UTC and they were together."""
    answers = tagger_of_each_camera(photos, max_gap_s)
    if not meetings(photos).are_companions:
        return answers
    utc = times_in_utc(photos)
    lines = _lines(photos, utc)
    for line, other in zip(lines, reversed(lines), strict=True):
        own, anchors = _sequence(photos, line, utc), _anchors(photos, other, utc)
        estimates = estimate_together(own, anchors, max_gap_s)
        _fill(answers, line, estimates, own.at, np.concatenate([own.at, anchors.at]))
    return answers


def tagger_of_each_camera(photos: Photos, max_gap_s: float) -> Answers:
    """Estimate the photos of each device from its own anchors, by its own clock."""
    return _estimated(photos, photos.clock, _lines(photos, photos.clock), max_gap_s)


def tagger_of_one_clock(photos: Photos, max_gap_s: float) -> Answers:
    """Estimate the photos of all devices from all anchors, as if the offset of the camera's clock were known."""
    return _estimated(
        photos, photos.at, [_ordered(photos, np.ones(len(photos), np.bool_), photos.at)], max_gap_s
    )


def meetings(photos: Photos) -> Meetings:
    """On how many occasions the two devices were together, by what the tagger knows."""
    utc = times_in_utc(photos)
    phone, camera = (_anchors(photos, line, utc) for line in _lines(photos, utc))
    return count_meetings(phone, camera)


def times_in_utc(photos: Photos) -> Floats:
    """The times of photos as far as the tagger knows them in UTC; otherwise not a number."""
    utc = photos.clock - photos.zone_s
    is_unknown = np.isnan(photos.zone_s) & (photos.device == CAMERA)
    own = _sightings(photos, photos.clock, is_unknown)
    others = _sightings(photos, utc, photos.device == PHONE)
    clock_s = estimate_clock(own, others + _passed(photos, utc, is_unknown)) if own else None
    return utc if clock_s is None else np.where(is_unknown, photos.clock - clock_s, utc)


def _sightings(photos: Photos, at: Floats, chosen: Truth) -> list[Sighting]:
    zone_s = np.nan_to_num(photos.zone_s)  # that of the camera counts for nothing
    return [
        Sighting(int(photos.landmark_id[index]), float(at[index]), int(zone_s[index]))
        for index in np.flatnonzero(chosen & (photos.landmark_id >= 0) & photos.is_dated)
    ]


def _passed(photos: Photos, utc: Floats, chosen: Truth) -> list[Sighting]:
    passages = [
        Passage(
            float(utc[index]),
            int(photos.zone_s[index]),
            *(
                float(values[index])
                for values in (photos.gps_latitude, photos.gps_longitude, photos.gps_error_m)
            ),
        )
        for index in np.flatnonzero(np.isfinite(photos.gps_latitude) & photos.is_dated)
    ]
    ids, first = np.unique(np.where(chosen & photos.is_dated, photos.landmark_id, -1), return_index=True)
    sites = [
        Site(
            int(landmark_id),
            *(
                float(values[index])
                for values in (photos.landmark_latitude, photos.landmark_longitude, photos.landmark_error_m)
            ),
        )
        for landmark_id, index in zip(ids, first, strict=True)
        if landmark_id >= 0
    ]
    return passed_landmarks(passages, sites)


def _lines(photos: Photos, clock: Floats) -> list[Indices]:
    """The photos of each device, in order of time."""
    return [_ordered(photos, photos.device == device, clock) for device in range(len(DEVICES))]


def _ordered(photos: Photos, chosen: Truth, clock: Floats) -> Indices:
    line = np.flatnonzero(chosen & photos.is_dated & np.isfinite(clock))
    return line[np.argsort(clock[line], kind="stable")]


def _estimated(photos: Photos, clock: Floats, lines: list[Indices], max_gap_s: float) -> Answers:
    answers = no_answers(len(photos))
    for line in lines:
        sequence = _sequence(photos, line, clock)
        _fill(answers, line, estimate(sequence, max_gap_s), sequence.at, sequence.at)
    return answers


def _fill(answers: Answers, line: Indices, estimates: Estimates, at: Floats, anchors_at: Floats) -> None:
    answers.latitude[line] = estimates.latitude
    answers.longitude[line] = estimates.longitude
    answers.error_m[line] = estimates.error_m
    for away_s, anchor in ((answers.before_s, estimates.before), (answers.after_s, estimates.after)):
        away_s[line] = np.where(anchor >= 0, np.abs(at - anchors_at[anchor]), np.inf)


def _anchors(photos: Photos, line: Indices, clock: Floats) -> Sequence:
    is_anchor = np.isfinite(photos.gps_latitude) | np.isfinite(photos.landmark_latitude)
    return _sequence(photos, line[is_anchor[line]], clock)


def _sequence(photos: Photos, line: Indices, clock: Floats) -> Sequence:
    chosen = photos.only(line)
    has_gps, has_landmark = np.isfinite(chosen.gps_latitude), np.isfinite(chosen.landmark_latitude)
    return Sequence(
        at=clock[line],
        latitude=np.where(has_gps, chosen.gps_latitude, chosen.landmark_latitude),
        longitude=np.where(has_gps, chosen.gps_longitude, chosen.landmark_longitude),
        error_m=np.where(has_gps, chosen.gps_error_m, chosen.landmark_error_m),
        trust=np.select([has_gps, has_landmark], [CAMERA_TRUST, LANDMARK_TRUST], 0),
    )
