"""Documents of landmarks and places, and of the models that know them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass
class Place:
    """Where a landmark is. The coordinates are null if only the city is known, the city is null far from every city."""

    city: str | None
    region: str | None
    country: str | None
    latitude: float | None
    longitude: float | None


@dataclass
class TaughtLandmark:
    """A landmark after it was taught: from how many `examples`, how many photos were `compared`, and what was found.

    `precision`: the part of the tagged photos that is probably right. `left_out`: photos that have no embedding.
    """

    landmark: str
    examples: int
    rejected: int
    compared: int
    tagged: int
    suggested: int
    precision: float | None
    seconds: float
    left_out: list[int]


@dataclass
class Landmark:
    """A landmark. `names` are by language, `edited` the columns that a person set, `own`: no registered model knows it."""

    landmark: str
    name: str
    names: dict[str, str]
    aliases: list[str]
    country: str | None
    region: str | None
    city: str | None
    latitude: float | None
    longitude: float | None
    extent: str | None
    edited: list[str]
    merged_slugs: list[str]
    own: bool
    dry_run: bool


@dataclass
class EditedLandmark(Landmark):
    """A landmark after an edit, and the columns that changed."""

    changed: list[str]


@dataclass
class MergedLandmark(Landmark):
    """A landmark after another one (`merged`) was merged into it, with the numbers of what came from that one.

    `replaced`: opposite verdicts on the same image, of which the newer one stays. `taught_tags`: what was learned for it
    and is gone.
    """

    merged: str
    verdicts: int
    tags: int
    replaced: int
    taught_tags: int


@dataclass
class RemovedLandmark:
    """A removed landmark, the verdicts that went with it, and the schedules that select photos by it."""

    landmark: str
    name: str
    confirmed: int
    rejected: int
    taught_tags: int
    schedules: list[str]
    dry_run: bool


@dataclass
class Model:
    """A registered model."""

    name: str
    digest: str
    file: str
    in_use: bool
    shipped: bool
    labels: int
    threshold: float
    created_at: datetime
    metrics: dict[str, Any]
