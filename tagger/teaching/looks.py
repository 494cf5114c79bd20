"""Looks: what photos with a position near a place have in common, so that one question names all.

Photos near a sight are examples of it that nobody has confirmed: some show it, the others a meal, people, or
another building. A look is learned from the largest group of near photos that are alike, and that photos
taken elsewhere are not like. It cannot tell what the group shows. So it makes no tag: a person is asked (see
questions). Measured positions alone count, never estimates.

docs/explanation/looks.md says how it is learned, what it reaches, and what did not pay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from heapq import nlargest
from itertools import chain, groupby
from math import ceil
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Text,
    and_,
    bindparam,
    delete,
    distinct,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from tagger.cameras import clock_seconds
from tagger.database import MEASURED, LookAnswer, VerdictKind
from tagger.database.connection import Database
from tagger.database.statements import (
    AdvisoryLock,
    among,
    insert_page,
    rounded_down,
    take_lock,
    unindexed,
)
from tagger.database.tables import (
    contents,
    effective_tags,
    embeddings,
    landmarks,
    look_photos,
    looks,
    photos,
    positions,
    verdicts,
)
from tagger.geo import distance_km
from tagger.kept.update import Progress
from tagger.landmarks import all_landmarks
from tagger.model import SUGGESTED_SCORE, TAUGHT_THRESHOLD
from tagger.positions.estimation import distances_m
from tagger.positions.evidence import DAY_NUMBER, runs_of
from tagger.query import Near
from tagger.query.photo_conditions import Box
from tagger.registry import RegisteredModel
from tagger.sights import library_sights
from tagger.sphere import Floats
from tagger.tags import is_dismissed
from tagger.teaching.classifiers import (
    Classifier,
    Embeddings,
    EmbeddingSpace,
    SeveralClassifiers,
    calibrate,
    evenly,
    fit_direction,
    lengths,
    restore,
    share_of,
)
from tagger.teaching.comparison import PAGE, stored_pages
from tagger.teaching.learning import Learner, embedding_of
from tagger.teaching.similarity import join_groups

# ----- The look of a place, from embeddings alone -----

# Two photos this alike are of one scene, and so are less alike ones within minutes of each other.
# Frames of a burst have 0.8 to 0.9, different photos of a sight 0.1 to 0.5.
SCENE_COSINE, BURST_COSINE, BURST_S = 0.75, 0.40, 600.0
# Fewer scenes say nothing; a place with more is somebody's home or work.
LEAST_SCENES, MOST_SCENES = 3, 200
# Fewer photos elsewhere cannot say what is usual in the library. More than this add nothing.
LEAST_FAR, MOST_FAR = 30, 600
# Photos are linked if they are more alike than this, and than each is like the most similar hundredth of
# the photos elsewhere. Of many near photos, fewer may be as similar by chance.
LEAST_LINKED_COSINE, USUAL_SHARE, USUAL_PAIRS = 0.10, 0.01, 0.3
# Groups are joined while a tenth of the pairs between them are linked. A group must be a tenth of all.
LINKED_SHARE, GROUP_SHARE = 0.1, 0.1
# What is assumed of the near photos when further ones are added to the group, if they are so likely.
NEAR_SHARE, ADDED_FROM = 0.3, 0.9
# A look that finds more of the photos elsewhere is that of a room, a meal or a person.
MOST_FAR_SHARE = 0.03
# So many photos without a position must very probably show what a look shows, or nobody is asked.
LEAST_LIKELY = 2


@dataclass(frozen=True)
class Surroundings:
    """What a look is learned from: photos near a place, and others. All embeddings are transformed."""

    near: Embeddings  # (N, D), in order of time
    seconds: Floats  # (N,), when they were taken; NaN: not known
    trip: Embeddings  # (T, D), taken elsewhere on the same days
    elsewhere: npt.NDArray[
        np.int64
    ]  # (F,), rows of the library's sample that were taken elsewhere
    is_other: npt.NDArray[np.bool_]  # (M,), which rows of the sample are not near


@dataclass(frozen=True)
class Look:
    """What near photos have in common. `rows`: the photos that show it, of so many `scenes`.

    `classifier`: of embeddings, at the landmark's share in the library.
    """

    rows: Sequence[int]
    scenes: int
    classifier: Classifier


def find_looks(
    space: EmbeddingSpace,
    places: Sequence[Surroundings],
    library: Embeddings,
) -> list[Look | None]:
    """The look of each place; None: its photos have none.

    All together, as products with the library's sample (M, D) take most of the time.

    Raises:
        ValueError: the values are so large that nothing can be computed.
    """
    scenes_of, rows_of = {}, {}
    for index, place in enumerate(places):
        directions = (place.near / lengths(place.near)[:, np.newaxis]).astype(
            np.float32
        )
        scenes = find_scenes(directions, place.seconds)
        far_count = len(place.trip) + len(place.elsewhere)
        if LEAST_SCENES <= len(scenes) <= MOST_SCENES and far_count >= LEAST_FAR:
            far = place.trip, library[place.elsewhere]
            group = _largest_group(directions[scenes], far)
            if len(group) >= max(LEAST_SCENES, ceil(GROUP_SHARE * len(scenes))):
                scenes_of[index], rows_of[index] = scenes, scenes[group]
    classifiers = _learned(space, places, rows_of, library)

    # Other near photos that very probably show it, such as its back, are examples, too.
    larger = {}
    for index, rows in rows_of.items():
        others = np.setdiff1d(scenes_of[index], rows)
        of_near = classifiers[index].at_share(NEAR_SHARE)
        added = others[of_near.scores(places[index].near[others]) >= ADDED_FROM]
        if len(added):
            larger[index] = np.union1d(rows, added)
    rows_of |= larger
    classifiers |= _learned(space, places, larger, library)

    looks: list[Look | None] = [None] * len(places)
    if classifiers:
        several = SeveralClassifiers.joined(list(classifiers.values()))
        logits = several.logits(library).T
        weights, bias = space.untransformed(several.weights, several.bias)
        for index, start, of_sample in zip(
            classifiers,
            several.starts,
            logits,
            strict=True,
        ):
            place, classifier = places[index], classifiers[index]
            far_logits = [classifier.logits(place.trip), of_sample[place.elsewhere]]
            if (np.concatenate(far_logits) > 0).mean() <= MOST_FAR_SHARE:
                columns = np.s_[start : start + len(classifier.bias)]
                of_embeddings = Classifier(weights[:, columns], bias[columns])
                share = share_of(of_sample[place.is_other])
                looks[index] = Look(
                    rows_of[index].tolist(),
                    len(scenes_of[index]),
                    of_embeddings.at_share(share),
                )
    return looks


def find_scenes(directions: Embeddings, seconds: Floats) -> npt.NDArray[np.int64]:
    """The rows of photos (N, D), in order of time, without those that repeat an earlier one."""
    cosines = directions @ directions.T
    is_soon = np.abs(seconds[:, np.newaxis] - seconds) <= BURST_S
    is_repeated = cosines > np.where(is_soon, BURST_COSINE, SCENE_COSINE)
    return np.flatnonzero(~np.triu(is_repeated, 1).any(axis=0))


def _largest_group(scenes: Embeddings, far: Sequence[Embeddings]) -> list[int]:
    # The rows of the largest group of scenes (N, D) that are linked, by their directions.
    share = min(USUAL_SHARE, USUAL_PAIRS / len(scenes))
    cosines = np.hstack([scenes @ photos.T / lengths(photos) for photos in far])
    usual = np.quantile(cosines, 1 - share, axis=1)
    least = np.maximum(
        LEAST_LINKED_COSINE,
        np.maximum(usual[:, np.newaxis], usual),
    )
    is_linked = (scenes @ scenes.T > least).astype(np.float32)
    groups = join_groups(
        is_linked,
        [[row] for row in range(len(scenes))],
        LINKED_SHARE,
    )
    groups.sort(key=len)
    return sorted(groups[-1])


def _learned(
    space: EmbeddingSpace,
    places: Sequence[Surroundings],
    rows_of: Mapping[int, npt.NDArray[np.int64]],
    library: Embeddings,
) -> dict[int, Classifier]:
    # The classifiers of places, from these of their near photos.
    examples = (places[index].near[rows] for index, rows in rows_of.items())
    directions = [fit_direction(space, rows, rows[:0]) for rows in examples]
    if not directions:
        return {}
    resemblances = np.stack([direction.weights for direction in directions]) @ library.T
    return {
        index: calibrate(direction, of_sample[places[index].is_other])
        for index, direction, of_sample in zip(
            rows_of,
            directions,
            resemblances,
            strict=True,
        )
    }


# ----- Looks in SQL -----
#
# They are learned where near photos have changed, and compared with photos without a position.

# If this changes, all looks are learned again.
METHOD = 1
# Photos of a sight are taken from as far away as this.
RADIUS_KM = 0.3
# Near photos that are read: more of them have too many scenes anyway.
MOST_NEAR = 1000
# Up to half of the photos elsewhere are of the same days, within this distance: other buildings of the
# town are the likeliest wrong look.
TRIP_KM, TRIP_DAYS = 30.0, timedelta(days=3)
# Nobody is asked about where people live, and lie.
SILENT_KINDS = frozenset({"building", "cemetery", "house"})
# Home and work: cells of a hundredth of a degree with photos of so many days, and of half as many as any.
LEAST_HOME_DAYS, HOME_KM, CELLS_PER_DEGREE = 12, 1.0, 100
# Places that are learned together, from 7 MB of photos each at most, and looks that are compared at once:
# 40 MB.
PLACES_PAGE, LOOKS_PAGE = 20, 64
# Neighbours are learned one after the other: by parallels so many to a degree, then by longitude.
PARALLELS_PER_DEGREE = 4
# New looks that are compared with all photos after one job: the others follow after the next one.
MOST_NEW = 4 * LOOKS_PAGE
# Photos that are kept of those that may show what a look shows.
MOST_LIKE = 200

# What is read of all rows.
_STORED = (
    "id",
    "sight",
    "latitude",
    "longitude",
    "landmark_id",
    "evidence",
    "answer",
    "answered_scenes",
)
_Columns = dict[str, Any]


@dataclass(frozen=True)
class AskedSight:
    """A sight, or a landmark that people added. `evidence` tells its near photos from earlier ones."""

    sight: str | None
    landmark_id: int | None
    latitude: float
    longitude: float
    evidence: str

    @property
    def coordinates(self) -> tuple[float, float]:
        return self.latitude, self.longitude


def update_looks(
    database: Database,
    model: RegisteredModel,
    on_progress: Progress,
) -> None:
    """Learn the looks of places whose near photos have changed, and compare them with other photos.

    Raises:
        EmbeddingsMissing: the model gives no embeddings.
        ModelFileNotFound, ModelRefused: the model's file cannot be read, or its embeddings cannot be used.
    """
    with database.read() as connection:
        # Neighbours together, as they have many photos in common.
        places = sorted(
            _changed_places(connection, model.id),
            key=lambda place: (
                round(PARALLELS_PER_DEGREE * place.latitude),
                place.longitude,
            ),
        )
    if places:
        _learn(database, model, places, on_progress)
    # Compare looks with the images without a position that were not compared yet.
    with database.read() as connection:
        last = connection.scalar(select(func.max(embeddings.c.content_id))) or 0
        rows = connection.execute(
            select(looks.c.id, looks.c.compared_to, looks.c.evidence)
            .where(
                looks.c.model_id == model.id,
                looks.c.answer.is_(None),
                looks.c.data.is_not(None),
                looks.c.compared_to < last,
            )
            .order_by(looks.c.compared_to, looks.c.photos.desc(), looks.c.id)
        ).all()
    for first, of_first in groupby(rows, key=attrgetter("compared_to")):
        due = list(of_first)[: None if first else MOST_NEW]
        for start in range(0, len(due), LOOKS_PAGE):
            page = due[start : start + LOOKS_PAGE]
            _compare_page(database, model, page, (first + 1, last), on_progress)


def _learn(
    database: Database,
    model: RegisteredModel,
    places: Sequence[AskedSight],
    on_progress: Progress,
) -> None:
    with database.read() as connection:
        learner = _LookLearner(database, connection, model)
    for start in range(0, len(places), PLACES_PAGE):
        on_progress("comparing photos of places", start, len(places))
        page = places[start : start + PLACES_PAGE]
        with database.read() as connection:
            learned = list(learner.learn(connection, page))
        with database.write() as connection:
            take_lock(connection, AdvisoryLock.UPDATE_LOOKS)
            is_of_page = or_(
                looks.c.sight.in_([place.sight for place in page if place.sight]),
                looks.c.landmark_id.in_(
                    [place.landmark_id for place in page if not place.sight]
                ),
            )
            stored = _stored(connection, is_of_page)
            for place, values, content_ids in learned:
                row = stored.get(_key(place))
                if (
                    row is None or row.answer != LookAnswer.YES
                ):  # it may have come meanwhile
                    _store(connection, row, values, content_ids)


def is_unnamed(content_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether no landmark of the image is known: it has no tag, and nobody has decided about it."""
    return ~or_(
        exists().where(
            effective_tags.c.content_id == content_id,
            effective_tags.c.accepted == true(),
        ),
        exists().where(verdicts.c.content_id == content_id),
        is_dismissed(content_id),
    )


