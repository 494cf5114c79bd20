"""The options of a photo query, and their one parser: the command line and web addresses mean the same by the same text."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, datetime
from pathlib import Path
from typing import Literal, get_args

from tagger.errors import QueryOptionInvalid
from tagger.library.trips.moment import TripMoment

DEFAULT_RADIUS_KM = 10.0
MAX_NAMES = 100
"""Landmarks or countries of a query. SQLite joins at most 500 selects, and each landmark needs three."""

PositionOption = Literal["camera", "landmark", "track", "neighbour", "any", "none"]
"""Where a photo's position comes from; anywhere; or nowhere: the photo has none."""

VerdictOption = Literal["confirmed", "rejected", "corrected", "any", "none"]
"""What people said about a photo: a landmark confirmed, one rejected, both; any of these; or nothing, so that it is not put away either."""

SortOption = Literal["newest", "oldest", "name", "score"]
"""The order of photos: by date, with those without a date last; by path; by the best accepted score, or that of the best candidate of unknown photos."""


@dataclass(frozen=True)
class Near:
    """A circle on the ground, in degrees and kilometres; it selects photos with a position in it.

    A photo without a position counts where its landmarks are.
    """

    latitude: float
    longitude: float
    radius_km: float


@dataclass(frozen=True)
class BoundingBox:
    """Two parallels and two meridians, in degrees; it crosses 180° if `west` is greater than `east`.

    It selects photos with a position in it. A photo without a position counts where its landmarks are.
    """

    south: float
    west: float
    north: float
    east: float

    def __str__(self) -> str:
        """The text of the option, in millionths of a degree at most."""
        sides = (self.south, self.west, self.north, self.east)
        return ",".join(f"{degrees:.6f}".rstrip("0").rstrip(".") for degrees in sides)

    def contains(self, latitude: float, longitude: float) -> bool:
        """Whether a position is inside, or at its edge."""
        if not self.south <= latitude <= self.north:
            return False
        if self.west <= self.east:
            return self.west <= longitude <= self.east
        return longitude >= self.west or longitude <= self.east


@dataclass(frozen=True)
class PhotoQuery:
    """The options of a query. Photos fulfil all of them; None, False and () set no condition.

    `landmark`, `country`, `year`, `camera` and `under` have several values: a photo matches any of them.

    By default, photos with a matching accepted tag, and those tags. `any_rank`: classified photos with their whole
    top-k, accepted or not. `unknown`: classified photos without an accepted tag. `untagged`: photos that no model has
    classified, without those that fail. `failed`: those that fail. `dismissed`: photos that were put away as not a landmark; `unknown` ones were not. `position`: classified photos with a position of this source, tagged or not.
    `near` and `box`: those with a position there, tagged or not. `country`: those with a position or an accepted landmark in one of them.
    `trip`, `job`: the photos of the trip with this id, of the job with this number, tagged or not, and classified or not. `min_score` never excludes confirmed
    tags. `verdict`: photos with such a verdict on any landmark, tagged or not. `camera`: photos of these cameras, each by make and
    model or by its name with the serial number. `under` names folders and files. `taken_after` is inclusive, `taken_before` exclusive, and these, as `year`, in the camera's local time.
    `share`: those that were selected for the share with this id, tagged or not; no option of commands or addresses.
    Neither are `by_slug`: each `landmark` is a slug, and no name; and `trip_moment`: the trip with this id has to contain it.
    `sort`: None is the fastest order. `distinct`: of exact copies that match, only the first; it does not apply where
    copies may differ, with a position, an area, a trip, a job or a share.
    """

    landmark: tuple[str, ...] = ()
    country: tuple[str, ...] = ()
    near: Near | None = None
    box: BoundingBox | None = None
    position: PositionOption | None = None
    trip: str | None = None
    job: int | None = None
    min_score: float | None = None
    verdict: VerdictOption | None = None
    camera: tuple[str, ...] = ()
    under: tuple[Path, ...] = ()
    year: tuple[int, ...] = ()
    taken_after: datetime | None = None
    taken_before: datetime | None = None
    model: str | None = None
    unknown: bool = False
    untagged: bool = False
    failed: bool = False
    dismissed: bool = False
    any_rank: bool = False
    share: int | None = None
    by_slug: bool = False
    trip_moment: TripMoment | None = None
    sort: SortOption | None = None
    distinct: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        # One name may be given as text, which would otherwise be a sequence of letters.
        for option in ("landmark", "country"):
            if isinstance(name := getattr(self, option), str):
                object.__setattr__(self, option, (name,))

    @property
    def taken_between(self) -> tuple[datetime, datetime | None]:
        """The earliest time of dates and years together, and the end of the latest one."""
        starts = [self.taken_after or datetime.min]  # noqa: DTZ901 - local time
        ends = [] if self.taken_before is None else [self.taken_before]
        if self.year:
            starts.append(year_limits(min(self.year))[0])
            ends += filter(None, [year_limits(max(self.year))[1]])
        return max(starts), min(ends, default=None)


