"""What a query wants: the options as a person gives them, then with names looked up, as SQL and as a choice of tags.

Knows nothing of how photos are found and read (see query and walks).
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, false, or_, select

from tagger.errors import ModelNotFound
from tagger.landmarks import find_landmark, landmarks_in_country, landmarks_near
from tagger.photos import path_text
from tagger.query.walks import Condition, off_index
from tagger.roots import Places, Root, list_roots
from tagger.tables import Outcome, contents, models, photos, tags, verdicts


@dataclass(frozen=True)
class Near:
    """A circle on the ground; landmarks whose coordinates lie in it."""

    latitude: float
    longitude: float
    radius_km: float


@dataclass(frozen=True)
class PhotoQuery:
    """What is asked for; all conditions hold together, None or False asks nothing.

    By default photos with an accepted tag that fits, and those tags. `any_rank`: photos looked at, with the whole
    top-k, accepted or not. `unknown`: looked at, nothing accepted. `untagged`: no model has looked yet, and not for
    want of trying. `min_score` never hides what a person confirmed. `under` may name several folders or files;
    `taken_after` is inclusive and `taken_before` is not, both in the camera's local time.
    """

    landmark: str | None = None
    country: str | None = None
    near: Near | None = None
    min_score: float | None = None
    under: tuple[Path, ...] = ()
    taken_after: datetime | None = None
    taken_before: datetime | None = None
    model: str | None = None
    unknown: bool = False
    untagged: bool = False
    any_rank: bool = False
    limit: int | None = None


_FIRST_CHARACTER = "\x01"  # no name holds \x00, so nothing but the name itself is before name + this
_AFTER_SLASH = chr(ord("/") + 1)


@dataclass(frozen=True, order=True)
class PathRange:
    """Paths of a root from `low` to before `high`, as text compares by bytes; the whole root if both are empty."""

    root_id: int
    low: str = ""
    high: str = ""

    @property
    def condition(self) -> Condition:
        """As the walk along paths has it."""
        return self._inside(photos.c.root_id)

    @property
    def filter(self) -> Condition:
        """As other walks have it."""
        return self._inside(off_index(photos.c.root_id))

    def _inside(self, root_id: ColumnElement[int]) -> Condition:
        inside = root_id == self.root_id
        return and_(inside, photos.c.path >= self.low, photos.c.path < self.high) if self.high else inside

    def holds(self, other: "PathRange") -> bool:
        """Whether every path of `other`, which does not begin earlier, is in this range too."""
        return self.root_id == other.root_id and (
            not self.high or (other.low != "" and other.low < self.high)
        )


@dataclass(frozen=True)
class Asked:
    """The query with its names looked up. `landmarks`: position of each wanted landmark by id; None: any."""

    query: PhotoQuery
    landmarks: Mapping[int, int] | None
    model_id: int | None
    ranges: tuple[PathRange, ...]

    @classmethod
    def of(cls, connection: Connection, query: PhotoQuery, places: Places) -> Self:
        wanted = _wanted_landmarks(connection, query)
        return cls(
            query=query,
            landmarks=None
            if wanted is None
            else {number: position for position, number in enumerate(wanted)},
            model_id=None if query.model is None else _model_id(connection, query.model),
            ranges=tuple(path_ranges(connection, query.under, places)),
        )

    def conditions(self, walked_landmark: int | None) -> tuple[Condition, ...]:
        """What SQL can say of the photos wanted, beside what the walk says; the tags of a page say the rest."""
        query = self.query
        given: list[Condition] = [photos.c.gone_since.is_(None)]
        if walked_landmark is None:
            given.append(self._seen())
            if self.landmarks is not None:
                given.append(_has_landmark(tuple(self.landmarks)))
            if query.min_score is not None:
                given.append(_has_score(query.min_score))
        if query.under:
            given.append(or_(false(), *(wanted.filter for wanted in self.ranges)))
        if query.taken_after is not None:
            given.append(off_index(photos.c.taken_at) >= query.taken_after)
        if query.taken_before is not None:
            given.append(off_index(photos.c.taken_at) < query.taken_before)
        if self.model_id is not None:
            given.append(off_index(contents.c.model_id) == self.model_id)
        return tuple(given)

    def _seen(self) -> Condition:
        if self.query.untagged:
            return and_(off_index(contents.c.outcome).is_(None), photos.c.failure_kind.is_(None))
        if self.query.unknown or self.query.any_rank:
            return off_index(contents.c.outcome).is_not(None)
        confirmed = exists().where(
            verdicts.c.content_id == photos.c.content_id, verdicts.c.verdict == "confirmed"
        )
        return or_(off_index(contents.c.outcome) == Outcome.TAGGED, confirmed)

    def shown(self, known: Sequence[Row[Any]], walked_landmark: int | None) -> Sequence[Row[Any]] | None:
        """Of all tags of a photo, those to give; None: the photo is not wanted, or another walk's."""
        query = self.query
        if query.untagged or query.unknown:
            is_wanted = not any(tag.accepted for tag in known)
            return (known if query.any_rank else ()) if is_wanted else None
        fitting = [tag for tag in known if self._fits(tag)]
        if query.any_rank and self.landmarks is None and query.min_score is None:
            return known
        if not fitting or not self._is_first(fitting, walked_landmark):
            return None
        return known if query.any_rank else fitting

    def _fits(self, tag: Row[Any]) -> bool:
        if tag.verdict == "rejected" or not (tag.accepted or self.query.any_rank):
            return False
        if self.landmarks is not None and tag.landmark_id not in self.landmarks:
            return False
        least = self.query.min_score
        return least is None or tag.verdict == "confirmed" or tag.score >= least

    def _is_first(self, fitting: Sequence[Row[Any]], walked_landmark: int | None) -> bool:
        """Where landmarks are walked one by one, a photo with several of them belongs to the first walk."""
        if walked_landmark is None or self.landmarks is None:
            return True
        first = min(fitting, key=lambda tag: (self.landmarks or {})[tag.landmark_id])
        return bool(first.landmark_id == walked_landmark)


