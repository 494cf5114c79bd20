"""The options of a photo query, each declared once, their one parser, and queries as JSON for schedules, jobs and shares.

The options of commands, the parameters of addresses, the filters of the page and the reference come from these declarations, so
the same text means the same everywhere.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import MAXYEAR, MINYEAR, datetime
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import parse_qs, urlencode

from tagger.errors import QueryOptionInvalid
from tagger.library.query.option_values import (
    DEFAULT_RADIUS_KM,
    BoundingBox,
    Near,
    parse_box,
    parse_date,
    parse_near,
    year_limits,
)
from tagger.library.trips import TripReference
from tagger.photos.paths import absolute_path, path_from_json, path_to_json
from tagger.system.text_format import N_

MAX_NAMES = 100
"""Landmarks or countries of a query. SQLite joins at most 500 selects, and each landmark needs three."""

PositionOption = Literal[
    "camera", "sidecar", "takeout", "landmark", "track", "neighbour", "any", "none", "no-gps"
]
"""Where a photo's position comes from; anywhere; nowhere: the photo has none; or not from the camera: another source, or none."""

VerdictOption = Literal["confirmed", "rejected", "corrected", "any", "none"]
"""What people said about a photo: a landmark confirmed, one rejected, both; any of these; or none of these, and no dismissal either."""

SortOption = Literal["newest", "oldest", "name", "score"]
"""The order of photos: by date, with those without a date last; by path; by the best accepted score, or that of the best candidate of unknown photos."""


