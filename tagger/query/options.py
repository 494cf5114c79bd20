"""A query for photos: its options, each declared once, and how their values are read and written.

`PhotoQuery(**options)` reads the options of commands, addresses, scripts, and of the documents of jobs,
jobs and schedules: the same text means the same everywhere. `texts` and `document` write them. The help of
commands, the parameters of addresses and the words of filters come from the declarations.
"""
# ruff: noqa: RUF009 - each option is a field

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import MAXYEAR, MINYEAR, datetime
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Self, get_args
from urllib.parse import parse_qs, urlencode

from tagger.errors import QueryOptionInvalid
from tagger.photos.paths import absolute_path, path_from_json, path_to_json
from tagger.query import (
    DEFAULT_RADIUS_KM,
    BoundingBox,
    Near,
    parse_box,
    parse_calendar_day,
    parse_date,
    parse_position,
    year_limits,
)
from tagger.texts.text_format import N_, plain_number
from tagger.trips import TripReference

# Landmarks or countries of a query. SQLite joins at most 500 selects, and each landmark needs
# three.
MAX_NAMES = 100
# The most alternatives of a value. A text that is searched for has as many terms at most.
MOST_ALTERNATIVES = 12
_LARGEST_ID = 2**63 - 1
_AROUND_THE_EARTH_KM = 40_100.0

# Where a position comes from; anywhere; none; or not from the camera: another source, or none.
PositionOption = Literal[
    "camera",
    "sidecar",
    "takeout",
    "landmark",
    "track",
    "neighbour",
    "trip",
    "any",
    "none",
    "no-gps",
]

# What people said about a photo: confirmed, rejected, both; any of these; or none, and no
# dismissal.
VerdictOption = Literal["confirmed", "rejected", "corrected", "any", "none"]

# By date, those without last; last added first; by path; by the best accepted score or guess.
SortOption = Literal["newest", "oldest", "added", "name", "score"]

Json = str | int | float | bool | dict[str, str] | list[Any]


@dataclass(frozen=True)
class QueryOption:
    # What it selects, for the help of commands and the description of the API.
    help: str
    # What a command line takes as a value.
    kind: type = str
    # What stands for a value in help.
    value_name: str | None = None
    # How often it can be repeated; None: without limit.
    most_values: int | None = 1
    # Reads a value that is no mere text, number or path; with the name of the option.
    parse: Callable[[Any, str], Any] | None = None
    # The only values that there are.
    choices: tuple[str, ...] = ()
    # What a choice is.
    noun: str = ""
    # The lowest value, inclusive.
    minimum: float | None = None
    # The highest value, inclusive.
    maximum: float | None = None
    # What applies without the option, in words.
    default: str | None = None
    # How an active filter is called, with its value at `{}`; None: it is no filter.
    chip: str | None = "{}"
    # All commands and addresses that select photos; those that find photos; or one of the two.
    used_by: Literal["all", "searches", "addresses", "commands"] = "all"
    # Whether a photo fulfils each of several values, not one of them.
    all_of_several: bool = False
    # Whether jobs and schedules keep it; without it, they would select more than was meant.
    is_stored: bool = True

    @property
    def several(self) -> bool:
        return self.most_values != 1

    @cached_property
    def unset(self) -> Any:
        if self.several:
            return ()
        return False if self.kind is bool else None

    def read(self, name: str, value: Any) -> Any:
        """The value of the query for a value of this option, which is called `name`, in any of its forms.

        Raises:
            QueryOptionInvalid: the value is invalid.
        """
        if value is None:
            return self.unset
        if not self.several:
            return self._read_one(name, value)
        is_one = isinstance(value, Path | str | Mapping) or not isinstance(
            value, Iterable
        )
        values = (value,) if is_one else tuple(value)
        if self.most_values is not None and len(values) > self.most_values:
            raise QueryOptionInvalid(
                option=name,
                reason=f"has {len(values)} values, and {self.most_values} are possible",
            )
        return tuple(self._read_one(name, each) for each in values)

    def _read_one(self, name: str, value: Any) -> Any:
        if self.parse is not None:
            return self.parse(value, name)
        noun, read = _KINDS[self.kind]
        try:
            parsed = read(value)
        except UnicodeEncodeError:
            raise QueryOptionInvalid(
                option=name,
                reason=f"{value!r} is not UTF-8; only paths may have other bytes",
            ) from None
        except (TypeError, ValueError, OverflowError):
            raise QueryOptionInvalid(
                option=name, reason=f"{value!r} is not {noun}"
            ) from None
        if self.choices and parsed not in self.choices:
            raise QueryOptionInvalid(
                option=name,
                reason=f"{parsed!r} is no {self.noun}. Choose one of {', '.join(self.choices)}",
            )
        if self.minimum is not None and not parsed >= self.minimum:
            raise QueryOptionInvalid(
                option=name,
                reason=f"{parsed} is less than {self.minimum:g}",
            )
        if self.maximum is not None and not parsed <= self.maximum:
            raise QueryOptionInvalid(
                option=name,
                reason=f"{parsed} is more than {self.maximum:g}",
            )
        return parsed