def _has_landmark(landmark_ids: Sequence[int]) -> Condition:
    said = exists().where(tags.c.content_id == photos.c.content_id, tags.c.landmark_id.in_(landmark_ids))
    confirmed = exists().where(
        verdicts.c.content_id == photos.c.content_id,
        verdicts.c.landmark_id.in_(landmark_ids),
        verdicts.c.verdict == "confirmed",
    )
    return or_(said, confirmed)


def _has_score(least: float) -> Condition:
    said = exists().where(tags.c.content_id == photos.c.content_id, tags.c.score >= least)
    confirmed = exists().where(
        verdicts.c.content_id == photos.c.content_id, verdicts.c.verdict == "confirmed"
    )
    return or_(said, confirmed)


def _wanted_landmarks(connection: Connection, query: PhotoQuery) -> list[int] | None:
    """Ids of the landmarks that all of landmark, country and near allow; None: none of these was given."""
    allowed: list[set[int]] = []
    if query.landmark is not None:
        allowed.append({find_landmark(connection, query.landmark).id})
    if query.country is not None:
        allowed.append({landmark.id for landmark in landmarks_in_country(connection, query.country)})
    if query.near is not None:
        near = landmarks_near(connection, query.near.latitude, query.near.longitude, query.near.radius_km)
        allowed.append({landmark.id for landmark in near})
    return sorted(set.intersection(*allowed)) if allowed else None


def _model_id(connection: Connection, name: str) -> int:
    found = connection.scalar(select(models.c.id).where(models.c.name == name))
    if found is None:
        names = connection.scalars(select(models.c.name).order_by(models.c.name)).all()
        raise ModelNotFound(wanted=name, names=", ".join(names) or "none is registered")
    return int(found)


def path_ranges(connection: Connection, folders: Iterable[Path], places: Places) -> list[PathRange]:
    """Where the folders are in the database, each photo in one range only."""
    known = list_roots(connection, places)
    ranges = sorted({found for folder in folders for root in known for found in _ranges_in(root, folder)})
    kept: list[PathRange] = []
    for found in ranges:  # in the order of their low ends, so one that holds another comes first
        if not (kept and kept[-1].holds(found)):
            kept.append(found)
    return kept


def _ranges_in(root: Root, folder: Path) -> Iterator[PathRange]:
    # A folder may be named through a link; roots are kept resolved, but settings may place them behind one.
    for place in {Path(os.path.abspath(folder)), Path(os.path.realpath(folder))}:  # noqa: PTH100 - keeps links, drops ..
        if root.folder.is_relative_to(place):
            yield PathRange(root.id)
        elif place.is_relative_to(root.folder):
            # The text of a name that is not UTF-8 spells its odd bytes out; a folder's text stays a prefix of its photos'.
            text, _ = path_text(place.relative_to(root.folder))
            yield PathRange(root.id, text, text + _FIRST_CHARACTER)
            yield PathRange(root.id, text + "/", text + _AFTER_SLASH)
