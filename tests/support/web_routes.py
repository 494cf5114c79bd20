"""The routes of the web page and its API, also those that are added later."""

import re

from fastapi.routing import APIRoute

from tagger.web import api, pages
from tagger.web.pages import sign_in

ROUTES = [
    route
    for router in (*api.routers(), *pages.routers(), sign_in.router)
    for route in router.routes
    if isinstance(route, APIRoute)
]


def addresses() -> list[tuple[str, str]]:
    """Method and path of every route, with 1 for each of its parameters."""
    return sorted((method, with_numbers(route.path)) for route in ROUTES for method in route.methods)


def with_numbers(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "1", path)