def _read_text(value: object) -> str:
    # Raises:
    # TypeError, ValueError: it is no text, or databases store none like it.
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    value.encode()
    return value


def _read_number(kind: type, value: Any) -> Any:
    # A number, also as text or of numpy.
    number = Integral if kind is int else Real
    if isinstance(value, bool) or not isinstance(value, number | str):
        raise TypeError
    return kind(plain_number(value) if isinstance(value, str) else value)


def _read_flag(value: object) -> bool:
    if isinstance(value, str):
        return value.casefold() in {"1", "true", "on", "yes"}
    return bool(value)


# The kinds of values that need no parser of their own: what they are called, and how one is read.
_KINDS: Mapping[type, tuple[str, Callable[[Any], Any]]] = {
    str: ("a text", _read_text),
    int: ("a whole number", lambda value: _read_number(int, value)),
    float: ("a number", lambda value: _read_number(float, value)),
    bool: ("yes or no", _read_flag),
}


def _parse_folder(value: object, option: str) -> Path:
    try:
        return value if isinstance(value, Path) else path_from_json(value)
    except (
        ValueError
    ) as error:  # its text has no part of an address, which may be a password
        raise QueryOptionInvalid(option=option, reason=str(error)) from None


@dataclass(frozen=True)
class Alternatives:
    """Queries of which a photo matches any. As text, options of addresses: `country=Vietnam|year=2019`."""

    queries: "tuple[PhotoQuery, ...]"

    @classmethod
    def parse(cls, value: object, option: str) -> Self:
        """Read a value of this option.

        Raises:
            QueryOptionInvalid: it has no such queries.
        """
        if isinstance(value, cls):
            return value
        parts = str(value).split("|")
        if len(parts) > MOST_ALTERNATIVES:
            raise QueryOptionInvalid(
                option=option,
                reason=f"has {len(parts)} alternatives, and {MOST_ALTERNATIVES} are possible",
            )
        try:
            return cls(tuple(map(_parse_alternative, parts)))
        except (QueryOptionInvalid, ValueError) as error:
            raise QueryOptionInvalid(
                option=option,
                reason=f"{value!r} has no options of a query. Write it like country=Vietnam|year=2019: "
                f"{error}",
            ) from None

    def __str__(self) -> str:
        return "|".join(
            urlencode(query.texts, doseq=True, errors="surrogateescape")
            for query in self.queries
        )


def _parse_alternative(text: str) -> "PhotoQuery":
    # Raises:
    # QueryOptionInvalid, ValueError: the text has no options, or one that alternatives do not have.
    options = parse_qs(
        text, keep_blank_values=True, strict_parsing=True, errors="surrogateescape"
    )
    if not options:
        raise ValueError("an alternative is empty")
    for name in options:
        if name not in QUERY_OPTIONS or name in ("any_of", "without", "any_rank"):
            raise ValueError(f"{name} is not possible here")
    query = PhotoQuery.of_document(
        {
            name: values if QUERY_OPTIONS[name].several else values[-1]
            for name, values in options.items()
        }
    )
    for folder in query.under:
        if absolute_path(folder) != folder:
            raise ValueError(f"{folder} is not a whole path")
    return query


