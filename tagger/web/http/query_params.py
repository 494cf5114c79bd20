"""Fields of forms, and query options in an address, for the API and the pages.

The names of options are those of `tagger query`; empty fields are ignored.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Self
from urllib.parse import urlencode

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from tagger.errors import ModelNotFound, QueryInvalid
from tagger.library.query.options import (
    PhotoQuery,
    QueryOption,
    SortOption,
    options_used_by,
    parse_query,
)
from tagger.photos.paths import is_object_address, parse_path
from tagger.system.text_format import has_controls


class RequestModel(BaseModel):
    """A body or a form. Fields that are not known are errors."""

    model_config = ConfigDict(extra="forbid")


def _check_one_line(text: str) -> str:
    if has_controls(text):
        raise PydanticCustomError("control_character", "should hold no line break or other control character")
    return text


ONE_LINE = AfterValidator(_check_one_line)
"""For `Annotated`, after the field's other constraints."""


def _split(values: object) -> object:
    texts = values if isinstance(values, list) else [values]
    return [part for text in texts for part in (text.split(",") if isinstance(text, str) else [text])]


PhotoId = Annotated[int, Field(ge=1, lt=2**63)]
MOST_PHOTOS = 10_000
PhotoNumbers = Annotated[
    list[PhotoId],
    Field(min_length=1, max_length=MOST_PHOTOS),
    BeforeValidator(_split),
]
"""Photos of a form: numbers with commas between them, since the number of a form's fields is limited."""

_MAX_LENGTH = 4096
_MAX_VALUES = 100


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
        """Return the query with an order; exact copies count as one photo.

        By default, the newest photos come first, those of a trip from its start, and unknown photos by the scores of their best candidates.
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


def _without_empty(values: object) -> object:
    return [value.strip() for value in values if value.strip()] if isinstance(values, list) else values


def _value_type(option: QueryOption) -> Any:
    """The type of one value, with its constraints."""
    if option.kind is float:
        return Annotated[float, Field(ge=option.minimum, le=option.maximum, allow_inf_nan=False)]
    if option.kind is int:
        below = 2**63 if option.maximum is None else None
        return Annotated[int, Field(ge=option.minimum, le=option.maximum, lt=below)]
    return Annotated[str, Field(max_length=_MAX_LENGTH)]


def _parameter(name: str, option: QueryOption) -> inspect.Parameter:
    """The parameter of an address."""
    default: object = False if option.kind is bool else [] if option.several else None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[_address_type(option), Query(description=_description(option))],
    )


def _address_type(option: QueryOption) -> Any:
    """Constraints are on the inner type: an empty field becomes None, which has no length."""
    if option.kind is bool:
        return Annotated[bool, BeforeValidator(lambda value: False if value in {"", None} else value)]
    value = _value_type(option)
    if option.several:
        values = GenericAlias(list, value)
        return Annotated[values, BeforeValidator(_without_empty), Field(max_length=_MAX_VALUES)]
    return Annotated[
        value | None, BeforeValidator(lambda text: (text.strip() or None) if isinstance(text, str) else text)
    ]


def _description(option: QueryOption) -> str:
    notes = [
        " Its whole path." if option.kind is Path else "",
        " May be repeated." if option.several else "",
        f" Default: {option.default}." if option.default else "",
    ]
    return option.help + "".join(notes)


def _dependency(options: Mapping[str, QueryOption], doc: str) -> Callable[..., QueryParams]:
    """A FastAPI dependency with these options as parameters."""

    def parse(**values: Any) -> QueryParams:
        return QueryParams.of(**values)

    parse.__doc__ = doc
    parse.__signature__ = inspect.Signature([_parameter(*each) for each in options.items()])  # type: ignore[attr-defined]  # FastAPI reads it
    return parse


ADDRESS_OPTIONS = options_used_by("all", "searches", "addresses")
"""The options of a query in an address."""
query_params = _dependency(ADDRESS_OPTIONS, "Parse the query of a request; a FastAPI dependency.")


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
