"""Query options in an address, for the API and the pages. The names are those of `tagger query`; empty fields are ignored."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import MAXYEAR, MINYEAR
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlencode

from fastapi import Query
from pydantic import BeforeValidator, Field

from tagger.errors import ModelNotFound, QueryInvalid
from tagger.library.query.options import PhotoQuery, SortOption, parse_query
from tagger.photos.paths import is_object_address, parse_path

_MAX_LENGTH = 4096
_MAX_VALUES = 100


def _empty_to_none(value: object) -> object:
    return (value.strip() or None) if isinstance(value, str) else value


def _without_empty(values: object) -> object:
    return [value.strip() for value in values if value.strip()] if isinstance(values, list) else values


def _empty_to_false(value: object) -> object:
    return False if value in {"", None} else value


# The constraints are on the inner type: an empty field becomes None, which has no length.
_Text = Annotated[Annotated[str, Field(max_length=_MAX_LENGTH)] | None, BeforeValidator(_empty_to_none)]
_Distance = Annotated[
    Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, BeforeValidator(_empty_to_none)
]
_Score = Annotated[Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(_empty_to_none)]
_Number = Annotated[Annotated[int, Field(ge=1, lt=2**63)] | None, BeforeValidator(_empty_to_none)]
_Texts = Annotated[
    list[Annotated[str, Field(max_length=_MAX_LENGTH)]],
    BeforeValidator(_without_empty),
    Field(max_length=_MAX_VALUES),
]
_Flag = Annotated[bool, BeforeValidator(_empty_to_false)]


@dataclass(frozen=True)
class QueryParams:
    """`options` as they are in the address, and the `query` that they stand for. Repeated options have several values."""

    options: Mapping[str, str | tuple[str, ...]]
    query: PhotoQuery

    @classmethod
    def of(cls, **options: str | float | bool | Sequence[str | int] | None) -> Self:
        """Raises:
        QueryInvalid: an option is invalid, or two contradict each other.
        """
        values: dict[str, Any] = {
            name: value
            for name, value in options.items()
            if value not in (None, (), []) and value is not False
        }
        query = parse_query(**{**values, "under": _parse_folders(values.get("under", ()))})
        return cls({name: _address_text(value) for name, value in values.items()}, query)

    @contextmanager
    def model_checked(self) -> Iterator[None]:
        """Raise QueryInvalid, not ModelNotFound, if the query names a model that is not registered."""
        try:
            yield
        except ModelNotFound as error:
            reason = f"there is no model {self.query.model!r}; registered models: {error.values['names']}"
            raise QueryInvalid(reason=reason) from error

    def text(self, option: str) -> str | None:
        """Return the value of an option that has one value; None without it."""
        value = self.options.get(option)
        return value if isinstance(value, str) else None

    def as_timeline(self) -> Self:
        """The query in its order; exact copies are one photo.

        By default, that is the newest photos first, a trip from its start, and unknown photos by the scores of their best candidates.
        """
        usual: SortOption = "oldest" if self.query.trip else "score" if self.query.unknown else "newest"
        sort: SortOption = self.query.sort or usual
        options = {**self.options, "sort": sort, "distinct": "1"}
        return type(self)(options, replace(self.query, sort=sort, distinct=True))

    def address(self, path: str, **more: object) -> str:
        """Return the address of the query at `path`, with `more` options; those that are None are removed."""
        merged = {**self.options, **more}
        return address_of(path, {name: value for name, value in merged.items() if value is not None})


def address_of(path: str, options: Mapping[str, object]) -> str:
    """Return the address of these options at `path`."""
    return f"{path}?{urlencode(options, doseq=True, errors='surrogateescape')}" if options else path


_Years = Annotated[
    list[Annotated[int, Field(ge=MINYEAR, le=MAXYEAR)]],
    BeforeValidator(_without_empty),
    Field(max_length=_MAX_VALUES),
]
_Landmark = Annotated[_Text, Query(description="A landmark by slug or name, in any case.")]
_Landmarks = Annotated[
    _Texts,
    Query(description="A landmark by slug or name, in any case. May be repeated: photos of any of them."),
]
_Countries = Annotated[
    _Texts,
    Query(description="Photos taken in this country, or of its landmarks, in any case. May be repeated."),
]
_Near = Annotated[
    _Text,
    Query(
        description="Photos taken near this position: LAT,LON in degrees. Those without a position: of landmarks near it."
    ),
]
_LandmarkCountry = Annotated[_Text, Query(description="Landmarks of this country, in any case.")]
_NearLandmark = Annotated[_Text, Query(description="Landmarks near this position: LAT,LON in degrees.")]
_Radius = Annotated[_Distance, Query(description="The distance from `near`. Default: 10.")]
_Box = Annotated[
    _Text,
    Query(
        description="Photos taken in this box: SOUTH,WEST,NORTH,EAST in degrees. Those without a position: of landmarks in it."
    ),
]
_Trip = Annotated[_Text, Query(description="All photos of this trip, by its id.")]
_Job = Annotated[_Number, Query(description="All photos of this job, by its number.")]
_Under = Annotated[_Text, Query(description="Photos in this folder, by its whole path.")]
_Folders = Annotated[_Texts, Query(description="Photos in this folder, by its whole path. May be repeated.")]
_Year = Annotated[
    _Years, Query(description="Photos taken in this year, by the camera's clock. May be repeated.")
]
_Verdict = Annotated[
    _Text,
    Query(
        description="Photos with such a verdict on any landmark: confirmed, rejected, corrected (both), any or none."
    ),
]
_Camera = Annotated[
    _Texts, Query(description="Photos of this camera, by make and model, in any case. May be repeated.")
]
_After = Annotated[_Text, Query(description="Taken at this time or later, by the camera's clock.")]
_Before = Annotated[_Text, Query(description="Taken before this time.")]


def query_params(
    landmark: _Landmarks = [],  # noqa: B006 - FastAPI copies it
    country: _Countries = [],  # noqa: B006
    near: _Near = None,
    radius_km: _Radius = None,
    box: _Box = None,
    position: Annotated[
        _Text,
        Query(
            description="Photos whose position comes from here: camera, landmark, track, neighbour, any or none."
        ),
    ] = None,
    trip: _Trip = None,
    job: _Job = None,
    min_score: Annotated[_Score, Query(description="Tags with at least this score, or confirmed.")] = None,
    verdict: _Verdict = None,
    camera: _Camera = [],  # noqa: B006
    under: _Folders = [],  # noqa: B006
    year: _Year = [],  # noqa: B006
    taken_after: _After = None,
    taken_before: _Before = None,
    model: Annotated[_Text, Query(description="Photos last classified by this registered model.")] = None,
    unknown: Annotated[_Flag, Query(description="Classified photos without an accepted landmark.")] = False,
    untagged: Annotated[
        _Flag, Query(description="Photos that no model has classified yet, without those that fail.")
    ] = False,
    failed: Annotated[_Flag, Query(description="Photos that cannot be classified: they fail.")] = False,
    dismissed: Annotated[_Flag, Query(description="Photos that were put away as not a landmark.")] = False,
    any_rank: Annotated[_Flag, Query(description="Every classified photo, with its whole top-k.")] = False,
    sort: Annotated[
        _Text, Query(description="The order: newest, oldest, name or score. Default: the fastest one.")
    ] = None,
    distinct: Annotated[_Flag, Query(description="Of exact copies, only the first.")] = False,
) -> QueryParams:
    """Parse the query of a request; a FastAPI dependency."""
    return QueryParams.of(
        landmark=landmark,
        country=country,
        near=near,
        radius_km=radius_km,
        box=box,
        position=position,
        trip=trip,
        job=job,
        min_score=min_score,
        verdict=verdict,
        camera=camera,
        under=under,
        year=year,
        taken_after=taken_after,
        taken_before=taken_before,
        model=model,
        unknown=unknown,
        untagged=untagged,
        failed=failed,
        dismissed=dismissed,
        any_rank=any_rank,
        sort=sort,
        distinct=distinct,
    )


def verdict_query_params(
    landmark: _Landmark = None,
    country: _LandmarkCountry = None,
    near: _NearLandmark = None,
    radius_km: _Radius = None,
    under: _Under = None,
    taken_after: _After = None,
    taken_before: _Before = None,
) -> QueryParams:
    """Parse a query of verdicts, which has no options about predictions; a FastAPI dependency."""
    return QueryParams.of(
        landmark=landmark,
        country=country,
        near=near,
        radius_km=radius_km,
        under=under,
        taken_after=taken_after,
        taken_before=taken_before,
    )


def _parse_folders(folders: str | Sequence[str]) -> tuple[Path, ...]:
    for folder in (folders := [folders] if isinstance(folders, str) else folders):
        if "\0" in folder or not (Path(folder).is_absolute() or is_object_address(folder)):
            reason = f"under={folder!r} is not a folder; give its whole path, such as /photos/2024"
            raise QueryInvalid(reason=reason)
    return tuple(map(parse_path, folders))


def _address_text(value: str | float | bool | Sequence[str | int]) -> str | tuple[str, ...]:
    if isinstance(value, list | tuple):
        return tuple(map(str, value))
    if value is True:
        return "1"
    return f"{value:g}" if isinstance(value, float) else str(value)
