"""The odds that the other photos of a camera's day give for or against the landmarks of a photo.

Where many photos show landmarks, more do than where none does: the prior of a score follows from the share of
landmark photos around it, as in "Adjusting the outputs of a classifier to new a priori probabilities"
(Saerens, Latinne, Decaestecker, 2002). Shares are counted from the scores of models alone, without the photo
itself, so neither the order of jobs nor what they decided makes a difference. What was measured:
docs/explanation/positions.md. Photos without a date have one day for each camera, or folder.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, time

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, true

from tagger.database.statements import among
from tagger.database.tables import contents, photos, tags
from tagger.model.predictions import KNOWN_SHARE
from tagger.tags.rule import LEAST_SCORE, PositionOdds

WEIGHT = 10
"""As many photos with the usual share count beside those of a day."""
MOST = 4.0
"""The odds never change by more than this, up or down: what the pixels deny stays denied."""

Day = tuple[int, date | None]
"""A camera, or folder, and a local date; None: without a date."""


def share_odds(others: int, showing: int) -> float:
    """The factor of a landmark's odds, of whose day `others` photos are known, and `showing` show any."""
    share = (showing + WEIGHT * KNOWN_SHARE) / (others + WEIGHT)
    odds = share / (1 - share) / (KNOWN_SHARE / (1 - KNOWN_SHARE))
    return float(f"{min(max(odds, 1 / MOST), MOST):.2g}")


def odds_of_day(
    found: Mapping[int, Collection[int]], images: int, candidates: Mapping[int, Collection[int]]
) -> dict[tuple[int, int], float]:
    """The factors by content and landmark id, of landmarks that are `candidates` on the images of a day.

    `found`: the landmarks with enough score, by image. One is only likelier if another image has it, too.
    """
    times = Counter(landmark_id for each in found.values() for landmark_id in set(each))
    odds = {}
    for content_id, landmark_ids in candidates.items():
        own = found.get(content_id, ())
        factor = share_odds(images - 1, len(found) - bool(own))
        for landmark_id in landmark_ids:
            has_others = times[landmark_id] > (landmark_id in own)
            odds[content_id, landmark_id] = factor if has_others else min(factor, 1.0)
    return odds


def days_of(moments: Iterable[tuple[int | None, datetime | None]]) -> set[Day]:
    """The days of photos, by their cameras and local times."""
    return {(camera, at and at.date()) for camera, at in moments if camera is not None}


def candidates_of(connection: Connection, days: Collection[Day]) -> set[int]:
    """The images of these days with a landmark that the other photos can turn, or have turned."""
    query = select(tags.c.content_id).join(photos, photos.c.content_id == tags.c.content_id)
    return {key for day in days for key in connection.scalars(query.where(_is_of(day), _is_close()))}


def day_odds(connection: Connection, content_ids: Collection[int]) -> dict[tuple[int, int], PositionOdds]:
    """The odds by content and landmark id, where other photos of a day can turn them: the best of copies."""
    of_images = among(photos.c.content_id, content_ids)
    moments = connection.execute(select(photos.c.camera_id, photos.c.taken_at).where(of_images).distinct())
    found: dict[tuple[int, int], float] = {}
    days = days_of((camera_id, taken_at) for camera_id, taken_at in moments)
    for day in sorted(days, key=str):
        for key, odds in _odds_of(connection, day).items():
            if key[0] in content_ids:
                found[key] = max(odds, found.get(key, 0.0))
    return {key: PositionOdds(odds, None) for key, odds in found.items() if odds != 1.0}


def _odds_of(connection: Connection, day: Day) -> dict[tuple[int, int], float]:
    is_known = contents.c.outcome.is_not(None), _is_of(day)
    of_photos = photos.join(contents, contents.c.id == photos.c.content_id)
    count = select(func.count(contents.c.id.distinct())).select_from(of_photos).where(*is_known)
    query = (
        select(tags.c.content_id, tags.c.landmark_id, tags.c.enough)
        .select_from(of_photos.join(tags, tags.c.content_id == contents.c.id))
        .where(*is_known, tags.c.counts == true(), _is_close())
        .distinct()
    )
    found: dict[int, set[int]] = {}
    candidates: dict[int, set[int]] = {}
    for row in connection.execute(query):
        candidates.setdefault(row.content_id, set()).add(row.landmark_id)
        if row.enough:
            found.setdefault(row.content_id, set()).add(row.landmark_id)
    return odds_of_day(found, connection.execute(count).scalar_one(), candidates) if candidates else {}


def _is_close() -> ColumnElement[bool]:
    """The condition on `tags` that the score is enough or almost."""
    return or_(tags.c.enough == true(), tags.c.score >= LEAST_SCORE)


def _is_of(day: Day) -> ColumnElement[bool]:
    camera_id, of_date = day
    if of_date is None:
        return and_(photos.c.camera_id == camera_id, photos.c.taken_at.is_(None))
    is_then = photos.c.taken_at.between(
        datetime.combine(of_date, time.min), datetime.combine(of_date, time.max)
    )
    return and_(photos.c.camera_id == camera_id, is_then)