def _option(
    help_: str,
    kind: type = str,
    value_name: str | None = None,
    **declared: Any,
) -> Any:
    option = QueryOption(help_, kind, value_name, **declared)
    return field(default=option.unset, metadata={"option": option})


@dataclass(frozen=True)
class PhotoQuery:
    """The options of a query. Photos fulfil all, and one of several values. None, False and () are unset.

    By default, photos with a matching accepted tag, and those tags. Values may have any of their forms.

    Raises:
        QueryOptionInvalid: an option has an invalid value, or contradicts another one.
    """

    landmark: tuple[str, ...] = _option(
        "Slug or name of a landmark, in any case.",
        value_name="NAME",
        most_values=MAX_NAMES,
    )
    # Of a photo's position or an accepted landmark.
    country: tuple[str, ...] = _option(
        "Photos taken in this country, or of its landmarks.",
        value_name="NAME",
        most_values=MAX_NAMES,
    )
    # Like `position`, it selects classified photos, tagged or not.
    thing: tuple[str, ...] = _option(
        "Photos that show this thing, like dog.",
        value_name="NAME",
        most_values=MOST_ALTERNATIVES,
        all_of_several=True,
    )
    # Like `position`, it selects classified photos, tagged or not.
    sight: tuple[str, ...] = _option(
        "Photos taken at this sight of the world, like louvre.",
        value_name="NAME",
        most_values=MOST_ALTERNATIVES,
    )
    # Like `box`, `position`, `country` and `verdict`, it selects classified photos, tagged or not.
    near: tuple[float, float] | None = _option(
        "Photos taken, or with landmarks, near this position.",
        value_name="LAT,LON",
        parse=parse_position,
    )
    # None without `near`.
    radius_km: float | None = _option(
        "Radius of --near, in kilometres.",
        float,
        "KM",
        minimum=0.0,
        maximum=_AROUND_THE_EARTH_KM,
        default=f"{DEFAULT_RADIUS_KM:g}",
        chip=None,
    )
    box: BoundingBox | None = _option(
        "Photos taken, or showing landmarks, between these degrees.",
        value_name="S,W,N,E",
        parse=parse_box,
    )
    position: PositionOption | None = _option(
        "Source: camera, sidecar, takeout, landmark, track, neighbour, trip, any, none, or no-gps (not the "
        "camera).",
        value_name="SOURCE",
        choices=get_args(PositionOption),
        noun="source of positions",
    )
    # Like `job`, it selects photos that are not classified, too.
    trip: str | None = _option(
        "All photos of this trip, by its id in `tagger trips`.",
        value_name="TRIP",
        chip=N_("trip {}"),
    )
    job: int | None = _option(
        "All photos of this job, by its number.",
        int,
        "JOB",
        minimum=1,
        maximum=_LARGEST_ID,
        chip=N_("job {}"),
    )
    min_score: float | None = _option(
        "Tags with at least this score, and confirmed tags.",
        float,
        "SCORE",
        minimum=0.0,
        maximum=1.0,
        chip=N_("score from {}"),
    )
    verdict: VerdictOption | None = _option(
        "confirmed, rejected, corrected (both), any or none, for any landmark.",
        value_name="VERDICT",
        choices=get_args(VerdictOption),
        noun="verdict",
    )
    # Or a name with the serial number.
    camera: tuple[str, ...] = _option(
        "Make and model of the camera, in any case.",
        value_name="NAME",
        most_values=None,
    )
    # Folders and files.
    under: tuple[Path, ...] = _option(
        "Photos in this folder.",
        Path,
        "FOLDER",
        most_values=None,
        chip=N_("in {}"),
        parse=_parse_folder,
    )
    year: tuple[int, ...] = _option(
        "Photos taken in this year, in camera time.",
        int,
        "YEAR",
        most_values=None,
        minimum=MINYEAR,
        maximum=MAXYEAR,
    )
    calendar_month: tuple[int, ...] = _option(
        "Photos taken in this month, from 1 to 12, of any year.",
        int,
        "MONTH",
        most_values=None,
        minimum=1,
        maximum=12,
    )
    calendar_day: tuple[str, ...] = _option(
        "Photos taken on this day, month and day, of any year.",
        value_name="MM-DD",
        most_values=None,
        parse=parse_calendar_day,
    )
    undated: bool = _option("Photos without a date.", bool, chip=N_("without a date"))
    taken_after: datetime | None = _option(
        "Photos taken at this time or later, in camera time.",
        value_name="DATE",
        chip=N_("from {}"),
        parse=parse_date,
    )
    taken_before: datetime | None = _option(
        "Photos taken before this time.",
        value_name="DATE",
        chip=N_("before {}"),
        parse=parse_date,
    )
    model: str | None = _option(
        "Photos that this model has classified.",
        value_name="MODEL",
        chip=N_("classified by {}"),
    )
    # Photos match one alternative of each value. Landmarks among them are accepted tags.
    any_of: tuple[Alternatives, ...] = _option(
        "Photos that match one of these options: 'country=Vietnam|year=2019'.",
        value_name="OPTIONS",
        most_values=MOST_ALTERNATIVES,
        parse=Alternatives.parse,
    )
    without: tuple[Alternatives, ...] = _option(
        "Photos that do not match these options: country=Vietnam.",
        value_name="OPTIONS",
        most_values=MOST_ALTERNATIVES,
        chip=N_("not {}"),
        parse=Alternatives.parse,
    )
    unknown: bool = _option(
        "Photos that are classified and have no accepted tag.",
        bool,
        used_by="searches",
        chip=N_("unknown"),
    )
    untagged: bool = _option(
        "Photos not classified yet, without those that fail.",
        bool,
        used_by="searches",
        chip=N_("not processed yet"),
    )
    failed: bool = _option(
        "Photos that fail; `tagger job failures` says why.",
        bool,
        used_by="searches",
        chip=N_("failed"),
    )
    dismissed: bool = _option(
        "Photos that were dismissed as not a landmark.",
        bool,
        used_by="searches",
        chip=N_("not a landmark"),
    )
    favourite: bool = _option(
        "Photos with a star.", bool, used_by="addresses", chip=N_("favourites")
    )
    any_rank: bool = _option(
        "All classified photos, with all tags, accepted or not.",
        bool,
        used_by="searches",
        chip=None,
    )
    # None: the order in which photos were added, and of a trip the order of time.
    sort: SortOption | None = _option(
        "newest, oldest, added (last first), name (path) or score.",
        value_name="ORDER",
        choices=get_args(SortOption),
        noun="order",
        default="as added",
        used_by="addresses",
        is_stored=False,
        chip=None,
    )
    # Not with a job, which is about files.
    distinct: bool = _option(
        "Of exact copies, only the first.",
        bool,
        used_by="addresses",
        is_stored=False,
        chip=None,
    )
    limit: int | None = _option(
        "Maximum number of photos.",
        int,
        "N",
        minimum=1,
        maximum=_LARGEST_ID,
        used_by="commands",
        is_stored=False,
        chip=None,
    )
    # Each `landmark` is a slug, not a name.
    by_slug: bool = False
    # The trip is the one that contains this moment, whatever its id.
    trip_moment: TripReference | None = None
    # Also photos without tags, not classified ones and those that fail, unless an option is about
    # tags.
    any_outcome: bool = False

    def __post_init__(self) -> None:
        for name, option in QUERY_OPTIONS.items():
            if (value := getattr(self, name)) is not option.unset:
                object.__setattr__(self, name, option.read(name, value))
        if self.near is not None and self.radius_km is None:
            object.__setattr__(self, "radius_km", DEFAULT_RADIUS_KM)
        if self.radius_km is not None and self.near is None:
            raise QueryOptionInvalid(
                option="radius_km", reason="needs a position: the option near"
            )
        for name, others in _CONTRADICTIONS.items():
            for other, words in others.items() if getattr(self, name) else ():
                if getattr(self, other) is not QUERY_OPTIONS[other].unset:
                    raise QueryOptionInvalid(
                        option=name, reason=f"cannot be combined with {words}"
                    )
        if self.dismissed and self.verdict == "none":
            raise QueryOptionInvalid(
                option="dismissed",
                reason="cannot be combined with photos without a verdict",
            )

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """The query of options by their names, in any form: those of an address, a command, a document."""
        return cls(**options)

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """Raises:
        QueryOptionInvalid: there is no such option there, or it has an invalid value.
        """
        for name in document:
            if name not in QUERY_OPTIONS or not QUERY_OPTIONS[name].is_stored:
                raise QueryOptionInvalid(
                    option=name, reason="a stored query has no such option"
                )
        return cls(**document)

    @property
    def document(self) -> dict[str, Json]:
        """The query as JSON, for jobs and schedules: without its order and limit."""
        return {
            name: _json(name, value)
            for name, value in self._set()
            if QUERY_OPTIONS[name].is_stored
        }

    @property
    def texts(self) -> dict[str, str | tuple[str, ...]]:
        return {
            name: tuple(map(_text, value))
            if isinstance(value, tuple) and name != "near"
            else _text(value)
            for name, value in self._set()
        }

    def _set(self) -> Iterator[tuple[str, Any]]:
        # The options that set a condition.
        for name, option in QUERY_OPTIONS.items():
            if (value := getattr(self, name)) is not option.unset:
                yield name, value

    @property
    def circle(self) -> Near | None:
        return None if self.near is None else Near(*self.near, self.radius_km or 0.0)

    @property
    def parts(self) -> "Iterator[PhotoQuery]":
        """The query itself, and the alternatives that photos match or do not match."""
        yield self
        for each in (*self.any_of, *self.without):
            yield from each.queries

    @property
    def taken_between(self) -> tuple[datetime, datetime | None]:
        starts = [self.taken_after or datetime.min]  # noqa: DTZ901 - local time
        ends = [] if self.taken_before is None else [self.taken_before]
        if self.year:
            starts.append(year_limits(min(self.year))[0])
            ends += filter(None, [year_limits(max(self.year))[1]])
        return max(starts), min(ends, default=None)


