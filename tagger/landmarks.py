"""Landmarks: the places that labels stand for, what models say of them, and finding one by what a person types.

A landmark keeps its slug for ever, across models. Knows nothing of photos (see query). There are a few thousand of
them, so names are compared here, in Python, which folds the case of every script; SQLite folds ASCII only.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select, update

from tagger.errors import CountryNotFound, LandmarkAmbiguous, LandmarkNotFound
from tagger.globe import distance_km
from tagger.tables import landmarks, models

if TYPE_CHECKING:
    from tagger.artifact import Label, Manifest

SUGGESTIONS = 5


@dataclass(frozen=True)
class Landmark:
    """A place. Its coordinates may be missing; `extent` says whether they stand for a point, line, area or several."""

    id: int
    slug: str
    name: str
    country: str | None
    region: str | None
    city: str | None
    latitude: float | None
    longitude: float | None
    extent: str | None


def record_landmarks(connection: Connection, manifest: Manifest) -> dict[str, int]:
    """Make a manifest's landmarks known; returns ids by slug. The newest model's facts win, an older one's fill gaps."""
    newest = manifest.created_at.timestamp() >= _newest_created_at(connection)
    known = {landmark.slug: landmark for landmark in all_landmarks(connection)}
    fresh = [label.model_dump(exclude={"label"}) for label in manifest.labels if label.slug not in known]
    if fresh:
        connection.execute(insert(landmarks), fresh)
    for label in manifest.labels:
        if label.slug in known:
            _update_facts(connection, known[label.slug], label, newest=newest)
    return {landmark.slug: landmark.id for landmark in all_landmarks(connection)}


def all_landmarks(connection: Connection) -> list[Landmark]:
    """Every landmark, by slug."""
    rows = connection.execute(select(landmarks).order_by(landmarks.c.slug))
    return [Landmark(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it


def find_landmark(connection: Connection, wanted: str) -> Landmark:
    """The landmark with that slug or name, in any case.

    Raises:
        LandmarkNotFound: there is none; the message names those that are close.
        LandmarkAmbiguous: several have that name; the message gives their slugs.
    """
    known = all_landmarks(connection)
    typed = folded(wanted)
    for landmark in known:
        if wanted.strip().casefold() == landmark.slug:
            return landmark
    named = [landmark for landmark in known if typed == folded(landmark.name)]
    if len(named) > 1:
        raise LandmarkAmbiguous(wanted=wanted, slugs=", ".join(landmark.slug for landmark in named))
    if named:
        return named[0]
    close = _close(
        typed, {name: landmark.slug for landmark in known for name in (landmark.name, landmark.slug)}
    )
    raise LandmarkNotFound(wanted=wanted, close=_did_you_mean(close))


def landmarks_in_country(connection: Connection, wanted: str) -> list[Landmark]:
    """The landmarks of a country, named in any case.

    Raises:
        CountryNotFound: no landmark is there; the message names countries that are close.
    """
    known = all_landmarks(connection)
    typed = folded(wanted)
    found = [landmark for landmark in known if landmark.country and folded(landmark.country) == typed]
    if not found:
        close = _close(typed, {landmark.country: landmark.country for landmark in known if landmark.country})
        raise CountryNotFound(wanted=wanted, close=_did_you_mean(close))
    return found


def landmarks_near(
    connection: Connection, latitude: float, longitude: float, radius_km: float
) -> list[Landmark]:
    """The landmarks with coordinates at most `radius_km` away, along the ground."""
    return [
        landmark
        for landmark in all_landmarks(connection)
        if landmark.latitude is not None
        and landmark.longitude is not None
        and distance_km(latitude, longitude, landmark.latitude, landmark.longitude) <= radius_km
    ]


def _newest_created_at(connection: Connection) -> float:
    manifests = connection.scalars(select(models.c.manifest))
    dates = (datetime.fromisoformat(manifest["created_at"]).timestamp() for manifest in manifests)
    return max(dates, default=float("-inf"))


def _update_facts(connection: Connection, known: Landmark, label: Label, *, newest: bool) -> None:
    facts = label.model_dump(exclude={"label", "slug"})
    old = {column: getattr(known, column) for column in facts}
    merged = _merged(old, facts) if newest else _merged(facts, old)
    if merged != old:
        connection.execute(update(landmarks).where(landmarks.c.id == known.id).values(merged))


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` where it says something, else `under`; coordinates are taken together or not at all."""
    merged = {column: under[column] if value is None else value for column, value in over.items()}
    if over["latitude"] is None or over["longitude"] is None:
        merged |= {"latitude": under["latitude"], "longitude": under["longitude"]}
    return merged


def folded(name: str) -> str:
    """A name as it is compared with what a person types."""
    # Spaces, hyphens and underscores are one, and accents may be left out: people type `place massena`.
    bare = (letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    plain = "".join(bare).casefold()
    return " ".join(plain.replace("-", " ").replace("_", " ").split())


def _close(typed: str, names: Mapping[str, str]) -> Iterable[str]:
    """What may have been meant: names that are alike, or that have a word that is alike."""
    meant: dict[str, list[str]] = {}
    for name, answer in names.items():
        whole = folded(name)
        for spelling in (whole, *whole.split()):
            meant.setdefault(spelling, []).append(answer)
    found = (answer for spelling in get_close_matches(typed, meant, cutoff=0.7) for answer in meant[spelling])
    return islice(dict.fromkeys(found), SUGGESTIONS)


def _did_you_mean(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f" Did you mean {listed}?" if listed else ""
