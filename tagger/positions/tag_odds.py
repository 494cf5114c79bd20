"""The odds that a photo's position gives for or against its landmarks, stored with the tags they turn.

By Bayes' rule, the odds of a tag are those of its score times P(distance | right) / P(distance | wrong),
where the distance is from where the camera stood to the landmark (see distance_odds). Only measured positions
count: one that follows from a landmark, or from other photos, is no evidence for a tag. Where the photo has
none, its camera's GPS before and after it counts, if nobody reaches the landmark in that time (see
measured_positions), then the other photos of its camera's day (see camera_days), and at last, for suggestions
alone, where all photos of that day were taken (see weak_evidence).

A row of `tags` or `taught_tags` has `position_odds` only if they reverse what its score alone decides:
whether it is accepted, or suggested.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    false,
    func,
    literal,
    or_,
    select,
)

from tagger.database.enums import OddsReason, TagReason, TagState
from tagger.database.statements import among
from tagger.database.tables import (
    classifications,
    contents,
    effective_tags,
    landmarks,
    ledgers,
    models,
    photos,
    tags,
    taught_tags,
)
from tagger.model.predictions import SUGGESTED_SCORE, TAUGHT_THRESHOLD
from tagger.positions.camera_days import (
    Day,
    candidates_of,
    day_odds,
    days_of_images,
    read_sightings,
)
from tagger.positions.distance_odds import LEAST, position_odds
from tagger.positions.estimation import distances_m
from tagger.positions.measured_positions import (
    GpsInterval,
    MeasuredPosition,
    contradicted_photos,
    measured_positions,
    passages,
)
from tagger.positions.weak_evidence import candidates_around, trip_odds
from tagger.tags.causes import TagOdds, store_odds
from tagger.tags.contents import count_photos_of_job, record_matching_photos
from tagger.tags.rule import LEAST_SUGGESTED_SCORE, Candidate, PositionOdds
from tagger.tags.settlement import score_is_enough, settle, stored_odds


def weigh_positions(connection: Connection, photo_ids: Collection[int], days: Collection[Day]) -> None:
    """Bring up to date what positions say about the tags of these photos and of those days; settle them.

    Called before their landmarks become anchors. `days`: those of which photos have changed. Positions of
    copies that are not among the photos are estimated again.
    """
    images = candidates_of(connection, days) | candidates_around(connection, {day for _, day in days})
    weighed = weigh_images(connection, images | _images_of(connection, photo_ids))
    if not weighed:
        return
    settle(connection, weighed, record=False)
    copies = set(connection.scalars(select(photos.c.id).where(among(photos.c.content_id, weighed))))
    record_matching_photos(connection, among(photos.c.id, copies - set(photo_ids)))


def weigh_images(
    connection: Connection, content_ids: Collection[int], *, own_alone: bool = False
) -> set[int]:
    """Store the odds of the tags of images where they are not up to date. Returns the images to settle.

    `own_alone`: only the positions of their own photos count.
    """
    return store_odds(connection, _changes(connection, content_ids, own_alone=own_alone))


def record_changes(connection: Connection, photo_ids: Collection[int]) -> None:
    """Record these photos for the next update if some of their tags are not up to date any more."""
    images = _images_of(connection, photo_ids)
    content_ids = {change.content_id for change in _changes(connection, images)}
    if content_ids:
        record_matching_photos(connection, among(photos.c.content_id, content_ids))


def _images_of(connection: Connection, photo_ids: Collection[int]) -> set[int]:
    of_photos = among(photos.c.id, photo_ids) & photos.c.content_id.is_not(None)
    return set(connection.scalars(select(photos.c.content_id).where(of_photos)))


def count_overruled_by_gps(connection: Connection) -> tuple[int, int]:
    """The numbers of images with a landmark that is doubtful, or accepted, because of a photo's position."""
    doubtful, raised = (
        connection.scalar(
            select(func.count(effective_tags.c.content_id.distinct())).where(*_is_overruled(state))
        )
        or 0
        for state in (TagState.DOUBTFUL, TagState.ACCEPTED)
    )
    return doubtful, raised


def count_doubtful_photos(connection: Connection, job: int) -> int:
    """The number of photos of a job with a landmark that is doubtful because of the position of a photo."""
    return count_photos_of_job(connection, job, *_is_overruled(TagState.DOUBTFUL))


def _is_overruled(state: TagState) -> tuple[ColumnElement[bool], ...]:
    """The conditions on `effective_tags` that a landmark has its state because of the position of a photo."""
    by_position = effective_tags.c.reason.in_((TagReason.POSITION, TagReason.SPEED))
    return by_position, effective_tags.c.distance_m.is_not(None), effective_tags.c.state == state


def _changes(
    connection: Connection, content_ids: Collection[int], *, own_alone: bool = False
) -> list[TagOdds]:
    """The tags of these images whose odds are wrong."""
    if not content_ids:
        return []
    settings = connection.execute(select(ledgers.c.position_odds, ledgers.c.max_gap_s)).one()
    rows = _tags(connection, content_ids)
    odds: dict[tuple[int, int], PositionOdds] = {}
    if settings.position_odds:
        odds = _all_odds(connection, rows, settings.max_gap_s, own_alone=own_alone)
    return [
        TagOdds(
            row.is_taught,
            row.content_id,
            row.landmark_id,
            row.model_id,
            row.score,
            new,
        )
        for row in rows
        if (new := _reversing(row, odds.get((row.content_id, row.landmark_id))))
        != stored_odds(row.position_odds, row.distance_m, row.odds_reason)
        or row.odds_reason == OddsReason.LIBRARY
    ]