def year_limits(year: int) -> tuple[datetime, datetime | None]:
    """The first moment of a year, and that of the next one; None: there is no later year."""
    first = datetime(year, 1, 1)  # noqa: DTZ001 - local time
    return first, None if year == MAXYEAR else first.replace(year=year + 1)


def parse_query(
    *,
    landmark: str | Iterable[str] | None = None,
    country: str | Iterable[str] | None = None,
    near: str | None = None,
    radius_km: float | None = None,
    box: str | None = None,
    position: str | None = None,
    trip: str | None = None,
    job: int | None = None,
    min_score: float | None = None,
    verdict: str | None = None,
    camera: Iterable[str] = (),
    under: Iterable[Path] = (),
    year: Iterable[int] | None = None,
    taken_after: str | None = None,
    taken_before: str | None = None,
    model: str | None = None,
    unknown: bool = False,
    untagged: bool = False,
    failed: bool = False,
    dismissed: bool = False,
    any_rank: bool = False,
    sort: str | None = None,
    distinct: bool = False,
    limit: int | None = None,
) -> PhotoQuery:
    """The query of these options: one landmark or country may be given as text; `near` is LAT,LON and `box` SOUTH,WEST,NORTH,EAST in degrees, dates are ISO 8601 without a time zone.

    Raises:
        QueryOptionInvalid: an option has an invalid value, or contradicts another one.
    """
    query = PhotoQuery(
        landmark=_names("landmark", landmark),
        country=_names("country", country),
        near=parse_near(near, radius_km),
        box=None if box is None else parse_box(box),
        position=_parse_position_option(position),
        trip=trip,
        job=job,
        min_score=min_score,
        verdict=_parse_verdict_option(verdict),
        camera=tuple(camera),
        under=tuple(under),
        year=_parse_years(year or ()),
        taken_after=parse_date(taken_after, "taken_after"),
        taken_before=parse_date(taken_before, "taken_before"),
        model=model,
        unknown=unknown,
        untagged=untagged,
        failed=failed,
        dismissed=dismissed,
        any_rank=any_rank,
        sort=_parse_sort_option(sort),
        distinct=distinct,
        limit=limit,
    )
    refuse_contradictions(query)
    return query


def _names(option: str, names: str | Iterable[str] | None) -> tuple[str, ...]:
    given = () if names is None else (names,) if isinstance(names, str) else tuple(names)
    if len(given) > MAX_NAMES:
        reason = f"has {len(given)} values, and {MAX_NAMES} are possible"
        raise QueryOptionInvalid(option=option, reason=reason)
    return given


def _parse_years(years: Iterable[int]) -> tuple[int, ...]:
    numbers = tuple(years)
    for year in numbers:
        if not MINYEAR <= year <= MAXYEAR:
            raise QueryOptionInvalid(option="year", reason=f"{year} is not a year. Write it like 2024")
    return numbers


def parse_near(position: str | None, radius_km: float | None) -> Near | None:
    """The circle around `position` (LAT,LON in degrees), by default with a radius of 10 km.

    Raises:
        QueryOptionInvalid: `position` is not one, or there is a radius without a position.
    """
    if position is None:
        if radius_km is not None:
            raise QueryOptionInvalid(option="radius_km", reason="needs a position: the option near")
        return None
    latitude, longitude = parse_position(position, "near")
    return Near(latitude, longitude, DEFAULT_RADIUS_KM if radius_km is None else radius_km)