# All options by name, in the order of help.
QUERY_OPTIONS: Mapping[str, QueryOption] = {
    each.name: each.metadata["option"] for each in fields(PhotoQuery) if each.metadata
}


def options_used_by(*users: str) -> dict[str, QueryOption]:
    return {
        name: option
        for name, option in QUERY_OPTIONS.items()
        if option.used_by in users
    }


def _text(value: object) -> str:
    match value:
        case True:
            return "1"
        case float():
            return str(value).removesuffix(".0")
        case datetime():
            # As fields of forms have it.
            return value.isoformat().removesuffix("T00:00:00").removesuffix(":00")
        case Path():
            return str(absolute_path(value))
        case tuple():
            return ",".join(map(str, value))
    return str(value)


def _json(name: str, value: Any) -> Json:
    match value:
        case bool() | int() | float():
            return value
        case datetime():
            return value.isoformat()
        case Path():
            return path_to_json(absolute_path(value))
        case [str(one)] if name in ("landmark", "country"):
            return one
        case tuple() if QUERY_OPTIONS[name].several:
            return [_json("", each) for each in value]
    return _text(value)


_OF_TAGS = {"landmark": "a landmark", "min_score": "a minimum score"}
_OF_CLASSIFIED = _OF_TAGS | {
    "country": "a country",
    "thing": "a thing",
    "near": "a position",
    "box": "a box",
    "unknown": "unknown photos",
    "any_rank": "any rank",
    "position": "a source of positions",
    "verdict": "a verdict",
    "model": "a model",
}
_UNTAGGED = {"untagged": "photos that are not classified"}
# Options with others that no photo can fulfil, too: mistakes rather than queries without a result.
_CONTRADICTIONS = {
    "unknown": _OF_TAGS,
    "dismissed": _OF_TAGS
    | {"unknown": "unknown photos", **_UNTAGGED, "failed": "photos that fail"},
    "failed": _UNTAGGED | _OF_CLASSIFIED,
    "untagged": _OF_CLASSIFIED,
}
