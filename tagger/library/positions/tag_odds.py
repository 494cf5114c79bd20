"""Which tags are accepted once the positions of their photos count: the odds that a position gives for or against a tag.

By Bayes' rule, the odds of a tag are those of its score times P(distance | right) / P(distance | wrong), where the distance is from
where the camera stood to the landmark. What was measured for it, and what is assumed: docs/explanation/positions.md. Only measured
positions count: one that follows from a landmark, or from other photos, is no evidence for a tag. Where the photo has none, its
camera's GPS before and after it counts, if nobody reaches the landmark in that time (see measured_positions). `accepted` of a tag
holds the result, and so does the outcome of its image. A tag has `position_odds` only if its position reverses what its score alone
decides, so `accepted` and `position_odds` together tell what that was.

A taught tag is accepted only where the model is not nearly certain of another landmark. What changes that, a verdict or a position,
leads to an update, which decides again.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import (
    CompoundSelect,
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    case,
    false,
    func,
    literal,
    or_,
    select,
    true,
    union,
    union_all,
    update,
)

from tagger.database.enums import CLASSIFIED_OUTCOMES, Doubt, Outcome
from tagger.database.statements import among
from tagger.database.tables import contents, job_items, landmarks, ledgers, photos, tags, taught_tags
from tagger.library.catalog.contents import (
    is_accepted_by_score,
    is_tagged,
    lock_contents,
    prevails_over_taught,
    record_matching_photos,
)
from tagger.library.catalog.landmarks import REACHES_KM, UNKNOWN_EXTENT
from tagger.library.positions.estimation import Floats, distances_m
from tagger.library.positions.measured_positions import (
    MeasuredPosition,
    Passage,
    contradicted_photos,
    measured_positions,
    passages,
)
from tagger.model.predictions import TAUGHT_THRESHOLD

MOST = 5.0
"""The odds near a landmark. Photos that a model mistakes for it show a neighbour of it more often than a distant place."""
LEAST = 0.002
"""The odds on the other side of the world: one camera in 500 says a position that is grossly wrong."""
SURE_SCORE = 0.99
"""A higher score counts as this: no score is known to be right more often."""
LEAST_SCORE = 0.5
"""A tag with a lower score is never accepted because of its position."""


def position_odds(distance_km: Floats, error_km: Floats, extents: Sequence[str | None]) -> Floats:
    """P(distance | right) / P(distance | wrong) of N photos and landmarks.

    Of the distances in REACHES_KM, the odds are MOST up to the first one, 1 between the second and the third one, and LEAST from
    the fourth one on. Between these, their logarithm is proportional to that of the distance.
    Of the nearest and the farthest distance that the error of a position allows, the odds closer to 1 count; 1 if the two disagree.
    """
    nearest = np.maximum(distance_km - error_km, 0.0)
    farthest = distance_km + error_km
    odds = np.ones(len(distance_km))
    of_extent = np.array([extent if extent in REACHES_KM else UNKNOWN_EXTENT for extent in extents])
    for extent in REACHES_KM:
        chosen = of_extent == extent
        least, most = _odds_at(farthest[chosen], extent), _odds_at(nearest[chosen], extent)
        odds[chosen] = np.where(most < 1.0, most, np.maximum(least, 1.0))
    return odds


def weighed(score: float, odds: float) -> float:
    """The probability of a tag, from its calibrated score and the odds of its position."""
    capped = min(score, SURE_SCORE)
    return capped * odds / (capped * odds + 1.0 - capped)


def is_accepted(score: float, odds: float, threshold: float, *, by_score: bool) -> bool:
    """Whether a tag is accepted. `by_score`: whether its score alone accepts it.

    Odds above 1 never reject a tag, and odds below 1 never accept one.
    """
    if by_score:
        return odds >= 1.0 or weighed(score, odds) >= threshold
    return odds > 1.0 and score >= LEAST_SCORE and weighed(score, odds) >= threshold


def _odds_at(distance_km: Floats, extent: str) -> Floats:
    odds = np.array([MOST, 1.0, 1.0, LEAST])
    known = np.log(REACHES_KM[extent])
    return np.asarray(np.exp(np.interp(np.log(np.maximum(distance_km, 1e-6)), known, np.log(odds))))


@dataclass(frozen=True)
class _Odds:
    """The odds of a tag, and the distance of the photo that they follow from. `doubt`: the reason to store if odds below 1 reject the tag."""

    odds: float
    distance_m: float
    doubt: Doubt = Doubt.POSITION


@dataclass(frozen=True)
class _Change:
    """A tag, and what its columns should be."""

    table: Table
    content_id: int
    landmark_id: int
    score: float
    accepted: bool
    odds: _Odds | None


def update_tags(connection: Connection, photo_ids: Collection[int]) -> None:
    """Bring up to date which tags of these photos are accepted. Positions of copies that are not among them are estimated again.

    Called before the landmarks of these photos become anchors.
    """
    changes = _changes(connection, photo_ids)
    if not changes:
        return
    content_ids = {change.content_id for change in changes}
    lock_contents(connection, content_ids)
    for table in (tags, taught_tags):
        _store(connection, table, [change for change in changes if change.table is table])
    outcome = case((is_tagged(), Outcome.TAGGED.value), else_=Outcome.UNKNOWN.value)
    of_contents = among(contents.c.id, content_ids), contents.c.outcome.is_not(None)
    connection.execute(update(contents).where(*of_contents).values(outcome=outcome))
    copies = set(connection.scalars(select(photos.c.id).where(among(photos.c.content_id, content_ids))))
    record_matching_photos(connection, among(photos.c.id, copies - set(photo_ids)))


def record_changes(connection: Connection, photo_ids: Collection[int]) -> None:
    """Record these photos for the next update if some of their tags are not up to date any more."""
    content_ids = {change.content_id for change in _changes(connection, photo_ids)}
    if content_ids:
        record_matching_photos(connection, among(photos.c.content_id, content_ids))


def count_turned(connection: Connection) -> tuple[int, int]:
    """The numbers of images with a tag that is not accepted, and with one that is, because of the position of a photo."""
    doubtful, raised = (
        connection.scalar(select(func.count()).select_from(_turned_images(accepted=accepted).subquery())) or 0
        for accepted in (False, True)
    )
    return doubtful, raised


def count_doubtful_photos(connection: Connection, job: int) -> int:
    """The number of photos of a job with a tag that is not accepted because of the position of a photo."""
    of_job = (
        select(func.count())
        .select_from(job_items.join(photos, photos.c.id == job_items.c.photo_id))
        .where(job_items.c.job_id == job, job_items.c.outcome.in_(CLASSIFIED_OUTCOMES))
        .where(photos.c.content_id.in_(_turned_images(accepted=False)))
    )
    return connection.scalar(of_job) or 0


def _turned_images(*, accepted: bool) -> CompoundSelect[tuple[int]]:
    """The ids of images with a tag that is accepted, or not, because of the position of a photo."""
    return union(
        *(
            select(table.c.content_id).where(table.c.position_odds.is_not(None), table.c.accepted == accepted)
            for table in (tags, taught_tags)
        )
    )


def _changes(connection: Connection, photo_ids: Collection[int]) -> list[_Change]:
    """The tags of these photos that are not as they should be."""
    settings = connection.execute(select(ledgers.c.position_odds, ledgers.c.max_gap_s)).one()
    if not photo_ids:
        return []
    of_photos = among(photos.c.id, photo_ids) & photos.c.content_id.is_not(None)
    content_ids = set(connection.scalars(select(photos.c.content_id).where(of_photos)))
    measured = measured_positions(connection, content_ids) if settings.position_odds else []
    located = {position.content_id for position in measured}
    others = content_ids - located if settings.position_odds else ()
    between = list(passages(connection, others, settings.max_gap_s))
    passed = {passage.content_id for passage in between}
    turned, taught = _turned(connection, content_ids), _taught(connection, content_ids)
    rows = _tags(connection, located | passed | turned | taught)
    odds = _odds(connection, rows, measured, settings.max_gap_s) | _odds_of_passages(rows, between)
    decided = [_decided(row, odds.get((row.content_id, row.landmark_id))) for row in rows]
    return [
        should
        for row, should in zip(rows, _hold_back(rows, decided), strict=True)
        if (bool(row.accepted), _stored_odds(row)) != (should.accepted, should.odds)
    ]


def _turned(connection: Connection, content_ids: Collection[int]) -> set[int]:
    """The ids of those images with a tag that a position has turned."""
    queries = (
        select(table.c.content_id).where(
            among(table.c.content_id, content_ids), table.c.position_odds.is_not(None)
        )
        for table in (tags, taught_tags)
    )
    return set(connection.scalars(union_all(*queries)))


def _taught(connection: Connection, content_ids: Collection[int]) -> set[int]:
    """The ids of those images with a taught tag whose score is enough."""
    query = select(taught_tags.c.content_id).where(among(taught_tags.c.content_id, content_ids))
    return set(connection.scalars(query.where(is_accepted_by_score(taught_tags))))


def _decided(row: Row[Any], odds: _Odds | None) -> _Change:
    """What the score of a tag and its odds decide."""
    should = by_score = bool(row.by_score)
    if odds is not None:
        should = is_accepted(row.score, odds.odds, row.threshold, by_score=by_score)
    table = taught_tags if row.is_taught else tags
    new = odds if should != by_score else None
    return _Change(table, row.content_id, row.landmark_id, row.score, should, new)


def _hold_back(rows: Sequence[Row[Any]], decided: Sequence[_Change]) -> Iterator[_Change]:
    """The decisions, without accepted taught tags where the model is nearly certain of another landmark."""
    certain: dict[int, set[int]] = {}
    for row, each in zip(rows, decided, strict=True):
        if row.prevails and each.accepted:
            certain.setdefault(each.content_id, set()).add(each.landmark_id)
    for each in decided:
        is_alone = certain.get(each.content_id, {each.landmark_id}) == {each.landmark_id}
        is_held = each.table is taught_tags and each.accepted and not is_alone
        yield replace(each, accepted=False, odds=None) if is_held else each


def _stored_odds(row: Row[Any]) -> _Odds | None:
    if row.position_odds is None:
        return None
    return _Odds(row.position_odds, row.distance_m, Doubt(row.doubtful or Doubt.POSITION))


def _tags(connection: Connection, content_ids: Collection[int]) -> list[Row[Any]]:
    """The tags of these images that a position can turn, or has turned, with the near-certain ones of the model."""
    rows: list[Row[Any]] = []
    for table, threshold in ((tags, contents.c.threshold), (taught_tags, literal(TAUGHT_THRESHOLD))):
        query: Select[Any] = (
            select(
                table.c.content_id,
                table.c.landmark_id,
                table.c.score,
                table.c.accepted,
                table.c.doubtful,
                table.c.position_odds,
                table.c.distance_m,
                is_accepted_by_score(table).label("by_score"),
                threshold.label("threshold"),
                literal(table is taught_tags).label("is_taught"),
                (prevails_over_taught() if table is tags else false()).label("prevails"),
                landmarks.c.latitude,
                landmarks.c.longitude,
                landmarks.c.extent,
            )
            .join(contents, contents.c.id == table.c.content_id)
            .join(landmarks, landmarks.c.id == table.c.landmark_id)
            .where(
                among(table.c.content_id, content_ids),
                contents.c.damaged == false(),
                or_(
                    table.c.accepted == true(),
                    table.c.score >= LEAST_SCORE,
                    table.c.position_odds.is_not(None),
                ),
            )
        )
        rows += connection.execute(query)
    return rows


def _odds(
    connection: Connection,
    rows: Sequence[Row[Any]],
    measured: Sequence[MeasuredPosition],
    max_gap_s: float,
) -> dict[tuple[int, int], _Odds]:
    """The odds by content and landmark id: the best of the photos of an image, none without a measured position."""
    found = list(_photo_odds([row for row in rows if row.latitude is not None], measured))
    far = {position for _, position, odds in found if odds.odds < 1}
    wrong = contradicted_photos(connection, far, max_gap_s)
    right = [(row, odds) for row, position, odds in found if position.photo_id not in wrong]
    right.sort(key=lambda each: (each[1].odds, -each[1].distance_m))  # of each key, the last one counts
    return {(row.content_id, row.landmark_id): odds for row, odds in right}


def _odds_of_passages(rows: Sequence[Row[Any]], between: Sequence[Passage]) -> dict[tuple[int, int], _Odds]:
    """LEAST by content and landmark id, where no photo of the image can have been taken within sight of the landmark."""
    passages_of: dict[int, list[Passage]] = {}
    for passage in between:
        passages_of.setdefault(passage.content_id, []).append(passage)
    found = {}
    for row in rows:
        own = passages_of.get(row.content_id, ()) if row.latitude is not None else ()
        place = row.latitude, row.longitude
        if own and not any(passage.reaches(*place, row.extent) for passage in own):
            distance_m = min(passage.distance_m(*place) for passage in own)
            found[row.content_id, row.landmark_id] = _Odds(LEAST, float(round(distance_m)), Doubt.SPEED)
    return found


def _photo_odds(
    rows: Sequence[Row[Any]], measured: Sequence[MeasuredPosition]
) -> Iterator[tuple[Row[Any], MeasuredPosition, _Odds]]:
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
        yield row, position, _Odds(float(f"{value:.4g}"), float(round(metres)))


def _store(connection: Connection, table: Table, changes: Sequence[_Change]) -> None:
    if not changes:
        return
    # A tag that was replaced meanwhile is recorded again.
    is_same = (
        table.c.content_id == bindparam("content"),
        table.c.landmark_id == bindparam("landmark"),
        table.c.score == bindparam("same_score"),
    )
    values: dict[str, Any] = {
        name: bindparam(f"new_{name}") for name in ("accepted", "doubtful", "position_odds", "distance_m")
    }
    connection.execute(
        update(table).where(*is_same).values(values),
        [
            {
                "content": change.content_id,
                "landmark": change.landmark_id,
                "same_score": change.score,
                "new_accepted": change.accepted,
                "new_doubtful": change.odds.doubt if change.odds and not change.accepted else None,
                "new_position_odds": change.odds and change.odds.odds,
                "new_distance_m": change.odds and change.odds.distance_m,
            }
            for change in sorted(changes, key=lambda change: (change.content_id, change.landmark_id))
        ],
    )