def is_measured(content_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether it was measured where a photo of the image was taken."""
    copies = photos.alias()
    return exists().where(
        positions.c.photo_id == copies.c.id,
        copies.c.content_id == content_id,
        unindexed(positions.c.source).in_(MEASURED),
    )


def _changed_places(connection: Connection, model_id: int) -> Iterator[AskedSight]:
    # The places whose near photos have changed since their looks were learned.
    numbers = (
        func.count(),
        func.max(positions.c.photo_id),
        func.sum(positions.c.photo_id),
    )
    of_sights = connection.execute(
        select(positions.c.sight, *numbers).group_by(positions.c.sight)
    ).all()
    # In a library of twice the size, other photos are usual: then all looks are learned again.
    size = sum(row[1] for row in of_sights).bit_length()
    known = f"{METHOD} {model_id} {size}"
    places = []

    sights = library_sights(connection)
    for name, *of_name in of_sights:
        for index in sights.called(name) if name else ():
            sight = sights.sight(index)
            # What a model or people have named already asks nothing.
            is_asking = (
                sight.kind not in SILENT_KINDS and index not in sights.landmark_ids
            )
            if sight.name == name and is_asking:
                places.append(
                    AskedSight(
                        name,
                        None,
                        sight.latitude,
                        sight.longitude,
                        f"{known} {of_name}",
                    )
                )

    # The landmarks that people added and have not taught yet.
    is_taught = exists().where(
        verdicts.c.landmark_id == landmarks.c.id,
        verdicts.c.verdict == VerdictKind.CONFIRMED,
    )
    for landmark in all_landmarks(connection, ~is_taught):
        latitude, longitude = landmark.latitude, landmark.longitude
        if landmark.own and latitude is not None and longitude is not None:
            around = Box.around(Near(latitude, longitude, RADIUS_KM)).photo_ids
            is_near = positions.c.photo_id.in_(around)
            of_place = connection.execute(select(*numbers).where(is_near)).one()
            evidence = f"{known} {list(of_place)}"
            places.append(
                AskedSight(
                    None,
                    landmark.id,
                    latitude,
                    longitude,
                    evidence,
                )
            )

    stored = _stored(connection)
    for place in places:
        row = stored.get(_key(place))
        if row is None or (
            row.evidence != place.evidence and row.answer != LookAnswer.YES
        ):
            yield place


def _stored(
    connection: Connection, *conditions: ColumnElement[bool]
) -> dict[tuple[Any, ...], Row[Any]]:
    query = select(*(looks.c[name] for name in _STORED)).where(*conditions)
    return {_key(row): row for row in connection.execute(query)}


def _key(place: AskedSight | Row[Any]) -> tuple[Any, ...]:
    # What tells a place from others. An answer names the landmark of a sight.
    if place.sight:
        return place.sight, place.latitude, place.longitude
    return (place.landmark_id,)


class _LookLearner:
    # Learns looks of one model. The library's sample is read once.

    def __init__(
        self,
        database: Database,
        connection: Connection,
        model: RegisteredModel,
    ) -> None:
        self._model_id = model.id
        self._learner = Learner(database, model)
        self._sample = self._learner.sample(connection)
        self._homes = list(_homes(connection))

        # Existing photos with a measured position and an embedding of the model.
        columns = (
            photos.c.content_id,
            photos.c.taken_at,
            positions.c.latitude,
            positions.c.longitude,
        )
        is_of_model = (
            embeddings.c.content_id == photos.c.content_id,
            embeddings.c.model_id == model.id,
        )
        located = (
            select(*columns)
            .join(positions, positions.c.photo_id == photos.c.id)
            .join(embeddings, and_(*is_of_model))
            .where(
                photos.c.gone_since.is_(None),
                unindexed(positions.c.source).in_(MEASURED),
            )
        )

        # The rows of the sample where it is known, and their positions.
        is_sampled = among(
            photos.c.content_id,
            self._sample.content_ids.tolist(),
        )
        position_of = {
            row.content_id: (row.latitude, row.longitude)
            for row in connection.execute(located.where(is_sampled))
        }
        content_ids = np.array(sorted(position_of), np.int64)
        self._sampled = np.searchsorted(self._sample.content_ids, content_ids)
        in_order = [position_of[content_id] for content_id in content_ids.tolist()]
        self._coordinates = np.array(in_order, np.float64).reshape(-1, 2).T

        # What was taken at another sight belongs to that. Making such queries takes longer than executing
        # them, so they are made once.
        sight = positions.c.sight
        is_here = sight == func.coalesce(bindparam("sight", type_=Text), sight)
        in_box = select(positions.c.photo_id).where(*_in_box(positions.c.latitude))
        is_sound = contents.c.id == photos.c.content_id, contents.c.damaged == false()
        self._near_photos = (
            located.where(photos.c.id.in_(in_box), or_(sight.is_(None), is_here))
            .where(exists().where(*is_sound), is_unnamed(photos.c.content_id))
            .order_by(photos.c.id)
            .limit(MOST_NEAR)
        )
        in_days = photos.c.taken_at.between(
            bindparam("first"),
            bindparam("last"),
        )
        self._trip_photos = (
            located.where(in_days, *_in_box(unindexed(positions.c.latitude)))
            .order_by(photos.c.taken_at)
            .limit(4 * MOST_FAR)
        )

    def learn(
        self, connection: Connection, places: Sequence[AskedSight]
    ) -> Iterator[tuple[AskedSight, _Columns, Sequence[int]]]:
        # The columns of each place's row, and the images that show it.
        near_of = {place: self._near(connection, place) for place in places}
        trip_ids_of = {
            place: self._trip_ids(connection, place, near)
            for place, near in near_of.items()
        }
        # Neighbours have many photos in common, which are read once.
        content_ids = sorted({*chain(*near_of.values(), *trip_ids_of.values())})
        transformed = self._learner.transformed(connection, content_ids)
        surroundings = [
            self._surroundings(
                place,
                near,
                trip_ids_of[place],
                content_ids,
                transformed,
            )
            for place, near in near_of.items()
        ]
        looks = find_looks(
            self._learner.space,
            surroundings,
            self._sample.embeddings,
        )
        for (place, near), look in zip(near_of.items(), looks, strict=True):
            numbers = dict.fromkeys(
                ("scenes", "photos", "days", "compared_to", "likely"), 0
            )
            columns = (
                asdict(place) | numbers | {"model_id": self._model_id, "data": None}
            )
            shown = []
            if look is not None:
                photos_near = list(near.values())
                shown = [photos_near[row] for row in look.rows]
                days = {
                    row.taken_at.date() for row in shown if row.taken_at is not None
                }
                columns |= {
                    "scenes": look.scenes,
                    "photos": len(shown),
                    "days": len(days),
                    "data": look.classifier.to_bytes(),
                }
            yield place, columns, [row.content_id for row in shown]

    def _near(
        self,
        connection: Connection,
        place: AskedSight,
    ) -> dict[int, Row[Any]]:
        # The images that were taken near the place and may show it, in order of time. None at home.
        circle = Near(*place.coordinates, RADIUS_KM)
        around = Near(*place.coordinates, HOME_KM)
        if any(around.contains(*home) for home in self._homes):
            return {}
        rows = connection.execute(
            self._near_photos,
            _box_of(circle) | {"sight": place.sight},
        )
        by_time = sorted(rows, key=lambda row: (row.taken_at is not None, row.taken_at))
        near = {
            row.content_id: row
            for row in reversed(by_time)
            if circle.contains(row.latitude, row.longitude)
        }
        return near if LEAST_SCENES <= len(near) < MOST_NEAR else {}

    def _trip_ids(
        self,
        connection: Connection,
        place: AskedSight,
        near: Mapping[int, Row[Any]],
    ) -> list[int]:
        # Images that were taken elsewhere on the same days.
        box = _box_of(Near(*place.coordinates, TRIP_KM))
        days = sorted(
            {row.taken_at for row in near.values() if row.taken_at is not None}
        )
        trip_ids = set[int]()
        for run in runs_of(days, TRIP_DAYS):
            of_days = {"first": run[0] - TRIP_DAYS, "last": run[-1] + TRIP_DAYS}
            trip_ids |= {
                row.content_id
                for row in connection.execute(self._trip_photos, box | of_days)
                if RADIUS_KM
                < distance_km(*place.coordinates, row.latitude, row.longitude)
                <= TRIP_KM
            }
        in_order = np.array(sorted(trip_ids - near.keys()), np.int64)
        return list(evenly(in_order, MOST_FAR // 2).tolist())

    def _surroundings(
        self,
        place: AskedSight,
        near: Mapping[int, Row[Any]],
        trip_ids: Sequence[int],
        content_ids: Sequence[int],
        transformed: Embeddings,
    ) -> Surroundings:
        # `content_ids`, in order, are those of the rows of `transformed`.
        away_m = distances_m(*self._coordinates, *np.array(place.coordinates))
        away = self._sampled[away_m > 1000 * RADIUS_KM]
        is_usable = self._sample.is_other([*near, *trip_ids])
        times = [row.taken_at for row in near.values()]
        seconds = [np.nan if at is None else clock_seconds(at) for at in times]
        return Surroundings(
            transformed[np.searchsorted(content_ids, list(near))],
            np.array(seconds),
            transformed[np.searchsorted(content_ids, trip_ids)],
            evenly(away[is_usable[away]], MOST_FAR - len(trip_ids)),
            self._sample.is_other(near),
        )


def _in_box(latitude: ColumnElement[float]) -> Iterator[ColumnElement[bool]]:
    # Whether a position is inside the box that `_box_of` gives.
    yield latitude.between(bindparam("south"), bindparam("north"))
    yield unindexed(positions.c.longitude).between(
        bindparam("west"),
        bindparam("east"),
    )


def _box_of(circle: Near) -> dict[str, Any]:
    # The box around a circle; across 180° of longitude, the whole band.
    box = Box.around(circle)
    west, east = box.ranges[0] if len(box.ranges) == 1 else (-180.0, 180.0)
    return {"south": box.south, "north": box.north, "west": west, "east": east}


def _homes(connection: Connection) -> Iterator[tuple[float, float]]:
    # The middles of the cells where people have photographed on most days: home and work.
    cells = [
        rounded_down((column + 180) * CELLS_PER_DEGREE).label(column.name)
        for column in (positions.c.latitude, positions.c.longitude)
    ]
    days = func.count(distinct(DAY_NUMBER)).label("days")
    rows = connection.execute(
        select(*cells, days)
        .join(photos, photos.c.id == positions.c.photo_id)
        .where(unindexed(positions.c.source).in_(MEASURED))
        .group_by(*cells)
        .having(days >= LEAST_HOME_DAYS)
    ).all()
    most = max((row.days for row in rows), default=0)
    for row in rows:
        if 2 * row.days >= most:
            yield (
                (row[0] + 0.5) / CELLS_PER_DEGREE - 180,
                (row[1] + 0.5) / CELLS_PER_DEGREE - 180,
            )


def _store(
    connection: Connection,
    stored: Row[Any] | None,
    columns: _Columns,
    content_ids: Sequence[int],
) -> None:
    if stored is None:
        look_id = connection.scalar(insert(looks).values(columns).returning(looks.c.id))
    else:
        look_id = stored.id
        # A refusal holds until there are twice as many scenes.
        if stored.answer and columns["scenes"] >= 2 * stored.answered_scenes:
            columns["answer"] = None
        connection.execute(update(looks).where(looks.c.id == look_id).values(columns))
        connection.execute(delete(look_photos).where(look_photos.c.look_id == look_id))
    insert_page(
        connection,
        look_photos,
        ("look_id", "content_id"),
        [(look_id, content_id) for content_id in content_ids],
    )


def _compare_page(
    database: Database,
    model: RegisteredModel,
    page: Sequence[Any],
    content_ids: tuple[int, int],
    on_progress: Progress,
) -> None:
    # Compare some looks with the images from one id to another one, and store those that are alike.
    dimension = embedding_of(model).dimension
    look_ids = [row.id for row in page]
    with database.read() as connection:
        data = dict(
            connection.execute(
                select(looks.c.id, looks.c.data).where(looks.c.id.in_(look_ids))
            ).all()
        )
    several = SeveralClassifiers.of(
        [data[look_id] for look_id in look_ids],
        dimension,
    )
    is_new = embeddings.c.content_id.between(*content_ids)
    is_elsewhere = ~is_measured(embeddings.c.content_id)
    best: list[list[tuple[float, int]]] = [[] for _ in page]
    for rows in stored_pages(database, model.id, PAGE, is_new, is_elsewhere):
        scores = several.scores(restore([row.data for row in rows], dimension))
        for row, column in np.argwhere(scores >= SUGGESTED_SCORE).tolist():
            best[column].append((float(scores[row, column]), rows[row].content_id))
        best = [nlargest(MOST_LIKE, of_look) for of_look in best]
        on_progress(
            "comparing photos with places",
            rows[-1].content_id,
            content_ids[1],
        )

    likely = (
        select(func.count())
        .where(
            look_photos.c.look_id == looks.c.id,
            look_photos.c.score >= TAUGHT_THRESHOLD,
        )
        .scalar_subquery()
    )
    compared = {"compared_to": content_ids[1], "likely": likely}
    names = ("look_id", "content_id", "score")
    query = select(looks.c.id, looks.c.evidence).where(looks.c.id.in_(look_ids))
    with database.write() as connection:
        # Another process may have learned some anew meanwhile.
        current = dict(
            connection.execute(query.order_by(looks.c.id).with_for_update()).all()
        )
        same_ids = [look.id for look in page if current.get(look.id) == look.evidence]
        likely_rows = [
            (look_id, content_id, score)
            for look_id, of_look in zip(look_ids, best, strict=True)
            for score, content_id in of_look
            if look_id in same_ids
        ]
        insert_page(
            connection,
            look_photos,
            names,
            likely_rows,
            skip_existing=True,
        )
        connection.execute(
            update(looks).where(looks.c.id.in_(same_ids)).values(compared)
        )
