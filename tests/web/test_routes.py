"""The routes of the application."""

from collections.abc import Callable

from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from tagger.web import api, pages


def test_routes_are_analysed_once_however_many_applications_there_are(
    client_of: Callable[..., TestClient],
) -> None:
    """FastAPI would analyse included routes again, at the first request: a fifth of a second each time."""
    expected = [route for router in (*api.routers(), *pages.routers()) for route in router.routes]
    for client in (client_of(), client_of()):
        routes = [route for route in client.app.routes if isinstance(route, APIRoute)]  # type: ignore[attr-defined]
        assert [id(route) for route in routes] == [id(route) for route in expected]
    assert len(expected) > 50
