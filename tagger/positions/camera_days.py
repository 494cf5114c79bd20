"""The odds that the other photos of a camera's day give for or against the landmarks of a photo.

Where several photos of a day show a landmark, one with a lower score is more likely right: the prior of a
score follows from the share of landmark photos around it, as in "Adjusting the outputs of a classifier to new
a priori probabilities" (Saerens, Latinne, Decaestecker, 2002). Two landmarks speak against each other if
nobody travels from one to the other in the time between their photos. Both follow from the scores of models
and measured positions alone, without the photo itself, so neither the order of jobs nor what they decided
makes a difference. What was measured: docs/explanation/positions.md. Photos without a date say nothing about
each other.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, or_, select, true

from tagger.cameras import clock_seconds
from tagger.database.enums import FactSource, OddsReason
from tagger.database.statements import among
from tagger.database.tables import contents, landmarks, photos, tags
from tagger.geo import distance_km
from tagger.landmarks.landmarks import farthest_km
from tagger.model.predictions import KNOWN_SHARE
from tagger.positions.estimation import CLOCK_SLACK_S, MAX_SPEED_M_S
from tagger.tags.rule import LEAST_SCORE, PositionOdds

# As many photos with the usual share count beside those of a day.
WEIGHT = 10
# The odds never change by more than this, up or down: what the pixels deny stays denied.
MOST = 4.0

# A camera, or folder, and a local date.
Day = tuple[int, date]
# The landmarks that a measured position turns down, of images that are weighed now: what will be
# stored.
Refused = Mapping[int, Collection[int]]


@dataclass(frozen=True)
class Sighting:
    """A landmark that a photo of a day may show. `is_shown`: by its score, and no position says no.

    `at`: seconds on the camera's clock; None: only the day is known. Without coordinates, nothing is far away
    from it.
    """

    content_id: int
    landmark_id: int
    at: float | None
    is_shown: bool
    coordinates: tuple[float, float] | None = None
    extent: str | None = None


def share_odds(others: int, showing: int) -> float:
    """The factor of a landmark's odds, of whose day `others` photos are known, and `showing` show any."""
    share = (showing + WEIGHT * KNOWN_SHARE) / (others + WEIGHT)
    odds = share / (1 - share) / (KNOWN_SHARE / (1 - KNOWN_SHARE))
    return float(f"{min(max(odds, 1.0), MOST):.2g}")


def odds_of_day(sightings: Collection[Sighting], images: int) -> dict[tuple[int, int], float]:
    """The factors by content and landmark id, for the sightings of a day with this number of images.

    A landmark is likelier if another image shows it. Else one that is shown is less likely if others show one
    too far away. Of what is not shown, it says more how far away the day was: see `weak_evidence`.
    """
    shown: dict[int, list[Sighting]] = defaultdict(list)
    for each in sightings:
        if each.is_shown:
            shown[each.landmark_id].append(each)
    images_of = {key: {each.content_id for each in some} for key, some in shown.items()}
    showing = set(chain.from_iterable(images_of.values()))
    odds: dict[tuple[int, int], float] = {}
    for each in sightings:
        same = images_of.get(each.landmark_id, set())
        is_same = len(same) > (each.content_id in same)
        against = len(_contradicting(each, shown))
        others = len(showing) - (each.content_id in showing) - against
        if is_same:
            factor = share_odds(images - 1, others)
        else:
            factor = max(1 / MOST, 1 / (1 + against)) if each.is_shown else 1.0
        key = each.content_id, each.landmark_id
        odds[key] = max(factor, odds.get(key, 0.0))
    return odds


def _contradicting(sighting: Sighting, shown: Mapping[int, Sequence[Sighting]]) -> set[int]:
    """The images that show landmarks from which nobody reaches that of the sighting in the time between."""
    found: set[int] = set()
    for landmark_id, others in shown.items():
        travel_s = _travel_s(sighting, others[0]) if landmark_id != sighting.landmark_id else 0.0
        if travel_s <= 0:
            continue
        for other in others:
            gap_s = DAY_S if sighting.at is None or other.at is None else abs(sighting.at - other.at)
            if gap_s < travel_s:
                found.add(other.content_id)
    return found - {sighting.content_id}


DAY_S = 24 * 3600.0


def _travel_s(sighting: Sighting, other: Sighting) -> float:
    """The shortest time from where one landmark is seen to where the other is; 0 or less: none."""
    if sighting.coordinates is None or other.coordinates is None:
        return 0.0
    seen_km = farthest_km(sighting.extent) + farthest_km(other.extent)
    away_km = distance_km(*sighting.coordinates, *other.coordinates) - seen_km
    return 1000 * away_km / MAX_SPEED_M_S - CLOCK_SLACK_S


