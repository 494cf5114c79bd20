"""Fields of forms, and query options in an address, for the API and the pages.

The names of options are those of `tagger query`; empty fields are ignored.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Self
from urllib.parse import urlencode

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from tagger.errors import ModelNotFound, QueryInvalid, QueryOptionInvalid
from tagger.photos.paths import is_object_address
from tagger.query.options import (
    PhotoQuery,
    QueryOption,
    SortOption,
    options_used_by,
)
from tagger.texts.text_format import has_controls


class RequestModel(BaseModel):
    """A body or a form. Fields that are not known are errors."""

    model_config = ConfigDict(extra="forbid")


def _check_one_line(text: str) -> str:
    if has_controls(text):
        raise PydanticCustomError("control_character", "should hold no line break or other control character")
    return text


# For `Annotated`, after the field's other constraints.
ONE_LINE = AfterValidator(_check_one_line)


def _split(values: object) -> object:
    texts = values if isinstance(values, list) else [values]
    return [part for text in texts for part in (text.split(",") if isinstance(text, str) else [text])]


PhotoId = Annotated[int, Field(ge=1, lt=2**63)]
MOST_PHOTOS = 10_000
# Photos of a form: numbers with commas between them, since the number of a form's fields is
# limited.
PhotoNumbers = Annotated[
    list[PhotoId],
    Field(min_length=1, max_length=MOST_PHOTOS),
    BeforeValidator(_split),
]

_MAX_LENGTH = 4096
_MAX_VALUES = 100


@dataclass(frozen=True)
class QueryParams:
    """A query of an address, and its options there."""

    # Those that a person chose; of an invalid query, as typed. Repeated options have several
    # values.
    options: Mapping[str, str | tuple[str, ...]]
    query: PhotoQuery
    # Why the options are invalid; the query is empty then.
    problem: QueryInvalid | None = None

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Raises:
        QueryOptionInvalid: an option is invalid, or two contradict each other.
        """
        query = PhotoQuery(**options)
        return cls(query.texts, query)

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

        By default, the newest photos come first, those of a trip from its start, and unknown photos by the
        scores of their best candidates.
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


def _parameter(name: str, option: QueryOption) -> inspect.Parameter:
    """The parameter of an address: a text, or several, which the query itself reads."""
    schema: dict[str, Any] = {"type": _SCHEMA_TYPES[option.kind]}
    limits = {"minimum": option.minimum, "maximum": option.maximum, "enum": list(option.choices) or None}
    schema |= {key: limit for key, limit in limits.items() if limit is not None}
    schema = {"type": "array", "items": schema} if option.several else schema
    annotation = GenericAlias(list, str) if option.several else str | None
    notes = (
        option.help,
        "Its whole path." if option.kind is Path else "",
        "May be repeated." if option.several else "",
        f"Default: {option.default}." if option.default else "",
    )
    default: object = [] if option.several else None
    described = Query(description=" ".join(filter(None, notes)), json_schema_extra=schema)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, described]
    )


_SCHEMA_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "string"}


# The options of a query in an address.
ADDRESS_OPTIONS = options_used_by("all", "searches", "addresses")


def query_params(**texts: str | list[str] | None) -> QueryParams:
    """Parse the query of a request; a FastAPI dependency. Empty fields are ignored.

    Raises:
        QueryInvalid: an option is invalid, or two contradict each other.
    """
    return QueryParams.of(**_checked(_chosen(texts)))


def params_or_problem(**texts: str | list[str] | None) -> QueryParams:
    """As `query_params`; an invalid query has the options as typed, for a form to show."""
    try:
        return query_params(**texts)
    except QueryInvalid as problem:
        return QueryParams(_chosen(texts), PhotoQuery(), problem)


def _chosen(texts: Mapping[str, str | list[str] | None]) -> dict[str, str | tuple[str, ...]]:
    """The options without empty fields."""
    given = {name: [each] if isinstance(each, str) else each or [] for name, each in texts.items()}
    values = {name: tuple(text.strip() for text in some if text.strip()) for name, some in given.items()}
    return {
        name: some if ADDRESS_OPTIONS[name].several else some[-1] for name, some in values.items() if some
    }


def _checked(options: dict[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
    """The options, if they are not too long and folders have whole paths."""
    for name, value in options.items():
        values = (value,) if isinstance(value, str) else value
        if len(values) > _MAX_VALUES or any(len(text) > _MAX_LENGTH for text in values):
            reason = f"has more than {_MAX_VALUES} values, or {_MAX_LENGTH} characters"
            raise QueryOptionInvalid(option=name, reason=reason)
        for folder in values if name == "under" else ():
            if "\0" in folder or not (Path(folder).is_absolute() or is_object_address(folder)):
                reason = f"under={folder!r} is not a folder; give its whole path, such as /photos/2024"
                raise QueryInvalid(reason=reason)
    return options


for _dependency in (query_params, params_or_problem):
    _dependency.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # FastAPI reads it
        [_parameter(*each) for each in ADDRESS_OPTIONS.items()]
    )
