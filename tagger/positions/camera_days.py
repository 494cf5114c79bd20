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
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select, true

from tagger.catalog.cameras import clock_seconds
from tagger.database.enums import FactSource
from tagger.database.statements import among
from tagger.database.tables import contents, landmarks, photos, tags
from tagger.landmarks.landmarks import farthest_km
from tagger.model.predictions import KNOWN_SHARE
from tagger.positions.estimation import CLOCK_SLACK_S, MAX_SPEED_M_S
from tagger.system.geo import distance_km
from tagger.tags.rule import LEAST_SCORE, PositionOdds

WEIGHT = 10
"""As many photos with the usual share count beside those of a day."""
MOST = 4.0
"""The odds never change by more than this, up or down: what the pixels deny stays denied."""

Day = tuple[int, date]
"""A camera, or folder, and a local date."""
Refused = Mapping[int, Collection[int]]
"""The landmarks that a measured position speaks against, of images that are weighed now."""


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

    A landmark is likelier if another image shows it. Else it is less likely if others show one too far away.
    """
    shown: dict[int, list[Sighting]] = defaultdict(list)
    for each in sightings:
        if each.is_shown:
            shown[each.landmark_id].append(each)
    images_of = {key: {each.content_id for each in some} for key, some in shown.items()}
    showing = set(chain.from_iterable(images_of.values()))
    odds: dict[tuple[int, int], float] = {}
    for each in sightings:
        same = len(images_of.get(each.landmark_id, set()) - {each.content_id})
        against = len(_contradicting(each, shown))
        others = len(showing - {each.content_id}) - against
        factor = share_odds(images - 1, others) if same else max(1 / MOST, 1 / (1 + against))
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
    query = select(tags.c.content_id).join(photos, photos.c.content_id == tags.c.content_id)
    return {key for day in days for key in connection.scalars(query.where(_is_of(day), _is_close()))}


def day_odds(
    connection: Connection, content_ids: Collection[int], refused: Refused
) -> dict[tuple[int, int], PositionOdds]:
    """The odds by content and landmark id, where other photos of a day can turn them: the best of copies."""
    of_images = among(photos.c.content_id, content_ids)
    moments = connection.execute(select(photos.c.camera_id, photos.c.taken_at).where(of_images).distinct())
    found: dict[tuple[int, int], float] = {}
    for day in sorted(days_of((camera_id, taken_at) for camera_id, taken_at in moments)):
        if sightings := sightings_of(connection, day, refused):
            count = select(func.count(contents.c.id.distinct())).select_from(_PHOTOS).where(*_is_known(day))
            images = connection.execute(count).scalar_one()
            for key, odds in odds_of_day(sightings, images).items():
                if key[0] in content_ids:
                    found[key] = max(odds, found.get(key, 0.0))
    return {key: PositionOdds(odds, None) for key, odds in found.items() if odds != 1.0}


_PHOTOS = photos.join(contents, contents.c.id == photos.c.content_id)


def sightings_of(connection: Connection, day: Day, refused: Refused) -> list[Sighting]:
    """What the images of a day may show, by the scores of models."""
    joined = _PHOTOS.join(tags, tags.c.content_id == contents.c.id)
    query = (
        select(
            tags.c.content_id,
            tags.c.landmark_id,
            tags.c.enough,
            _IS_REFUSED.label("is_refused"),
            photos.c.taken_at,
            photos.c.taken_source,
            *(landmarks.c[name] for name in ("latitude", "longitude", "extent")),
        )
        .select_from(joined.join(landmarks, landmarks.c.id == tags.c.landmark_id))
        .where(*_is_known(day), tags.c.counts == true(), _is_close())
        .distinct()
    )
    return [
        Sighting(
            row.content_id,
            row.landmark_id,
            None if row.taken_source == FactSource.NAME else clock_seconds(row.taken_at),
            bool(row.enough) and not _is_refused(row, refused),
            None if row.latitude is None or row.longitude is None else (row.latitude, row.longitude),
            row.extent,
        )
        for row in connection.execute(query)
    ]


_IS_REFUSED = and_(tags.c.distance_m.is_not(None), tags.c.position_odds < 1.0)


def _is_refused(row: Row[Any], refused: Refused) -> bool:
    """Whether a measured position speaks against a tag: as found now, else as stored."""
    if row.content_id in refused:
        return row.landmark_id in refused[row.content_id]
    return bool(row.is_refused)


def _is_known(day: Day) -> tuple[ColumnElement[bool], ...]:
    return contents.c.outcome.is_not(None), _is_of(day)


def _is_close() -> ColumnElement[bool]:
    """The condition on `tags` that the score is enough or almost."""
    return or_(tags.c.enough == true(), tags.c.score >= LEAST_SCORE)


def _is_of(day: Day) -> ColumnElement[bool]:
    camera_id, of_date = day
    return and_(photos.c.camera_id == camera_id, is_on(of_date))


def is_on(day: date) -> ColumnElement[bool]:
    """The condition that a photo was taken on a local date."""
    return photos.c.taken_at.between(datetime.combine(day, time.min), datetime.combine(day, time.max))
