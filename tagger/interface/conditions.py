"""What scripts may ask of photos, for type checkers: the options of `tagger query`, and its TEXT.

A test compares each condition with the option that is declared in tagger.query.options.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TypedDict

from tagger.query.option_values import BoundingBox
from tagger.query.options import Alternatives, PositionOption, SortOption, VerdictOption
from tagger.query.tagged_photos import TaggedPhoto

# A photo, by its path or address, or as `Library.photos` returns it.
Named = str | Path | TaggedPhoto


class BackfillConditions(TypedDict, total=False):
    """The conditions of `Library.backfill`."""

    landmark: str | Iterable[str] | None
    country: str | Iterable[str] | None
    thing: str | Iterable[str] | None
    near: str | tuple[float, float] | None
    radius_km: float | None
    box: str | tuple[float, float, float, float] | BoundingBox | None
    position: PositionOption | None
    trip: str | None
    job: int | None
    min_score: float | None
    verdict: VerdictOption | None
    camera: str | Iterable[str] | None
    under: Named | Iterable[Named] | None
    year: int | Iterable[int] | None
    calendar_month: int | Iterable[int] | None
    calendar_day: str | Iterable[str] | None
    undated: bool
    taken_after: str | date | None
    taken_before: str | date | None
    any_of: str | Alternatives | Iterable[str | Alternatives] | None
    without: str | Alternatives | Iterable[str | Alternatives] | None


class Conditions(BackfillConditions, total=False):
    """The conditions of `Library.photos`."""

    model: str | None
    unknown: bool
    untagged: bool
    failed: bool
    dismissed: bool
    favourite: bool
    any_rank: bool
    sort: SortOption | None
    distinct: bool
    limit: int | None
    text: str | None