def _all_odds(
    connection: Connection, rows: Sequence[Row[Any]], max_gap_s: float, *, own_alone: bool
) -> dict[tuple[int, int], PositionOdds]:
    """The odds by content and landmark id: from the strongest evidence that says something about each."""
    content_ids = {row.content_id for row in rows}
    measured = measured_positions(connection, content_ids)
    located = {position.content_id for position in measured}
    by_position = _odds(connection, rows, measured, max_gap_s)
    if own_alone:
        return by_position
    by_speed = _odds_of_passages(rows, list(passages(connection, content_ids - located, max_gap_s)))
    strong = by_position | by_speed
    refused: dict[int, set[int]] = {content_id: set() for content_id in content_ids}
    for row in rows:
        odds = _reversing(row, strong.get((row.content_id, row.landmark_id)))
        if row.counts and odds is not None and odds.odds < 1.0:
            refused[row.content_id].add(row.landmark_id)
    sightings, images = read_sightings(connection, days_of_images(connection, content_ids), refused)
    return trip_odds(connection, rows, located, sightings) | day_odds(sightings, images) | strong


def _reversing(row: Row[Any], odds: PositionOdds | None) -> PositionOdds | None:
    """The odds, if they reverse what the score says. Days say nothing about taught tags."""
    if odds is None or (row.is_taught and odds.distance_m is None):
        return None
    facts = row.landmark_id, row.score, bool(row.is_enough), row.threshold, row.model_id
    alone, weighed = (
        Candidate(*facts, odds=each, suggested_from=row.suggested_from) for each in (None, odds)
    )
    is_reversed = (alone.is_alone_accepted, alone.is_probable) != (
        weighed.is_alone_accepted,
        weighed.is_probable,
    )
    return odds if is_reversed else None


def _tags(connection: Connection, content_ids: Collection[int]) -> list[Row[Any]]:
    """The tags of these images that a position can turn, or has turned."""
    rows: list[Row[Any]] = []
    of_model = func.coalesce(classifications.c.threshold, contents.c.threshold)
    for table, threshold, suggested_from in (
        (tags, of_model, models.c.suggestion_threshold),
        (taught_tags, literal(TAUGHT_THRESHOLD), literal(SUGGESTED_SCORE)),
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
                or_(score_is_enough(table), table.c.score >= LEAST_SUGGESTED_SCORE),
            )
        )
        rows += connection.execute(query)
    return rows


def _odds(
    connection: Connection,
    rows: Sequence[Row[Any]],
    measured: Sequence[MeasuredPosition],
    max_gap_s: float,
) -> dict[tuple[int, int], PositionOdds]:
    """The odds by content and landmark id: the best of an image's photos with a measured position."""
    found = list(_photo_odds([row for row in rows if row.latitude is not None], measured))
    far = {position for _, position, odds in found if odds.odds < 1}
    wrong = contradicted_photos(connection, far, max_gap_s)
    right = [(row, odds) for row, position, odds in found if position.photo_id not in wrong]
    # Of each key, the last one counts.
    right.sort(key=lambda each: (each[1].odds, -(each[1].distance_m or 0.0)))
    return {(row.content_id, row.landmark_id): odds for row, odds in right}


def _odds_of_passages(
    rows: Sequence[Row[Any]], between: Sequence[GpsInterval]
) -> dict[tuple[int, int], PositionOdds]:
    """LEAST by content and landmark id, where no photo of the image can have been taken in sight of it."""
    passages_of: dict[int, list[GpsInterval]] = {}
    for passage in between:
        passages_of.setdefault(passage.content_id, []).append(passage)
    found = {}
    for row in rows:
        own = passages_of.get(row.content_id, ()) if row.latitude is not None else ()
        place = row.latitude, row.longitude
        if own and not any(passage.reaches(*place, row.extent) for passage in own):
            distance_m = min(passage.distance_m(*place) for passage in own)
            found[row.content_id, row.landmark_id] = PositionOdds(
                LEAST, float(round(distance_m)), OddsReason.SPEED
            )
    return found


def _photo_odds(
    rows: Sequence[Row[Any]], measured: Sequence[MeasuredPosition]
) -> Iterator[tuple[Row[Any], MeasuredPosition, PositionOdds]]:
    """Each tag with each measured position of its image."""
    positions: dict[int, list[MeasuredPosition]] = {}
    for position in measured:
        positions.setdefault(position.content_id, []).append(position)
    pairs = [(row, position) for row in rows for position in positions.get(row.content_id, ())]
    values = np.array(
        [
            (position.latitude, position.longitude, position.error_m, row.latitude, row.longitude)
            for row, position in pairs
        ],
        np.float64,
    )
    latitude, longitude, error_m, to_latitude, to_longitude = values.reshape(-1, 5).T
    distance_m = distances_m(latitude, longitude, to_latitude, to_longitude)
    odds = position_odds(distance_m / 1000, error_m / 1000, [row.extent for row, _ in pairs])
    for (row, position), value, metres in zip(pairs, odds.tolist(), distance_m.tolist(), strict=True):
        # Rounded, so that the same evidence gives the same row.
        yield row, position, PositionOdds(float(f"{value:.4g}"), float(round(metres)))
