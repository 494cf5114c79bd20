"""Routes of the API: functions return documents, and unknown options are errors.

The type that a function returns describes its documents in OpenAPI, without converting them: file names may
hold bytes that a conversion would refuse.
"""

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from tagger.web.http.access import Role, requires
from tagger.web.http.responses import DocumentResponse


@dataclass
class Problem:
    """What went wrong, and what to do."""

    error: str


_ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "The request is invalid or conflicts with the current state."},
    "5XX": {"model": Problem, "description": "The server cannot answer the request now."},
}


BINARY = {"type": "string", "format": "binary"}


def upload_body(*media_types: str, **more: dict[str, str]) -> dict[str, Any]:
    """Describe a body that is a file of one of these types, or a form with the `file` and `more` fields."""
    form = {"type": "object", "properties": {"file": BINARY, **more}, "required": ["file"]}
    alone = {media_type: {"schema": BINARY} for media_type in media_types}
    content = {"multipart/form-data": {"schema": form}, **alone}
    return {"requestBody": {"required": True, "content": content}}


class DocumentRoute(APIRoute):
    """Responds with the document that its function returns, serialised in the function's thread."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        status = options.get("status_code") or HTTPStatus.OK
        model = options.pop("response_model", None)
        if isinstance(model, DefaultPlaceholder):
            model = _document_type(endpoint)
        if model is not None:
            options["responses"] = {**(options.get("responses") or {}), int(status): {"model": model}}
        super().__init__(path, _with_response(endpoint, status), response_model=None, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        options = _query_options(self.dependant)

        async def handle(request: Request) -> Response:
            unknown = next((name for name in request.query_params if name not in options), None)
            if unknown is not None:
                valid = f" Valid options: {', '.join(sorted(options))}." if options else ""
                text = f"Unknown option {unknown[:100]!r}.{valid}"
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
            return await handler(request)

        return handle


def api_router(tag: str) -> APIRouter:
    """Return a router of the API; `tag` groups its routes in OpenAPI."""
    return APIRouter(prefix="/api", tags=[tag], route_class=DocumentRoute, responses=dict(_ERROR_RESPONSES))


router = APIRouter(include_in_schema=False)


@router.get("/api/openapi.json")
@requires(Role.VIEWER)
def describe_api(request: Request) -> JSONResponse:
    """Return the OpenAPI document, which describes every request and answer."""
    return JSONResponse(request.app.openapi())


def _document_type(endpoint: Callable[..., Any]) -> Any:
    """The type of the document that a function returns; None: it returns none, or a whole response."""
    annotation = inspect.signature(endpoint, eval_str=True).return_annotation
    is_response = isinstance(annotation, type) and issubclass(annotation, Response)
    return None if is_response else annotation


def _query_options(dependant: Dependant) -> set[str]:
    """Return the names of the query options of a route and its dependencies."""
    names = {option.alias for option in dependant.query_params}
    return names.union(*(_query_options(dependency) for dependency in dependant.dependencies))


def _with_response(endpoint: Callable[..., Any], status: int) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(endpoint):
        return endpoint

    @wraps(endpoint)
    def respond(*args: Any, **values: Any) -> Any:
        document = endpoint(*args, **values)
        is_final = document is None or isinstance(document, Response)
        return document if is_final else DocumentResponse(document, status)

    return respond
