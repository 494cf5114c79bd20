"""The routes of the web page and its API, and addresses of them."""

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


def with_numbers(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "1", path)
