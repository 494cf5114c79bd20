"""How the API answers: with documents as the command line writes them, and with an error that says what to do.

`response_model` on a route says in OpenAPI what its documents look like, and changes none of them: what stands in people's
file names may be no text, which a conversion would refuse.
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
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from tagger.web.document import Document


@dataclass
class Problem:
    """What went wrong, and what to do."""

    error: str


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "The request cannot be met as it is."},
    "5XX": {"model": Problem, "description": "The server cannot meet it now."},
}


class DocumentRoute(APIRoute):
    """Answers with what its function returns, in the thread that it runs in. An option that it does not have is a mistake."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        status = options.get("status_code") or HTTPStatus.OK
        shape = options.pop("response_model", None)
        if shape is not None and not isinstance(shape, DefaultPlaceholder):
            options["responses"] = {**(options.get("responses") or {}), int(status): {"model": shape}}
        super().__init__(path, _answering(endpoint, status), response_model=None, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = _options(self.dependant)

        async def checked(request: Request) -> Response:
            odd = next((name for name in request.query_params if name not in known), None)
            if odd is not None:
                there = f"; there are: {', '.join(sorted(known))}" if known else ""
                text = f"There is no option {odd[:100]!r} here{there}."
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
            return await handle(request)

        return checked


def api_router(tag: str, prefix: str = "") -> APIRouter:
    """A part of the API, named `tag` in OpenAPI."""
    return APIRouter(prefix=f"/api{prefix}", tags=[tag], route_class=DocumentRoute, responses=dict(_PROBLEMS))


def _options(dependant: Dependant) -> set[str]:
    """The names of all that may stand in an address, for the route and what it depends on."""
    own = {option.alias for option in dependant.query_params}
    return own.union(*(_options(each) for each in dependant.dependencies))


def _answering(endpoint: Callable[..., Any], status: int) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(endpoint):
        return endpoint

    @wraps(endpoint)
    def answer(*args: Any, **values: Any) -> Any:
        found = endpoint(*args, **values)
        return found if found is None or isinstance(found, Response) else Document(found, status)

    return answer
