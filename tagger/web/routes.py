"""What requests say and what they get: queries in addresses, forms, documents, streams, headers and HEAD.

The names of query options are those of `tagger query`; empty fields are ignored.

Functions of the API return documents, which are JSON as commands write it, and unknown options are errors.
The type that a function returns describes its documents in OpenAPI, without converting them: file names may
hold bytes that a conversion would refuse.

The headers say what browsers may do with a response, and how long it may be cached. HEAD is answered wherever
GET is, and routes need to know nothing of it: the rest of the body is not produced, so a download of a
million rows ends with its first row.

Few requests that count or group many photos, such as those of filters and of the map, are let in at a time:
others are answered meanwhile.
"""

import inspect
import re
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from http import HTTPStatus
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Self
from urllib.parse import urlencode

import anyio
from anyio import CancelScope, CapacityLimiter
from fastapi import APIRouter, Depends, Query, Request
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from starlette.concurrency import iterate_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagger.errors import ModelNotFound, QueryInvalid, QueryOptionInvalid
from tagger.photos.paths import is_object_address
from tagger.query.options import PhotoQuery, QueryOption, SortOption, options_used_by
from tagger.texts import json_bytes
from tagger.texts.text_format import gettext, has_controls
from tagger.web.access import Role, requires


class RequestModel(BaseModel):
    """A body or a form. Fields that are not known are errors."""

    model_config = ConfigDict(extra="forbid")


def _check_one_line(text: str) -> str:
    if has_controls(text):
        raise PydanticCustomError(
            "control_character", "should hold no line break or other control character"
        )
    return text


# For `Annotated`, after the field's other constraints.
ONE_LINE = AfterValidator(_check_one_line)


def _split(values: object) -> object:
    texts = values if isinstance(values, list) else [values]
    return [
        part
        for text in texts
        for part in (text.split(",") if isinstance(text, str) else [text])
    ]


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
        value = self.options.get(option)
        return value if isinstance(value, str) else None

    def as_timeline(self) -> Self:
        """Return the query with an order; exact copies count as one photo.

        By default, the newest photos come first, those of a trip from its start, and unknown photos by the
        scores of their best candidates.
        """
        usual: SortOption = "score" if self.query.unknown else "newest"
        if self.query.trip:
            usual = "oldest"
        sort: SortOption = self.query.sort or usual
        options = {**self.options, "sort": sort, "distinct": "1"}
        return type(self)(options, replace(self.query, sort=sort, distinct=True))

    def address(self, path: str, **more: object) -> str:
        """Return the address of the query at `path`, with `more` options; those that are None are removed."""
        merged = {**self.options, **more}
        return address_of(
            path, {name: value for name, value in merged.items() if value is not None}
        )


def address_of(path: str, options: Mapping[str, object]) -> str:
    return (
        f"{path}?{urlencode(options, doseq=True, errors='surrogateescape')}"
        if options
        else path
    )


def _parameter(name: str, option: QueryOption) -> inspect.Parameter:
    # The parameter of an address: a text, or several, which the query itself reads.
    schema: dict[str, Any] = {"type": _SCHEMA_TYPES[option.kind]}
    limits = {
        "minimum": option.minimum,
        "maximum": option.maximum,
        "enum": list(option.choices) or None,
    }
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
    described = Query(
        description=" ".join(filter(None, notes)), json_schema_extra=schema
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation, described],
    )


_SCHEMA_TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Path: "string",
}


# The options of a query in an address.
ADDRESS_OPTIONS = options_used_by("all", "searches", "addresses")


def query_params(**texts: str | list[str] | None) -> QueryParams:
    """Parse the query of a request; a FastAPI dependency. Empty fields are ignored.

    Raises:
        QueryInvalid: an option is invalid, or two contradict each other.
    """
    options = _chosen(texts)
    for name, value in options.items():
        values = (value,) if isinstance(value, str) else value
        if len(values) > _MAX_VALUES or any(len(text) > _MAX_LENGTH for text in values):
            reason = f"has more than {_MAX_VALUES} values, or {_MAX_LENGTH} characters"
            raise QueryOptionInvalid(option=name, reason=reason)
        for folder in values if name == "under" else ():
            if "\0" in folder or not (
                Path(folder).is_absolute() or is_object_address(folder)
            ):
                reason = f"under={folder!r} is not a folder; give its whole path, such as /photos/2024"
                raise QueryInvalid(reason=reason)
    return QueryParams.of(**options)


