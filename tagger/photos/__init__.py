"""Photos: where they come from, what they are, their pixels; here the facts that a file states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from tagger.texts.text_format import N_

# ruff: noqa: RUF009 - each fact is a field


# The range of UTC offsets on Earth.
LEAST_OFFSET_S, LARGEST_OFFSET_S = -12 * 3600, 14 * 3600
# No two places on Earth are further apart.
LARGEST_ERROR_M = 20_000_000


class PhotoOrigin(StrEnum):
    """Why an image is not as a camera took it: its time and position say little about what it shows."""

    SCREENSHOT = "screenshot"
    EDITED = "edited"


@dataclass(frozen=True)
class PhotoFact:
    # The column that says which file states it. None: only the EXIF of the photo's own file does.
    #
    # Facts with one source come from one file, the first that states the first of them.
    source: str | None
    # The lowest and the highest value, inclusive.
    limits: tuple[float, float] | None
    # What the page calls it, and in lower case `tagger show`.
    label: str


def _fact(
    source: str | None = None,
    limits: tuple[float, float] | None = None,
    label: str = "",
) -> Any:
    return field(default=None, metadata={"fact": PhotoFact(source, limits, label)})


@dataclass(frozen=True, kw_only=True)
class ResultFacts:
    """The facts that results have. `taken_at` is the camera's local time without a zone, as in EXIF."""

    taken_at: datetime | None = _fact("taken_source", label=N_("Taken"))


@dataclass(frozen=True, kw_only=True)
class PhotoFacts(ResultFacts):
    """What one file states, or all files of a photo together; None where they state nothing valid.

    `utc_offset_s` is local time minus UTC. `latitude` and `longitude` are degrees, both set or neither, and
    `gps_error_m` is their error as the file states it. `origin` is set if no camera took the photo as it is.
    `is_date_unread`: there is a date, but none that can be read.
    """

    utc_offset_s: int | None = _fact("taken_source", (LEAST_OFFSET_S, LARGEST_OFFSET_S))
    latitude: float | None = _fact("gps_source", (-90, 90))
    longitude: float | None = _fact("gps_source", (-180, 180))
    gps_error_m: float | None = _fact("gps_source", (0, LARGEST_ERROR_M))
    origin: PhotoOrigin | None = _fact()
    is_date_unread: bool = False


@dataclass(frozen=True, kw_only=True)
class CameraFacts(PhotoFacts):
    """What a photo's own file states. `make`, `model` and `serial` are short lines of printable text.

    `orientation`: 1 to 8, as in EXIF; None if the file states none.
    """

    make: str | None = None
    model: str | None = None
    serial: str | None = None
    orientation: int | None = None


# The declarations by column.
PHOTO_FACTS: dict[str, PhotoFact] = {
    each.name: each.metadata["fact"] for each in fields(PhotoFacts) if each.metadata
}
RESULT_FACTS = {each.name: PHOTO_FACTS[each.name] for each in fields(ResultFacts)}
# By the column of a source, its first fact.
FIRST_FACTS: Mapping[str, str] = {
    fact.source: name for name, fact in reversed(PHOTO_FACTS.items()) if fact.source
}


def merge_facts(statements: Sequence[tuple[str, PhotoFacts]]) -> dict[str, Any]:
    """The columns of facts and of their sources: those of one source from the first file that states them.

    `statements`: who states what, the photo's own file first.
    """
    own = statements[0]
    counting = {
        source: next(
            (each for each in statements if getattr(each[1], name) is not None), own
        )
        for source, name in FIRST_FACTS.items()
    }
    facts = {
        name: getattr(counting.get(fact.source or "", own)[1], name)
        for name, fact in PHOTO_FACTS.items()
    }
    return facts | {source: by for source, (by, _) in counting.items()}
