"""The options of a query as they stand in an address, for pages and the API alike; and an address made of them again.

The names are those of `tagger query`. A field that a form sends empty asks nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlencode

from fastapi import Query
from pydantic import BeforeValidator, Field

from tagger.errors import ModelNotFound, QueryInvalid
from tagger.query import Near, PhotoQuery

DEFAULT_RADIUS_KM = 10.0
_LONGEST = 4096


def _given(value: object) -> object:
    return (value.strip() or None) if isinstance(value, str) else value


def _told(value: object) -> object:
    return False if value in {"", None} else value


# What a field may hold is said within, of what was given: an empty field is None, which has no length and no size.
_Text = Annotated[Annotated[str, Field(max_length=_LONGEST)] | None, BeforeValidator(_given)]
_Distance = Annotated[Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, BeforeValidator(_given)]
_Score = Annotated[Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(_given)]
_Flag = Annotated[bool, BeforeValidator(_told)]


@dataclass(frozen=True)
class Asked:
    """What an address asks for: `options` as they stand in it, and the `query` they mean."""

    options: Mapping[str, str]
    query: PhotoQuery

    @classmethod
    def of(cls, **options: str | float | bool | None) -> Self:
        """Raises:
        QueryInvalid: an option has a value that means nothing, or two contradict each other.
        """
        given = {name: value for name, value in options.items() if value is not None and value is not False}
        return cls({name: _in_address(value) for name, value in given.items()}, _query(given))

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Around asking the database: a model that is not there is the query's mistake, not the server's."""
        try:
            yield
        except ModelNotFound as error:
            reason = f"there is no model {self.query.model!r}; there are: {error.values['names']}"
            raise QueryInvalid(reason=reason) from error

    def address(self, path: str, **more: object) -> str:
        """The address of the same query at `path`; an option that is given as None is left out."""
        merged: dict[str, object] = {**self.options, **more}
        kept = {name: value for name, value in merged.items() if value is not None}
        return f"{path}?{urlencode(kept, errors='surrogateescape')}" if kept else path


_Landmark = Annotated[_Text, Query(description="A landmark by slug or name, in any case.")]
_Country = Annotated[_Text, Query(description="Landmarks of this country, in any case.")]
_Near = Annotated[_Text, Query(description="Landmarks near this place: LAT,LON in degrees.")]
_Radius = Annotated[_Distance, Query(description="How near; 10 unless told.")]
_Under = Annotated[_Text, Query(description="Photos in this folder, by its whole path.")]
_After = Annotated[_Text, Query(description="Taken then or later, camera's time.")]
_Before = Annotated[_Text, Query(description="Taken before then.")]


def asked(
    landmark: _Landmark = None,
    country: _Country = None,
    near: _Near = None,
    radius_km: _Radius = None,
    min_score: Annotated[_Score, Query(description="Tags with at least this score, or confirmed.")] = None,
    under: _Under = None,
    taken_after: _After = None,
    taken_before: _Before = None,
    model: Annotated[_Text, Query(description="Photos that this registered model looked at last.")] = None,
    unknown: Annotated[_Flag, Query(description="Photos looked at in which nothing was accepted.")] = False,
    untagged: Annotated[_Flag, Query(description="Photos no model has looked at yet.")] = False,
    any_rank: Annotated[_Flag, Query(description="Every photo looked at, with its whole top-k.")] = False,
) -> Asked:
    """The query of a request; for `Depends`."""
    return Asked.of(
        landmark=landmark,
        country=country,
        near=near,
        radius_km=radius_km,
        min_score=min_score,
        under=under,
        taken_after=taken_after,
        taken_before=taken_before,
        model=model,
        unknown=unknown,
        untagged=untagged,
        any_rank=any_rank,
    )


def asked_of_verdicts(
    landmark: _Landmark = None,
    country: _Country = None,
    near: _Near = None,
    radius_km: _Radius = None,
    under: _Under = None,
    taken_after: _After = None,
    taken_before: _Before = None,
) -> Asked:
    """The same where people's words are asked for, which do not go by what a model said; for `Depends`."""
    return Asked.of(
        landmark=landmark,
        country=country,
        near=near,
        radius_km=radius_km,
        under=under,
        taken_after=taken_after,
        taken_before=taken_before,
    )


def _query(given: Mapping[str, Any]) -> PhotoQuery:
    _check_agreement(given)
    return PhotoQuery(
        landmark=given.get("landmark"),
        country=given.get("country"),
        near=_near(given.get("near"), given.get("radius_km")),
        min_score=given.get("min_score"),
        under=_folders(given.get("under")),
        taken_after=_date(given.get("taken_after"), "taken_after"),
        taken_before=_date(given.get("taken_before"), "taken_before"),
        model=given.get("model"),
        unknown=given.get("unknown", False),
        untagged=given.get("untagged", False),
        any_rank=given.get("any_rank", False),
    )


def _near(place: str | None, radius_km: float | None) -> Near | None:
    if place is None:
        if radius_km is not None:
            raise QueryInvalid(reason="radius_km needs near, a place like 48.86,2.29")
        return None
    try:
        latitude, longitude = (float(number) for number in place.split(","))
    except ValueError:
        latitude = longitude = float("nan")
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        reason = f"near={place!r} is no place; give degrees of latitude and longitude, like 48.86,2.29"
        raise QueryInvalid(reason=reason)
    return Near(latitude, longitude, DEFAULT_RADIUS_KM if radius_km is None else radius_km)


def _folders(folder: str | None) -> tuple[Path, ...]:
    if folder is None:
        return ()
    if "\0" in folder or not Path(folder).is_absolute():
        raise QueryInvalid(reason=f"under={folder!r} is no folder; give its whole path, like /photos/2024")
    return (Path(folder),)


def _date(given: str | None, option: str) -> datetime | None:
    if given is None:
        return None
    try:
        date = datetime.fromisoformat(given)
    except ValueError:
        reason = f"{option}={given!r} is no date; write it like 2024-06-01 or 2024-06-01T18:30"
        raise QueryInvalid(reason=reason) from None
    if date.tzinfo is not None:
        raise QueryInvalid(reason=f"{option}: cameras know no time zone; leave it out")
    return date


_OF_TAGS = ("landmark", "country", "near", "min_score")


def _check_agreement(given: Mapping[str, Any]) -> None:
    """Options that contradict each other are a mistake, not an empty answer."""
    others = {"unknown": _OF_TAGS, "untagged": (*_OF_TAGS, "unknown", "any_rank", "model")}
    for option, refused in others.items():
        wrong = next((name for name in refused if option in given and name in given), None)
        if wrong:
            raise QueryInvalid(reason=f"photos that are {option} have no {wrong}; leave one out")


def _in_address(value: str | float | bool) -> str:
    if value is True:
        return "1"
    return f"{value:g}" if isinstance(value, float) else str(value)