def params_or_problem(**texts: str | list[str] | None) -> QueryParams:
    """As `query_params`; an invalid query has the options as typed, for a form to show."""
    try:
        return query_params(**texts)
    except QueryInvalid as problem:
        return QueryParams(_chosen(texts), PhotoQuery(), problem)


def _chosen(
    texts: Mapping[str, str | list[str] | None],
) -> dict[str, str | tuple[str, ...]]:
    # The options without empty fields.
    given = {
        name: [each] if isinstance(each, str) else each or []
        for name, each in texts.items()
    }
    values = {
        name: tuple(text.strip() for text in some if text.strip())
        for name, some in given.items()
    }
    return {
        name: some if ADDRESS_OPTIONS[name].several else some[-1]
        for name, some in values.items()
        if some
    }


for _dependency in (query_params, params_or_problem):
    _dependency.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # FastAPI reads it
        [_parameter(*each) for each in ADDRESS_OPTIONS.items()]
    )


class HeadRequests:
    """Passes a HEAD request on as GET, and ends it after the headers of the response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        with CancelScope() as rest:

            async def send_head(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await send(message)
                    await send({"type": "http.response.body", "body": b""})
                    rest.cancel()

            await self._app({**scope, "method": "GET"}, receive, send_head)


CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src "
    "'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def policy_with_tiles(url: str) -> str:
    origin = "/".join(url.split("/", 3)[:3])
    return CONTENT_SECURITY_POLICY.replace(
        "connect-src 'self'", f"connect-src 'self' {origin}"
    )


SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "x-robots-tag": "noindex",
}
# They bind documents and workers. A first view has thirty other responses: with them, a slow line
# would take a fifth of a second longer.
DOCUMENT_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()",
    "cross-origin-opener-policy": "same-origin",
}
# The addresses of styles, of scripts that are no workers, and of images that this program has
# encoded.
_PART_OF_DOCUMENT = re.compile(r"/static/(?!vendor/)[^.]*\.(?:css|js)|/.*/thumbnail")


def add_headers(scope: Scope, send: Send) -> Send:
    """Return a `send` that adds the headers which a response does not set itself."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            is_part = (
                _PART_OF_DOCUMENT.fullmatch(scope["path"])
                and message["status"] == HTTPStatus.OK
            )
            for name, value in (
                SECURITY_HEADERS | ({} if is_part else DOCUMENT_HEADERS)
            ).items():
                headers.setdefault(name, value)
            is_static = scope["path"].startswith("/static/")
            cache_control = "private, no-store"
            if is_static and message["status"] < HTTPStatus.BAD_REQUEST:
                # An address with a digest in it (see `templating.asset`) always means the same content.
                has_digest = scope["query_string"].startswith(b"v=")
                cache_control = FOR_EVER if has_digest else "no-cache"
            headers.setdefault("cache-control", cache_control)
        await send(message)

    return send_with_headers


FOR_EVER = "public, max-age=31536000, immutable"
CSV = "text/csv; charset=utf-8"
GEOJSON = "application/geo+json"
# Small parts are joined, since each send costs more.
BLOCK_BYTES = 2**16


class DocumentResponse(JSONResponse):
    def render(self, content: object) -> bytes:
        return json_bytes(content) + b"\n"


def stream_download(
    parts: Iterable[bytes], media_type: str, file_name: str
) -> StreamingResponse:
    return stream_blocks(iterate_in_threadpool(_blocks(parts)), media_type, file_name)


def stream_blocks(
    blocks: AsyncIterator[bytes], media_type: str, file_name: str
) -> StreamingResponse:
    """Stream `blocks` as they are produced; a browser saves them as `file_name`."""
    headers = {
        "Content-Disposition": f'attachment; filename="{file_name}"',
        "Cache-Control": "no-store",
    }
    return StreamingResponse(blocks, media_type=media_type, headers=headers)


def _blocks(parts: Iterable[bytes]) -> Iterator[bytes]:
    block: list[bytes] = []
    size_bytes = 0
    for part in parts:
        block.append(part)
        size_bytes += len(part)
        if size_bytes >= BLOCK_BYTES:
            yield b"".join(block)
            block, size_bytes = [], 0
    if block:
        yield b"".join(block)


@dataclass
class Problem:
    """What went wrong, and what to do."""

    error: str


_ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "model": Problem,
        "description": "The request is invalid or conflicts with the current state.",
    },
    "5XX": {
        "model": Problem,
        "description": "The server cannot answer the request now.",
    },
}