def parse_position(text: str, option: str) -> tuple[float, float]:
    """The latitude and longitude, in degrees, of an option with the form LAT,LON.

    Raises:
        QueryOptionInvalid: `text` is no position.
    """
    try:
        latitude, longitude = (float(number) for number in text.split(","))
    except ValueError:
        latitude = longitude = float("nan")
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        reason = f"{text!r} is not a position. Write latitude and longitude in degrees, like 48.86,2.29"
        raise QueryOptionInvalid(option=option, reason=reason)
    return latitude, longitude


def parse_box(text: str) -> BoundingBox:
    """The bounds of the form SOUTH,WEST,NORTH,EAST, in degrees.

    Raises:
        QueryOptionInvalid: `text` has no such bounds.
    """
    try:
        south, west, north, east = (float(number) for number in text.split(","))
    except ValueError:
        south = west = north = east = float("nan")
    if not (-90 <= south <= north <= 90 and -180 <= west <= 180 and -180 <= east <= 180):
        reason = (
            f"{text!r} is not a box. Write south, west, north and east in degrees, like 48.8,2.2,48.9,2.4"
        )
        raise QueryOptionInvalid(option="box", reason=reason)
    return BoundingBox(south, west, north, east)


def _parse_position_option(text: str | None) -> PositionOption | None:
    for option in get_args(PositionOption):
        if text == option:
            return option  # type: ignore[no-any-return]
    if text is None:
        return None
    reason = f"{text!r} is no source of positions. Choose one of {', '.join(get_args(PositionOption))}"
    raise QueryOptionInvalid(option="position", reason=reason)


def _parse_verdict_option(text: str | None) -> VerdictOption | None:
    for option in get_args(VerdictOption):
        if text == option:
            return option  # type: ignore[no-any-return]
    if text is None:
        return None
    reason = f"{text!r} is no verdict. Choose one of {', '.join(get_args(VerdictOption))}"
    raise QueryOptionInvalid(option="verdict", reason=reason)


def _parse_sort_option(text: str | None) -> SortOption | None:
    for option in get_args(SortOption):
        if text == option:
            return option  # type: ignore[no-any-return]
    if text is None:
        return None
    reason = f"{text!r} is no order. Choose one of {', '.join(get_args(SortOption))}"
    raise QueryOptionInvalid(option="sort", reason=reason)


def parse_date(text: str | None, option: str) -> datetime | None:
    """The date, or date and time, of an option, in the camera's local time.

    Raises:
        QueryOptionInvalid: `text` is not an ISO 8601 date, or has a time zone.
    """
    if text is None:
        return None
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        reason = f"{text!r} is not a date. Write it like 2024-06-01 or 2024-06-01T18:30"
        raise QueryOptionInvalid(option=option, reason=reason) from None
    if date.tzinfo is not None:
        reason = "Leave out the time zone. Cameras record local time without one"
        raise QueryOptionInvalid(option=option, reason=reason)
    return date


def refuse_contradictions(query: PhotoQuery) -> None:
    """No photo can fulfil some combinations; they are mistakes rather than queries with an empty result.

    Raises:
        QueryOptionInvalid: an option contradicts another one.
    """
    tag_options: dict[str, object] = {
        "a landmark": query.landmark,
        "a minimum score": query.min_score,
    }
    if query.unknown:
        _refuse_with("unknown", tag_options)
    if query.dismissed:
        others: dict[str, object] = {
            "unknown photos": query.unknown,
            "photos that are not classified": query.untagged,
            "photos that fail": query.failed,
            "photos without a verdict": query.verdict == "none",
        }
        _refuse_with("dismissed", tag_options | others)
    if query.untagged and query.failed:
        raise QueryOptionInvalid(
            option="failed", reason="cannot be combined with photos that are not classified"
        )
    if query.untagged or query.failed:
        others = {
            "a country": query.country,
            "a position": query.near,
            "a box": query.box,
            "unknown photos": query.unknown,
            "any rank": query.any_rank,
            "a source of positions": query.position,
            "a verdict": query.verdict,
            "a model": query.model,
        }
        _refuse_with("failed" if query.failed else "untagged", tag_options | others)


def _refuse_with(option: str, others: dict[str, object]) -> None:
    for name, value in others.items():
        if value is not None and value is not False and value != ():
            raise QueryOptionInvalid(option=option, reason=f"cannot be combined with {name}")
