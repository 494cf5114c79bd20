"""The odds that measured facts give for or against landmarks, stored with the tags they turn.

By Bayes' rule, the odds of a tag are those of its score times P(evidence | right) / P(evidence |
wrong). The evidence is where the photo may have been taken (see evidence): its own place, those of
its camera before and after it, and those of its day. The first that says something counts. Places
of its day decide about suggestions alone; before them comes whether other photos of the day show
the same landmark.

Only measured positions and the scores of models count, never what follows from them: neither the
order of jobs nor what they decided makes a difference. What was measured:
docs/explanation/positions.md.

A row of `tags` or `taught_tags` has `position_odds` only if they reverse what its score alone
decides: whether it is accepted, or suggested.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    distinct,
    false,
    func,
    literal,
    null,
    or_,
    select,
    true,
)

from tagger.cameras import clock_seconds, is_clock_time
from tagger.database import (
    STATED,
    FactSource,
    OddsReason,
    PositionSource,
    TagReason,
    TagState,
)
from tagger.database.statements import among, unindexed
from tagger.database.tables import (
    classifications,
    classifiers,
    contents,
    effective_tags,
    landmarks,
    ledgers,
    models,
    photos,
    positions,
    tags,
    taught_tags,
)
from tagger.geo import distance_km
from tagger.landmarks import REACHES_KM, UNKNOWN_EXTENT, farthest_km
from tagger.model import (
    ESTIMATED_SHARE,
    KNOWN_SHARE,
    MEASURED_SHARE,
    SUGGESTED_SCORE,
    TAUGHT_THRESHOLD,
    taught_share_odds,
)
from tagger.positions.estimation import CLOCK_SLACK_S, MAX_SPEED_M_S, distances_m
from tagger.positions.evidence import (
    DAY_NUMBER,
    DAYS_AROUND,
    Fix,
    Fixes,
    contradicted_photos,
    fix_of_day,
    fixes_of_days,
    is_around,
    own_fixes,
    passages,
    runs_of,
)
from tagger.sphere import Floats
from tagger.tags import count_photos_of_job, record_matching_photos
from tagger.tags.causes import store_odds
from tagger.tags.rule import LEAST_SCORE, LEAST_SUGGESTED_SCORE, Candidate, PositionOdds
from tagger.tags.settlement import score_is_enough, settle, stored_odds

# An image and a landmark, by their ids.
Key = tuple[int, int]

# A tag of a model is accepted, or suggested, by its score or by what positions add to it.
_IS_CLOSE = or_(
    tags.c.enough == true(),
    tags.c.score >= LEAST_SUGGESTED_SCORE,
)


def weigh_positions(
    connection: Connection,
    photo_ids: Collection[int],
    days: Collection[date],
) -> None:
    """Bring up to date what positions say about the tags of these photos and of those days; settle them.

    Called before their landmarks become anchors. `days`: those of which photos have changed. Positions of
    copies that are not among the photos are estimated again.
    """
    # The images that these days can turn: taken on them, or without GPS in the days around them.
    candidates_around: set[int] = set()
    for run in runs_of(sorted(days), timedelta(days=2 * DAYS_AROUND)):
        is_on_day = or_(
            photos.c.latitude.is_(None),
            DAY_NUMBER.in_([day.toordinal() for day in run]),
        )
        for table, is_candidate in ((tags, _IS_CLOSE), (taught_tags, true())):
            query = select(table.c.content_id).join(
                photos, photos.c.content_id == table.c.content_id
            )
            candidates_around.update(
                connection.scalars(
                    query.where(
                        is_around(run[0], run[-1]),
                        is_on_day,
                        is_candidate,
                    )
                )
            )
    images = candidates_around | _images_of(connection, photo_ids)
    weighed = weigh_images(connection, images)
    if not weighed:
        return
    settle(connection, weighed, record=False)
    copies = set(
        connection.scalars(
            select(photos.c.id).where(among(photos.c.content_id, weighed))
        )
    )
    record_matching_photos(
        connection,
        among(photos.c.id, copies - set(photo_ids)),
    )


def weigh_images(
    connection: Connection,
    content_ids: Collection[int],
    *,
    own_alone: bool = False,
) -> set[int]:
    """Store the odds of the tags of images where they are not up to date. Returns the images to settle.

    `own_alone`: only the positions of their own photos count, and images without any stay as they are.
    """
    if not own_alone:
        return store_odds(connection, _changes(connection, content_ids))
    own = own_fixes(connection, content_ids)
    return store_odds(connection, _changes(connection, own.keys(), own))


def record_changes(
    connection: Connection, photo_ids: Collection[int], estimated: Collection[int] = ()
) -> None:
    """Record these photos for the next update if some of their tags are not up to date any more.

    `estimated`: photos with a new estimate, which says something about what was taught alone.
    """
    images = _images_of(connection, photo_ids)
    of_estimated = among(taught_tags.c.content_id, _images_of(connection, estimated))
    images |= set(
        connection.scalars(select(taught_tags.c.content_id).where(of_estimated))
    )
    content_ids = {row.content_id for row, _ in _changes(connection, images)}
    if content_ids:
        record_matching_photos(connection, among(photos.c.content_id, content_ids))


def _images_of(connection: Connection, photo_ids: Collection[int]) -> set[int]:
    of_photos = among(photos.c.id, photo_ids) & photos.c.content_id.is_not(None)
    return set(connection.scalars(select(photos.c.content_id).where(of_photos)))


def count_overruled_by_gps(connection: Connection) -> tuple[int, int]:
    doubtful, raised = (
        connection.scalar(
            select(func.count(effective_tags.c.content_id.distinct())).where(
                *_is_overruled(state)
            )
        )
        or 0
        for state in (TagState.DOUBTFUL, TagState.ACCEPTED)
    )
    return doubtful, raised


def count_turned_photos(connection: Connection, job: int, state: TagState) -> int:
    return count_photos_of_job(connection, job, *_is_overruled(state))


def _is_overruled(state: TagState) -> tuple[ColumnElement[bool], ...]:
    # The conditions on `effective_tags` that a landmark has its state because of the position of a photo.
    by_position = effective_tags.c.reason.in_((TagReason.POSITION, TagReason.SPEED))
    return (
        by_position,
        effective_tags.c.distance_m.is_not(None),
        effective_tags.c.state == state,
    )


# --- The tags that are weighed ---


def _changes(
    connection: Connection,
    content_ids: Collection[int],
    own: Fixes | None = None,
) -> list[tuple[Row[Any], PositionOdds | None]]:
    # The tags of these images whose odds are wrong. `own`: these positions alone count.
    if not content_ids:
        return []
    settings = connection.execute(
        select(ledgers.c.position_odds, ledgers.c.max_gap_s)
    ).one()
    rows = _tags(connection, content_ids)
    odds: Mapping[Key, PositionOdds] = {}
    if settings.position_odds:
        odds = _all_odds(connection, rows, settings.max_gap_s, own)
    changes = []
    for row in rows:
        new = _reversing(row, odds.get((row.content_id, row.landmark_id)))
        stored = stored_odds(row.position_odds, row.distance_m, row.odds_reason)
        if new != stored or row.odds_reason == OddsReason.LIBRARY:
            changes.append((row, new))
    return changes


def _reversing(row: Row[Any], odds: PositionOdds | None) -> PositionOdds | None:
    # The odds, if they reverse what the score says. Days say nothing about taught tags.
    if odds is None or (row.is_taught and odds.distance_m is None):
        return None
    facts = row.landmark_id, row.score, bool(row.is_enough), row.threshold, row.model_id
    alone, weighed = (
        Candidate(
            *facts,
            odds=each,
            suggested_from=row.suggested_from,
        )
        for each in (None, odds)
    )
    is_reversed = (alone.is_alone_accepted, alone.is_probable) != (
        weighed.is_alone_accepted,
        weighed.is_probable,
    )
    return odds if is_reversed else None


def _tags(connection: Connection, content_ids: Collection[int]) -> list[Row[Any]]:
    # The tags of these images that a position can turn, or has turned.
    rows: list[Row[Any]] = []
    of_model = func.coalesce(classifications.c.threshold, contents.c.threshold)
    for table, threshold, suggested_from, share in (
        (tags, of_model, models.c.suggestion_threshold, null()),
        (
            taught_tags,
            literal(TAUGHT_THRESHOLD),
            literal(SUGGESTED_SCORE),
            classifiers.c.share,
        ),
    ):
        query: Select[Any] = (
            select(
                table.c.content_id,
                table.c.landmark_id,
                table.c.model_id,
                table.c.score,
                table.c.position_odds,
                table.c.distance_m,
                table.c.odds_reason,
                (tags.c.counts if table is tags else false()).label("counts"),
                score_is_enough(table).label("is_enough"),
                threshold.label("threshold"),
                suggested_from.label("suggested_from"),
                literal(table is taught_tags).label("is_taught"),
                share.label("share"),
                landmarks.c.latitude,
                landmarks.c.longitude,
                landmarks.c.extent,
            )
            .join(contents, contents.c.id == table.c.content_id)
            .outerjoin(
                classifications,
                and_(
                    classifications.c.content_id == table.c.content_id,
                    classifications.c.model_id == table.c.model_id,
                ),
            )
            .join(landmarks, landmarks.c.id == table.c.landmark_id)
            .join(models, models.c.id == table.c.model_id)
            .where(
                among(table.c.content_id, content_ids),
                contents.c.damaged == false(),
            )
        )
        if table is tags:
            query = query.where(_IS_CLOSE)
        else:
            of_landmark = (
                classifiers.c.landmark_id == taught_tags.c.landmark_id,
                classifiers.c.model_id == taught_tags.c.model_id,
            )
            query = query.outerjoin(classifiers, and_(*of_landmark))
        rows += connection.execute(query)
    return rows


# --- Their odds ---


def _all_odds(
    connection: Connection,
    rows: Sequence[Row[Any]],
    max_gap_s: float,
    own_alone: Fixes | None,
) -> Mapping[Key, PositionOdds]:
    # The odds of tags from the strongest evidence that says something about each.
    content_ids = {row.content_id for row in rows}
    placed = [row for row in rows if row.latitude is not None]

    # The photo's own position, unless nobody can have been there.
    own = own_fixes(connection, content_ids) if own_alone is None else own_alone
    of_own = list(_odds_of_fixes(placed, own))
    far = {
        photo_id
        for _, photo_id, odds in of_own
        if photo_id is not None and odds.odds < 1
    }
    contradicted_ids = contradicted_photos(connection, far, max_gap_s) if far else set()
    strong = _best(
        (key, odds)
        for key, photo_id, odds in of_own
        if photo_id not in contradicted_ids
    )
    of_models = {(row.content_id, row.landmark_id) for row in rows if not row.is_taught}
    taught = [
        row for row in placed if (row.content_id, row.landmark_id) not in of_models
    ]
    strong |= _odds_at_places(taught, own, MEASURED_SHARE, contradicted_ids)
    if own_alone is not None:
        return strong

    # Its camera before and after: whether somebody can have come to the landmark.
    passages_of = passages(connection, content_ids - own.keys(), max_gap_s)
    for row in placed:
        of_image = passages_of.get(row.content_id, ())
        place = row.latitude, row.longitude
        if of_image and not any(
            passage.reaches(*place, row.extent) for passage in of_image
        ):
            distance_m = float(
                round(min(passage.distance_m(*place) for passage in of_image))
            )
            strong[row.content_id, row.landmark_id] = PositionOdds(
                LEAST, distance_m, OddsReason.SPEED
            )

    # The same landmark on its day, then where the photos of its day were taken.
    refused = set()
    for row in rows:
        odds = _reversing(row, strong.get((row.content_id, row.landmark_id)))
        if row.counts and odds is not None and odds.odds < 1.0:
            refused.add((row.content_id, row.landmark_id))
    names = (
        "content_id",
        "camera_id",
        "taken_at",
        "utc_offset_s",
        "latitude",
        "origin",
    )
    is_dated = among(photos.c.content_id, content_ids), photos.c.taken_at.is_not(None)
    columns = (photos.c[name] for name in names)
    moments = connection.execute(select(*columns).where(*is_dated)).all()
    days = {
        (moment.camera_id, moment.taken_at.date())
        for moment in moments
        if moment.camera_id is not None
    }
    seen = _seen_landmarks(connection, days, content_ids, refused)
    of_days = _day_fixes(
        connection,
        [moment for moment in moments if moment.content_id not in own],
        seen,
    )
    weak = _best((key, odds) for key, _, odds in _odds_of_fixes(placed, of_days))
    not_measured = [row for row in taught if row.content_id not in own]
    estimated = _estimated_fixes(connection, not_measured)
    weak |= _odds_at_places(not_measured, estimated, ESTIMATED_SHARE)
    return weak | _odds_of_days(connection, seen) | strong


def _odds_at_places(
    rows: Sequence[Row[Any]],
    fixes: Fixes,
    share: float,
    without: Collection[int] = (),
) -> dict[Key, PositionOdds]:
    # The odds of landmarks that teaching alone finds on photos that were taken there: so many show them.
    #
    # `without`: the ids of photos whose position cannot be right.
    odds: dict[Key, PositionOdds] = {}
    for row in rows:
        if row.share is None or row.share >= share:
            continue
        for fix in fixes.get(row.content_id, ()):
            distance_m = 1000 * distance_km(
                fix.latitude, fix.longitude, row.latitude, row.longitude
            )
            is_estimated = fix.source is PositionSource.TRIP
            is_there = distance_m <= max(NEAR_M, fix.error_m if is_estimated else 0.0)
            if is_there and fix.evidence.get("photo") not in without:
                reason = OddsReason.TRIP if is_estimated else OddsReason.POSITION
                factor = float(f"{taught_share_odds(share, row.share):.4g}")
                key = row.content_id, row.landmark_id
                odds[key] = PositionOdds(
                    factor,
                    float(round(distance_m)),
                    reason,
                )
    return odds


def _estimated_fixes(connection: Connection, rows: Sequence[Row[Any]]) -> Fixes:
    # Exact positions of these images that follow from other photos, and those in the city of a trip.
    #
    # They are as weak as those of days.
    is_of_image = among(photos.c.content_id, {row.content_id for row in rows})
    source = unindexed(positions.c.source)
    is_neighbour = source == PositionSource.NEIGHBOUR
    is_in_city = and_(
        source == PositionSource.TRIP,
        positions.c.city.is_not(None),
    )
    is_exact = or_(
        and_(is_neighbour, positions.c.error_m <= MOST_ESTIMATED_M),
        and_(is_in_city, positions.c.error_m <= MOST_IN_CITY_M),
    )
    query = (
        select(
            photos.c.content_id,
            *(positions.c[name] for name in ("latitude", "longitude", "error_m")),
        )
        .join(positions, positions.c.photo_id == photos.c.id)
        .where(is_of_image, is_exact)
    )
    fixes = defaultdict[int, list[Fix]](list)
    for row in connection.execute(query) if rows else ():
        fix = fix_of_day(row.latitude, row.longitude, row.error_m)
        fixes[row.content_id].append(fix)
    return fixes


def _best(odds: Iterable[tuple[Key, PositionOdds]]) -> dict[Key, PositionOdds]:
    # The best odds of each landmark, and of equal ones those of the nearest place.
    in_order = sorted(
        odds,
        key=lambda pair: (pair[1].odds, -(pair[1].distance_m or 0.0)),
    )
    return dict(in_order)  # of each key, the last one counts


# A taught landmark is photographed from so near. Estimated positions with a larger error say nothing of it,
# and those of trips only if all visits of the day are in one city.
NEAR_M, MOST_ESTIMATED_M, MOST_IN_CITY_M = 300.0, 1_000.0, 10_000.0
# The odds near a landmark. Photos that a model mistakes for it often show its neighbours.
MOST = 5.0
# The odds on the other side of the world: one camera in 500 says a position that is grossly wrong.
LEAST = 0.002
# The odds of a landmark far from the photos of the day: one camera in twenty is elsewhere.
LEAST_OF_DAY = 0.05


def _odds_of_fixes(
    rows: Sequence[Row[Any]], fixes: Fixes
) -> Iterator[tuple[Key, int | None, PositionOdds]]:
    # What each fix of an image says about each of its landmarks, with the photo whose file states it.
    pairs = [(row, fix) for row in rows for fix in fixes.get(row.content_id, ())]
    values = np.array(
        [
            (
                fix.latitude,
                fix.longitude,
                fix.error_m,
                row.latitude,
                row.longitude,
            )
            for row, fix in pairs
        ],
        np.float64,
    )
    latitude, longitude, error_m, to_latitude, to_longitude = values.reshape(-1, 5).T
    distance_m = distances_m(latitude, longitude, to_latitude, to_longitude)
    odds = position_odds(
        distance_m / 1000,
        error_m / 1000,
        [row.extent for row, _ in pairs],
    )
    for (row, fix), factor, metres in zip(
        pairs,
        odds.tolist(),
        distance_m.tolist(),
        strict=True,
    ):
        is_of_day = fix.source is PositionSource.TRIP
        limited = min(max(factor, LEAST_OF_DAY), 1.0) if is_of_day else factor
        reason = OddsReason.TRIP if is_of_day else OddsReason.POSITION
        photo_id = fix.evidence["photo"] if fix.source in STATED else None
        # Rounded, so that the same evidence gives the same row.
        rounded = PositionOdds(
            float(f"{limited:.4g}"),
            float(round(metres)),
            reason,
        )
        yield (row.content_id, row.landmark_id), photo_id, rounded


def position_odds(
    distance_km: Floats,
    error_km: Floats,
    extents: Sequence[str | None],
) -> Floats:
    """P(distance | right) / P(distance | wrong) of N photos and landmarks.

    Of the distances in REACHES_KM, the odds are MOST up to the first one, 1 between the second and the third
    one, and LEAST from the fourth one on. Between these, their logarithm is proportional to that of the
    distance. Of the nearest and the farthest distance that the error of a position allows, the odds closer to
    1 count; 1 if the two disagree.
    """
    nearest = np.maximum(distance_km - error_km, 0.0)
    farthest = distance_km + error_km
    odds = np.ones(len(distance_km))
    of_extent = np.array(
        [extent if extent in REACHES_KM else UNKNOWN_EXTENT for extent in extents]
    )
    for extent in REACHES_KM:
        chosen = of_extent == extent
        least = _odds_at(farthest[chosen], extent)
        most = _odds_at(nearest[chosen], extent)
        odds[chosen] = np.where(
            most < 1.0,
            most,
            np.maximum(least, 1.0),
        )
    return odds


def _odds_at(distance_km: Floats, extent: str) -> Floats:
    odds = np.array([MOST, 1.0, 1.0, LEAST])
    known = np.log(REACHES_KM[extent])
    return np.asarray(
        np.exp(
            np.interp(
                np.log(np.maximum(distance_km, 1e-6)),
                known,
                np.log(odds),
            )
        )
    )


# --- Days ---

# A camera, or folder, and a local date.
Day = tuple[int, date]


def _day_fixes(
    connection: Connection,
    moments: Collection[Row[Any]],
    seen: Mapping[Day, Collection["SeenLandmark"]],
) -> Fixes:
    # Where images without a position may have been taken, by the other photos of their days.
    #
    # That is where all cameras recorded GPS on that date, and where the landmarks are that other images of
    # its camera show: a camera without GPS travels with the phones of its owners.
    timed = [
        moment
        for moment in moments
        if moment.latitude is None and moment.origin is None
        if is_clock_time(moment.taken_at, moment.utc_offset_s)
    ]
    by_gps = fixes_of_days(
        connection,
        {moment.taken_at.date() for moment in timed},
    )
    images_of_places: dict[Day, dict[tuple[float, float], set[int]]] = {}
    for day, of_day in seen.items():
        images_of = images_of_places.setdefault(day, defaultdict(set))
        for landmark in of_day:
            if landmark.is_shown and landmark.coordinates is not None:
                images_of[landmark.coordinates].add(landmark.content_id)
    fixes = defaultdict[int, list[Fix]](list)
    for moment in timed:
        date_taken = moment.taken_at.date()
        fixes[moment.content_id] += by_gps.get(date_taken, ())
        for place, images in images_of_places.get(
            (moment.camera_id, date_taken), {}
        ).items():
            if images != {moment.content_id}:
                fixes[moment.content_id].append(fix_of_day(*place))
    return fixes


@dataclass(frozen=True)
class SeenLandmark:
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


def _seen_landmarks(
    connection: Connection,
    days: Collection[Day],
    content_ids: Collection[int],
    refused: Collection[Key],
) -> Mapping[Day, Sequence[SeenLandmark]]:
    # What the images of days may show, by the scores of models.
    #
    # `refused`: the landmarks that measured positions turn down now, of images that are weighed.
    query = (
        select(
            *(
                photos.c[name]
                for name in (
                    "camera_id",
                    "taken_at",
                    "content_id",
                    "taken_source",
                )
            ),
            tags.c.landmark_id,
            tags.c.enough,
            # A measured position turns down a tag whose score is enough.
            and_(
                tags.c.distance_m.is_not(None),
                tags.c.position_odds < 1.0,
                tags.c.odds_reason.in_((OddsReason.POSITION, OddsReason.SPEED)),
            ).label("is_refused"),
            *(landmarks.c[name] for name in ("latitude", "longitude", "extent")),
        )
        .join(contents, contents.c.id == photos.c.content_id)
        .join(tags, tags.c.content_id == contents.c.id)
        .join(landmarks, landmarks.c.id == tags.c.landmark_id)
        .where(
            contents.c.outcome.is_not(None),
            tags.c.counts == true(),
            # The score is enough, or almost.
            or_(
                tags.c.enough == true(),
                tags.c.score >= LEAST_SCORE,
            ),
        )
        .distinct()
    )
    weighed = set(content_ids)
    seen = defaultdict[Day, list[SeenLandmark]](list)
    for run in runs_of(sorted({day for _, day in days}), timedelta(days=1)):
        for row in connection.execute(query.where(is_around(run[0], run[-1], days=0))):
            day = row.camera_id, row.taken_at.date()
            if day not in days:
                continue
            is_refused = bool(row.is_refused)
            if row.content_id in weighed:
                is_refused = (row.content_id, row.landmark_id) in refused
            at = (
                None
                if row.taken_source == FactSource.NAME
                else clock_seconds(row.taken_at)
            )
            is_shown = bool(row.enough) and not is_refused
            place = None if row.latitude is None else (row.latitude, row.longitude)
            seen[day].append(
                SeenLandmark(
                    row.content_id,
                    row.landmark_id,
                    at,
                    is_shown,
                    place,
                    row.extent,
                )
            )
    return seen


def _odds_of_days(
    connection: Connection, seen: Mapping[Day, Collection[SeenLandmark]]
) -> dict[Key, PositionOdds]:
    # The best odds of copies where others of a day show the same landmark, or one too far away.
    query = (
        select(
            photos.c.camera_id,
            DAY_NUMBER,
            func.count(distinct(photos.c.content_id)),
        )
        .join(contents, contents.c.id == photos.c.content_id)
        .where(contents.c.outcome.is_not(None))
        .group_by(photos.c.camera_id, DAY_NUMBER)
    )
    images: dict[Day, int] = {}
    for run in runs_of(sorted({day for _, day in seen}), timedelta(days=1)):
        for camera_id, number, count in connection.execute(
            query.where(is_around(run[0], run[-1], days=0))
        ):
            images[camera_id, date.fromordinal(number)] = count
    best: dict[Key, float] = {}
    for day, of_day in seen.items():
        for key, odds in odds_of_day(of_day, images[day]).items():
            best[key] = max(odds, best.get(key, 0.0))
    return {key: PositionOdds(odds, None) for key, odds in best.items() if odds != 1.0}


# As many photos with the usual share count beside those of a day.
WEIGHT = 10
# The odds never change by more than this, up or down: what the pixels deny stays denied.
MOST_OF_DAY = 4.0


def share_odds(others: int, showing: int) -> float:
    """The factor of a landmark's odds, of whose day `others` photos are known, and `showing` show any.

    The prior of a score follows from the share of landmark photos around it, as in "Adjusting the
    outputs of a classifier to new a priori probabilities" (Saerens, Latinne, Decaestecker, 2002).
    """
    share = (showing + WEIGHT * KNOWN_SHARE) / (others + WEIGHT)
    odds = share / (1 - share) / (KNOWN_SHARE / (1 - KNOWN_SHARE))
    return float(f"{min(max(odds, 1.0), MOST_OF_DAY):.2g}")


def odds_of_day(seen: Collection[SeenLandmark], images: int) -> dict[Key, float]:
    """The factors of the landmarks of a day with this number of images.

    A landmark is likelier if another image shows it. Else one that is shown is less likely if others show one
    too far away. Of what is not shown, it says more how far away the day was.
    """
    shown = defaultdict[int, list[SeenLandmark]](list)
    for one in seen:
        if one.is_shown:
            shown[one.landmark_id].append(one)
    showing = {one.content_id for one in seen if one.is_shown}
    odds: dict[Key, float] = {}
    for one in seen:
        is_same = any(
            other.content_id != one.content_id
            for other in shown.get(one.landmark_id, ())
        )
        against = _contradicting(one, shown)
        factor = 1.0
        if is_same:
            factor = share_odds(images - 1, len(showing - against - {one.content_id}))
        elif one.is_shown:
            factor = max(1 / MOST_OF_DAY, 1 / (1 + len(against)))
        key = one.content_id, one.landmark_id
        odds[key] = max(factor, odds.get(key, 0.0))
    return odds


def _contradicting(
    one: SeenLandmark, shown: Mapping[int, Sequence[SeenLandmark]]
) -> set[int]:
    # The other images that show landmarks from which nobody reaches this one in the time between.
    images: set[int] = set()
    if one.at is None or one.coordinates is None:
        return images
    for landmark_id, others in shown.items():
        place, extent = others[0].coordinates, others[0].extent
        if landmark_id == one.landmark_id or place is None:
            continue
        away_km = (
            distance_km(*one.coordinates, *place)
            - farthest_km(one.extent)
            - farthest_km(extent)
        )
        travel_s = 1000 * away_km / MAX_SPEED_M_S - CLOCK_SLACK_S
        for other in others:
            if other.at is not None and abs(one.at - other.at) < travel_s:
                images.add(other.content_id)
    return images - {one.content_id}