BINARY = {"type": "string", "format": "binary"}


def upload_body(*media_types: str, **more: dict[str, str]) -> dict[str, Any]:
    """Describe a body that is a file of one of these types, or a form with the `file` and `more` fields."""
    form = {
        "type": "object",
        "properties": {"file": BINARY, **more},
        "required": ["file"],
    }
    alone = {media_type: {"schema": BINARY} for media_type in media_types}
    content = {"multipart/form-data": {"schema": form}, **alone}
    return {"requestBody": {"required": True, "content": content}}


class DocumentRoute(APIRoute):
    """Responds with the document that its function returns, serialised in the function's thread."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        status = options.get("status_code") or HTTPStatus.OK
        model = options.pop("response_model", None)
        if isinstance(model, DefaultPlaceholder):
            # None: the function returns no document, or a whole response.
            model = inspect.signature(endpoint, eval_str=True).return_annotation
            if isinstance(model, type) and issubclass(model, Response):
                model = None
        if model is not None:
            options["responses"] = {
                **(options.get("responses") or {}),
                int(status): {"model": model},
            }
        super().__init__(
            path, _with_response(endpoint, status), response_model=None, **options
        )

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        options = _query_options(self.dependant)

        async def handle(request: Request) -> Response:
            unknown = [name for name in request.query_params if name not in options]
            if unknown:
                valid = (
                    f" Valid options: {', '.join(sorted(options))}." if options else ""
                )
                text = f"Unknown option {unknown[0][:100]!r}.{valid}"
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
            return await handler(request)

        return handle


def api_router(tag: str) -> APIRouter:
    return APIRouter(
        prefix="/api",
        tags=[tag],
        route_class=DocumentRoute,
        responses=dict(_ERROR_RESPONSES),
    )


router = APIRouter(include_in_schema=False)


@router.get("/api/openapi.json")
@requires(Role.VIEWER)
def describe_api(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


def _query_options(dependant: Dependant) -> set[str]:
    names = {option.alias for option in dependant.query_params}
    return names.union(
        *(_query_options(dependency) for dependency in dependant.dependencies)
    )


def _with_response(endpoint: Callable[..., Any], status: int) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(endpoint):
        return endpoint

    @wraps(endpoint)
    def respond(*args: Any, **values: Any) -> Any:
        document = endpoint(*args, **values)
        is_final = document is None or isinstance(document, Response)
        return document if is_final else DocumentResponse(document, status)

    return respond


# Requests that count photos at a time. The server has 40 threads and 32 connections to its
# database.
COUNTING_AT_ONCE = 4
# As many as a browser sends at once through a proxy with HTTP/2, for a grid. They hold no thread.
MOST_WAITING = 128
RETRY_AFTER_S = 5
GONE_CHECK_S = 0.5
# The status of nginx for a client that has closed the connection: nobody reads it.
CLIENT_GONE = 499


class CountLimiter:
    def __init__(
        self, at_once: int = COUNTING_AT_ONCE, most_waiting: int = MOST_WAITING
    ) -> None:
        self._most_waiting = most_waiting
        self._limiter = CapacityLimiter(at_once)

    @asynccontextmanager
    async def slot(self, request: Request) -> AsyncIterator[None]:
        """Wait until fewer requests are being answered. A client that disconnects leaves the queue.

        Raises:
            HTTPException: too many wait already, or the client has gone.
        """
        if self._limiter.statistics().tasks_waiting >= self._most_waiting:
            text = gettext(
                "Too many requests count photos now. Try again in some seconds."
            )
            headers = {"retry-after": str(RETRY_AFTER_S)}
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, headers)
        borrower, is_acquired = object(), False

        async def watch() -> None:
            while not await request.is_disconnected():  # noqa: ASYNC110 - there is no event for it
                await anyio.sleep(GONE_CHECK_S)
            waiting.cancel_scope.cancel()

        async with anyio.create_task_group() as waiting:
            waiting.start_soon(watch)
            await self._limiter.acquire_on_behalf_of(borrower)
            is_acquired = True
            waiting.cancel_scope.cancel()
        if not is_acquired:
            raise HTTPException(CLIENT_GONE)
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(borrower)


async def _counting_slot(request: Request) -> AsyncIterator[None]:
    limiter: CountLimiter = request.app.state.count_limiter
    async with limiter.slot(request):
        yield


# For the `dependencies` of a route that counts or groups photos.
COUNTING = Depends(_counting_slot, scope="function")
