"""Documents of what people said about photos."""

from dataclasses import dataclass
from datetime import datetime


@dataclass
class Dismissal:
    """Who put the photo away as not a landmark, and when."""

    given_by: str | None
    given_at: datetime


@dataclass
class VerdictResult:
    """A landmark's verdict on a photo after the request, and `before` it."""

    path: str
    digest: str
    landmark: str
    name: str
    verdict: str | None
    before: str | None
    changed: bool
    photos: int
    dry_run: bool


@dataclass
class ListedVerdict:
    """A verdict on an image; `path` is one of its photos, null if there is none now."""

    path: str | None
    landmark: str
    name: str
    verdict: str
    by: str | None
    at: datetime
    digest: str


@dataclass
class VerdictPage:
    """A page of verdicts; `next` is null on the last page."""

    verdicts: list[ListedVerdict]
    next: str | None


@dataclass
class ChangedVerdict:
    """A photo whose verdict changed, and the verdict before."""

    photo: int
    before: str | None


@dataclass
class QueryVerdictResult:
    """A verdict on all photos of a query; `replaced` is how many had the other verdict."""

    verdict: str
    photos: int
    tags: int
    replaced: int
    dry_run: bool


@dataclass
class PhotosVerdictResult(QueryVerdictResult):
    """A verdict on a list of photos; those in `left_out` are not classified."""

    changed: list[ChangedVerdict]
    left_out: list[int]


@dataclass
class DismissedPhotos:
    """The photos that the request changed, and those that it did not: they are as requested already (`unchanged`), have a confirmed
    landmark, or are not classified (`left_out`).
    """

    changed: list[int]
    unchanged: list[int]
    confirmed: list[int]
    left_out: list[int]
    dry_run: bool


@dataclass
class WithdrawnVerdicts:
    """How many verdicts were withdrawn."""

    verdict: str
    withdrawn: int
    dry_run: bool