_KINDS: Mapping[type, tuple[Any, str]] = {
    str: (str, "a text"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    Path: (Path, "a path"),
}
"""The types of values and their names, for an option of each kind. Numbers may be those of numpy."""


@dataclass(frozen=True)
class QueryOption:
    """The declaration of an option: what it selects, and how a value of it is read.

    `kind` is the type of a value as it is typed, and `value_name` stands for it in help. `several`: the option can be repeated, at most `most_values` times. `choices`: the only values that there are, and `noun` what a value is. `minimum` and `maximum` are inclusive. `default` says in words what applies without the option.
    `chip` says an active filter in words, with the value at `{}`. `used_by`: all commands and addresses that select photos;
    those that find photos, `tagger query` and addresses; or one of them.
    """

    help: str
    kind: type = str
    value_name: str | None = None
    several: bool = False
    most_values: int | None = None
    choices: tuple[str, ...] = ()
    noun: str = ""
    minimum: float | None = None
    maximum: float | None = None
    default: str | None = None
    chip: str | None = None
    used_by: Literal["all", "searches", "addresses", "commands"] = "all"
    parse: Callable[[Any, str], Any] | None = None

    def read(self, name: str, value: Any) -> Any:
        """The value of the query for a value of this option, which is called `name`; without one, what sets no condition.

        Raises:
            QueryOptionInvalid: the value is invalid.
        """
        if self.kind is bool:
            return bool(value)
        if not self.several:
            return None if value is None else self._read_one(name, value)
        is_one = isinstance(value, Path | str) or not isinstance(value, Iterable | None)
        values = (value,) if is_one else tuple(value or ())
        if self.most_values is not None and len(values) > self.most_values:
            reason = f"has {len(values)} values, and {self.most_values} are possible"
            raise QueryOptionInvalid(option=name, reason=reason)
        return tuple(self._read_one(name, each) for each in values)

    def _read_one(self, name: str, value: Any) -> Any:
        kind, noun = _KINDS[self.kind]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise QueryOptionInvalid(option=name, reason=f"{value!r} is not {noun}")
        if self.choices and value not in self.choices:
            reason = f"{value!r} is no {self.noun}. Choose one of {', '.join(self.choices)}"
            raise QueryOptionInvalid(option=name, reason=reason)
        if self.minimum is not None and not value >= self.minimum:
            raise QueryOptionInvalid(option=name, reason=f"{value} is less than {self.minimum:g}")
        if self.maximum is not None and not value <= self.maximum:
            raise QueryOptionInvalid(option=name, reason=f"{value} is more than {self.maximum:g}")
        if self.parse is not None:
            return self.parse(value, name)
        return self.kind(value) if self.kind in (int, float) else value


@dataclass(frozen=True)
class Alternatives:
    """Queries of which a photo matches any. As text, each has its options as an address has them: `country=Vietnam|year=2019`."""

    queries: "tuple[PhotoQuery, ...]"

    @classmethod
    def parse(cls, text: str, option: str) -> Self:
        """Raises:
        QueryOptionInvalid: `text`, the value of this option, has no such queries.
        """
        parts = text.split("|")
        if len(parts) > _MOST_ALTERNATIVES:
            reason = f"has {len(parts)} alternatives, and {_MOST_ALTERNATIVES} are possible"
            raise QueryOptionInvalid(option=option, reason=reason)
        try:
            return cls(tuple(map(_parse_alternative, parts)))
        except (QueryOptionInvalid, ValueError) as error:
            reason = f"{text!r} has no options of a query. Write it like country=Vietnam|year=2019: {error}"
            raise QueryOptionInvalid(option=option, reason=reason) from None

    def __str__(self) -> str:
        return "|".join(map(_alternative_text, self.queries))


_MOST_ALTERNATIVES = 12
"""The most alternatives of a value. A text that is searched for has as many terms at most."""


@dataclass(frozen=True)
class PhotoQuery:
    """The options of a query. Photos fulfil all of them; None, False and () set no condition. Of several values, a photo matches any.

    By default, photos with a matching accepted tag, and those tags. `position`, `near`, `box`, `country` and `verdict` select classified photos, tagged or not; `trip`
    and `job` also those that are not classified. `country` matches a photo's position or an accepted landmark. `min_score` never excludes confirmed
    tags. `camera` is a make and model, or a name with the serial number. `under` names folders and files. `taken_after` is inclusive, `taken_before` exclusive, and these, as `year` and `calendar_month`, are in the camera's local time.
    `any_of`: of the alternatives of each value, photos match one; `without`: none. Landmarks among them are accepted tags.
    Commands and addresses have no option for `share`: photos that were selected for the share with this id, tagged or not; `by_slug`: each `landmark` is a slug, not a
    name; `trip_moment`: the trip is the one that contains it, whatever its id; and `any_outcome`: also photos without tags, not classified ones and those that fail, unless an option is about tags.
    `sort`: None is the order in which photos were added, and of a trip the order of time. `distinct` does not apply where copies may differ: with a position, an area, a trip, a job or a share.
    """

    landmark: Annotated[
        tuple[str, ...],
        QueryOption(
            "Slug or name of a landmark, in any case.",
            value_name="NAME",
            several=True,
            most_values=MAX_NAMES,
            chip="{}",
        ),
    ] = ()
    country: Annotated[
        tuple[str, ...],
        QueryOption(
            "Photos taken in this country, or of its landmarks.",
            value_name="NAME",
            several=True,
            most_values=MAX_NAMES,
            chip="{}",
        ),
    ] = ()
    near: Annotated[
        Near | None,
        QueryOption(
            "Photos taken near this position in degrees, or showing landmarks near it.",
            value_name="LAT,LON",
            chip="{}",
        ),
    ] = None
    box: Annotated[
        BoundingBox | None,
        QueryOption(
            "Photos taken, or showing landmarks, between these degrees.",
            value_name="S,W,N,E",
            chip="{}",
            parse=parse_box,
        ),
    ] = None
    position: Annotated[
        PositionOption | None,
        QueryOption(
            "Source: camera, sidecar, takeout, landmark, track, neighbour, any, none, or no-gps (not the camera).",
            value_name="SOURCE",
            choices=get_args(PositionOption),
            noun="source of positions",
            chip="{}",
        ),
    ] = None
    trip: Annotated[
        str | None,
        QueryOption(
            "All photos of this trip, by its id in `tagger trips`.", value_name="TRIP", chip=N_("trip {}")
        ),
    ] = None
    job: Annotated[
        int | None,
        QueryOption("All photos of this job, by its number.", int, "JOB", minimum=1, chip=N_("job {}")),
    ] = None
    min_score: Annotated[
        float | None,
        QueryOption(
            "Tags with at least this score, and confirmed tags.",
            float,
            "SCORE",
            minimum=0.0,
            maximum=1.0,
            chip=N_("score from {}"),
        ),
    ] = None
    verdict: Annotated[
        VerdictOption | None,
        QueryOption(
            "confirmed, rejected, corrected (both), any or none, for any landmark.",
            value_name="VERDICT",
            choices=get_args(VerdictOption),
            noun="verdict",
            chip="{}",
        ),
    ] = None
    camera: Annotated[
        tuple[str, ...],
        QueryOption(
            "Make and model of the camera, in any case.",
            value_name="NAME",
            several=True,
            chip="{}",
        ),
    ] = ()
    under: Annotated[
        tuple[Path, ...],
        QueryOption("Photos in this folder.", Path, "FOLDER", several=True, chip=N_("in {}")),
    ] = ()
    year: Annotated[
        tuple[int, ...],
        QueryOption(
            "Photos taken in this year, in camera time.",
            int,
            "YEAR",
            several=True,
            minimum=MINYEAR,
            maximum=MAXYEAR,
            chip="{}",
        ),
    ] = ()
    calendar_month: Annotated[
        tuple[int, ...],
        QueryOption(
            "Photos taken in this month, from 1 to 12, of any year.",
            int,
            "MONTH",
            several=True,
            minimum=1,
            maximum=12,
            chip="{}",
        ),
    ] = ()
    taken_after: Annotated[
        datetime | None,
        QueryOption(
            "Photos taken at this time or later, in camera time.",
            value_name="DATE",
            chip=N_("from {}"),
            parse=parse_date,
        ),
    ] = None
    taken_before: Annotated[
        datetime | None,
        QueryOption(
            "Photos taken before this time.", value_name="DATE", chip=N_("before {}"), parse=parse_date
        ),
    ] = None
    model: Annotated[
        str | None,
        QueryOption(
            "Photos that this model has classified.", value_name="MODEL", chip=N_("classified by {}")
        ),
    ] = None
    any_of: Annotated[
        tuple[Alternatives, ...],
        QueryOption(
            "Photos that match one of these options: 'country=Vietnam|year=2019'.",
            value_name="OPTIONS",
            several=True,
            most_values=_MOST_ALTERNATIVES,
            chip="{}",
            parse=Alternatives.parse,
        ),
    ] = ()
    without: Annotated[
        tuple[Alternatives, ...],
        QueryOption(
            "Photos that do not match these options: country=Vietnam.",
            value_name="OPTIONS",
            several=True,
            most_values=_MOST_ALTERNATIVES,
            chip=N_("not {}"),
            parse=Alternatives.parse,
        ),
    ] = ()
    unknown: Annotated[
        bool,
        QueryOption(
            "Photos that are classified and have no accepted tag.",
            bool,
            used_by="searches",
            chip=N_("unknown"),
        ),
    ] = False
    untagged: Annotated[
        bool,
        QueryOption(
            "Photos that no model has classified, without those that fail.",
            bool,
            used_by="searches",
            chip=N_("not processed yet"),
        ),
    ] = False
    failed: Annotated[
        bool,
        QueryOption(
            "Photos that cannot be classified. `tagger job failures` says why.",
            bool,
            used_by="searches",
            chip=N_("failed"),
        ),
    ] = False
    dismissed: Annotated[
        bool,
        QueryOption(
            "Photos that were dismissed as not a landmark.",
            bool,
            used_by="searches",
            chip=N_("not a landmark"),
        ),
    ] = False
    favourite: Annotated[
        bool,
        QueryOption("Photos with a star.", bool, used_by="addresses", chip=N_("favourites")),
    ] = False
    any_rank: Annotated[
        bool,
        QueryOption("All classified photos, with all their tags, accepted or not.", bool, used_by="searches"),
    ] = False
    share: int | None = None
    by_slug: bool = False
    trip_moment: TripReference | None = None
    any_outcome: bool = False
    sort: Annotated[
        SortOption | None,
        QueryOption(
            "The order: newest, oldest, name or score.",
            choices=get_args(SortOption),
            noun="order",
            default="the fastest one",
            used_by="addresses",
        ),
    ] = None
    distinct: Annotated[bool, QueryOption("Of exact copies, only the first.", bool, used_by="addresses")] = (
        False
    )
    limit: Annotated[
        int | None, QueryOption("Maximum number of photos.", int, "N", minimum=1, used_by="commands")
    ] = None

    def __post_init__(self) -> None:
        # One name may be given as text, which would otherwise be a sequence of letters.
        for option in ("landmark", "country"):
            if isinstance(name := getattr(self, option), str):
                object.__setattr__(self, option, (name,))

    @property
    def parts(self) -> "Iterator[PhotoQuery]":
        """The query itself, and the alternatives that photos match or do not match."""
        yield self
        for each in (*self.any_of, *self.without):
            yield from each.queries

    @property
    def taken_between(self) -> tuple[datetime, datetime | None]:
        """The earliest time of dates and years together, and the end of the latest one."""
        starts = [self.taken_after or datetime.min]  # noqa: DTZ901 - local time
        ends = [] if self.taken_before is None else [self.taken_before]
        if self.year:
            starts.append(year_limits(min(self.year))[0])
            ends += filter(None, [year_limits(max(self.year))[1]])
        return max(starts), min(ends, default=None)


_RADIUS_KM = QueryOption(
    "Radius of --near, in kilometres.",
    float,
    "KM",
    minimum=0.0,
    default=f"{DEFAULT_RADIUS_KM:g}",
)


def _declarations() -> Iterator[tuple[str, QueryOption]]:
    for field in fields(PhotoQuery):
        for option in getattr(field.type, "__metadata__", ()):
            yield field.name, option
            if field.name == "near":
                yield "radius_km", _RADIUS_KM


QUERY_OPTIONS: Mapping[str, QueryOption] = dict(_declarations())
"""All options by name, in the order of help."""
VERDICT_OPTIONS: Mapping[str, QueryOption] = {
    name: QUERY_OPTIONS[name]
    for name in (
        "landmark",
        "country",
        "near",
        "radius_km",
        "box",
        "under",
        "year",
        "taken_after",
        "taken_before",
    )
} | {
    "country": replace(QUERY_OPTIONS["country"], help="Landmarks in this country, in any case."),
    "near": replace(QUERY_OPTIONS["near"], help="Landmarks near this position, in degrees."),
    "box": replace(QUERY_OPTIONS["box"], help="Landmarks between these parallels and meridians, in degrees."),
}
"""The options that select verdicts. Areas are those of the verdict's landmark, not of the photo: a verdict often changes the photo's position."""


def options_used_by(*users: str) -> dict[str, QueryOption]:
    """The options of these users; see `QueryOption.used_by`."""
    return {name: option for name, option in QUERY_OPTIONS.items() if option.used_by in users}


def parse_query(**values: Any) -> PhotoQuery:
    """The query of options by their names, each with a value of its declared kind; one that can be repeated has one text, or several values.

    Raises:
        QueryOptionInvalid: an option has an invalid value, or contradicts another one.
        TypeError: there is no such option.
    """
    if unknown := values.keys() - QUERY_OPTIONS.keys():
        raise TypeError(f"no options of a query: {', '.join(sorted(unknown))}")
    radius_km = _RADIUS_KM.read("radius_km", values.pop("radius_km", None))
    near = parse_near(values.pop("near", None), radius_km)
    options = {name: QUERY_OPTIONS[name].read(name, value) for name, value in values.items()}
    query = PhotoQuery(near=near, **options)
    refuse_contradictions(query)
    return query


def refuse_contradictions(query: PhotoQuery) -> None:
    """Refuse combinations that no photo can fulfil: they are mistakes rather than queries with an empty result.

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


_NOT_STORED = ("share", "by_slug", "trip_moment", "any_outcome", "sort", "distinct", "limit")
"""Options about the order and the number of photos, and those that no command or address has. All others are stored: if one were left
out by mistake, the query would select more than was meant."""


_OF_ALTERNATIVES = ("any_of", "without")


def _alternative_text(query: PhotoQuery) -> str:
    options = stored_options(query) | {"under": [str(absolute_path(folder)) for folder in query.under]}
    texts = {name: "1" if value is True else value for name, value in options.items()}
    return urlencode(texts, doseq=True, errors="surrogateescape")


def _parse_alternative(text: str) -> PhotoQuery:
    """Raises:
    ValueError: the text has no options, or one that alternatives do not have.
    """
    values = parse_qs(text, keep_blank_values=True, strict_parsing=True, errors="surrogateescape")
    if not values:
        raise ValueError("an alternative is empty")
    options: dict[str, Any] = {}
    for name, texts in values.items():
        option = QUERY_OPTIONS.get(name)
        if option is None or name in (*_NOT_STORED, *_OF_ALTERNATIVES, "any_rank"):
            raise ValueError(f"{name} is not possible here")
        read = _whole_path if option.kind is Path else option.kind
        options[name] = tuple(map(read, texts)) if option.several else read(texts[-1])
    return parse_query(**options)


def _whole_path(text: str) -> Path:
    path = path_from_json(text)
    if absolute_path(path) != path:
        raise ValueError(f"{text} is not a whole path")
    return path


def stored_options(query: PhotoQuery) -> dict[str, Any]:
    """The options of the query that are set, as `query_of_options` takes them: one landmark as text, folders by their whole paths."""
    options = {name: value for name, value in vars(query).items() if name not in _NOT_STORED}
    for name in ("landmark", "country"):
        options[name] = options[name][0] if len(options[name]) == 1 else list(options[name])
    options |= {name: list(options[name]) for name in ("year", "calendar_month", "camera")}
    options |= {name: list(map(str, options[name])) for name in _OF_ALTERNATIVES}
    if query.near is not None:
        options["near"] = f"{query.near.latitude},{query.near.longitude}"
        options["radius_km"] = query.near.radius_km
    options["box"] = query.box and str(query.box)
    options["under"] = [path_to_json(absolute_path(folder)) for folder in query.under]
    for name in ("taken_after", "taken_before"):
        options[name] = options[name] and options[name].isoformat()
    return {
        name: value for name, value in options.items() if not (value is None or value is False or value == [])
    }


def query_of_options(options: Mapping[str, Any]) -> PhotoQuery:
    """The query of which `stored_options` made the options.

    Raises:
        ValueError: it made no such options.
    """
    try:
        return parse_query(**{name: _value(name, value) for name, value in options.items()})
    except QueryOptionInvalid as error:
        raise ValueError(str(error)) from None


def _value(name: str, value: object) -> Any:
    option = QUERY_OPTIONS.get(name)
    if option is None or name in _NOT_STORED:
        raise ValueError(f"a query has no option {name!r}")
    if not option.several:
        return _one(name, option, value)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list):
        raise ValueError(f"{name} is not a list")  # noqa: TRY004 - as for other invalid values
    return tuple(_one(name, option, each) for each in values)


def _one(name: str, option: QueryOption, value: Any) -> Any:
    if option.kind is Path:
        return path_from_json(value)
    if type(value) not in ((int, float) if option.kind is float else (option.kind,)):
        raise ValueError(f"{name} is not of the type {option.kind.__name__}")
    return value