def days_of(moments: Iterable[tuple[int | None, datetime | None]]) -> set[Day]:
    """The days of photos, by their cameras and local times."""
    return {(camera, at.date()) for camera, at in moments if camera is not None and at is not None}


def candidates_of(connection: Connection, days: Collection[Day]) -> set[int]:
    """The images of these days with a landmark that the other photos can turn, or have turned."""
    query = select(photos.c.camera_id, photos.c.taken_at, tags.c.content_id)
    query = query.join(tags, tags.c.content_id == photos.c.content_id).where(_IS_CLOSE)
    return {row.content_id for _, row in _of_days(connection, query, days)}


def day_odds(
    sightings: Mapping[Day, Collection[Sighting]], images: Mapping[Day, int]
) -> dict[tuple[int, int], PositionOdds]:
    """The odds by content and landmark id, where other photos of a day can turn them: the best of copies."""
    found: dict[tuple[int, int], float] = {}
    for day, of_day in sorted(sightings.items()):
        for key, odds in odds_of_day(of_day, images[day]).items():
            found[key] = max(odds, found.get(key, 0.0))
    return {key: PositionOdds(odds, None) for key, odds in found.items() if odds != 1.0}


def days_of_images(connection: Connection, content_ids: Collection[int]) -> set[Day]:
    """The days of the photos of these images."""
    of_images = among(photos.c.content_id, content_ids)
    moments = connection.execute(select(photos.c.camera_id, photos.c.taken_at).where(of_images).distinct())
    return days_of((camera_id, taken_at) for camera_id, taken_at in moments)


def read_sightings(
    connection: Connection, days: Collection[Day], refused: Refused
) -> tuple[dict[Day, list[Sighting]], dict[Day, int]]:
    """What the images of days may show, by the scores of models, and the numbers of images of these days."""
    columns = photos.c.camera_id, photos.c.taken_at, photos.c.content_id
    is_known = contents.c.outcome.is_not(None)
    known = select(*columns).join(contents, contents.c.id == photos.c.content_id).where(is_known).distinct()
    shown = (
        select(
            *columns,
            photos.c.taken_source,
            tags.c.landmark_id,
            tags.c.enough,
            _IS_REFUSED.label("is_refused"),
            *(landmarks.c[name] for name in ("latitude", "longitude", "extent")),
        )
        .join(contents, contents.c.id == photos.c.content_id)
        .join(tags, tags.c.content_id == contents.c.id)
        .join(landmarks, landmarks.c.id == tags.c.landmark_id)
        .where(is_known, tags.c.counts == true(), _IS_CLOSE)
        .distinct()
    )
    found: dict[Day, list[Sighting]] = defaultdict(list)
    for day, row in _of_days(connection, shown, days):
        found[day].append(_sighting(row, refused))
    images: dict[Day, set[int]] = defaultdict(set)
    for day, row in _of_days(connection, known, found):
        images[day].add(row.content_id)
    return found, {day: len(each) for day, each in images.items()}


def _sighting(row: Row[Any], refused: Refused) -> Sighting:
    is_refused = bool(row.is_refused)
    if row.content_id in refused:  # as found now
        is_refused = row.landmark_id in refused[row.content_id]
    return Sighting(
        row.content_id,
        row.landmark_id,
        None if row.taken_source == FactSource.NAME else clock_seconds(row.taken_at),
        bool(row.enough) and not is_refused,
        None if row.latitude is None or row.longitude is None else (row.latitude, row.longitude),
        row.extent,
    )


def _of_days(
    connection: Connection, query: Select[Any], days: Collection[Day]
) -> Iterator[tuple[Day, Row[Any]]]:
    """The rows of a query for photos of these days, each with its day. Days of a time are read at once."""
    dates = sorted({day for _, day in days})
    for first, last in runs_of(dates, timedelta(days=1)):
        begin, end = datetime.combine(first, time.min), datetime.combine(last, time.max)
        for row in connection.execute(query.where(photos.c.taken_at.between(begin, end))):
            if (day := (row.camera_id, row.taken_at.date())) in days:
                yield day, row


def runs_of(days: Iterable[date], longest_gap: timedelta) -> list[tuple[date, date]]:
    """The first and the last of ascending days without longer gaps between them."""
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] <= longest_gap:
            runs[-1] = runs[-1][0], day
        else:
            runs.append((day, day))
    return runs


# The condition that a measured position turns down a tag whose score is enough.
_IS_REFUSED = and_(
    tags.c.distance_m.is_not(None),
    tags.c.position_odds < 1.0,
    tags.c.odds_reason.in_((OddsReason.POSITION, OddsReason.SPEED)),
)
# The condition on `tags` that the score is enough or almost.
_IS_CLOSE: ColumnElement[bool] = or_(tags.c.enough == true(), tags.c.score >= LEAST_SCORE)
