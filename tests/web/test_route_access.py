"""Who may use which route: each declares it, and a walk over all of them finds that declared and no other."""

from collections.abc import Callable

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.testclient import TestClient
from support.page_server import LOCAL_URL, TOKEN, VIEW_TOKEN, with_numbers

from tagger.web.http.access import SAFE_METHODS, Role, RouteRoles, requires
from tagger.web.http.responses import DocumentRoute
from tagger.web.pages import trips

ORIGIN = {"origin": LOCAL_URL}
REFUSAL = "Your access is read-only"
EVENTS = "/api/events"
"""It never ends for somebody who may read it."""
VIEWERS_MAY_SEND = {"/api/predict", "/language", "/photos/download", "/sign-in", "/sign-out", "/try"}
ONLY_EDITORS_MAY_READ = {
    "/jobs/new", "/places/edit/{slug}", "/review",
    "/trips/edit/{trip_id}",
}  # fmt: skip
ClientOf = Callable[..., TestClient]


@pytest.fixture
def client(client_of: ClientOf) -> TestClient:
    """A client of an application that requires a token."""
    return client_of("0.0.0.0", TOKEN)


def declared(client: TestClient) -> list[tuple[str, str, Role]]:
    """Method, path and declaration of all routes. Signing out comes last."""
    routes = [route for route in client.app.routes if isinstance(route, APIRoute)]  # type: ignore[attr-defined]
    found = [
        (method, route.path, route.endpoint.role)  # type: ignore[attr-defined]
        for route in routes
        for method in sorted(route.methods or ())
    ]
    return sorted(found, key=lambda each: each[1] == "/sign-out")


def is_refused(client: TestClient, method: str, path: str, headers: dict[str, str]) -> bool:
    """Whether the answer is that somebody who has signed in may not do this."""
    answer = client.request(method, with_numbers(path), headers=ORIGIN | headers)
    assert answer.status_code != 401, (method, path)
    return answer.status_code == 403 and REFUSAL in answer.text


def test_strangers_reach_only_the_page_to_sign_in(client: TestClient) -> None:
    for method, path, role in declared(client):
        answer = client.request(method, with_numbers(path), headers=ORIGIN)
        is_open = role is Role.ANYBODY
        assert (method, path, answer.status_code != 401) == (method, path, is_open)
        assert (path == "/sign-in") == is_open


@pytest.mark.parametrize("by_cookie", [False, True], ids=["token", "cookie"])
def test_who_may_look_reaches_the_routes_that_declare_it(client: TestClient, by_cookie: bool) -> None:
    headers = {"authorization": f"Bearer {VIEW_TOKEN}"}
    if by_cookie:
        headers = {}
        assert client.post("/sign-in", data={"token": VIEW_TOKEN}, headers=ORIGIN).status_code == 303
    for method, path, role in declared(client):
        may_not = role >= Role.EDITOR
        if path != "/sign-in" and (path != EVENTS or may_not):
            assert (path, is_refused(client, method, path, headers)) == (path, may_not), method


def test_an_admin_reaches_all(client: TestClient) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    for method, path, _ in declared(client):
        if path not in {"/sign-in", EVENTS}:
            assert not is_refused(client, method, path, headers), (method, path)


def test_viewers_change_nothing(client: TestClient) -> None:
    """What routes declare is right: a change that is open to viewers has to be added to the list here."""
    routes = declared(client)
    for method, path, role in routes:
        if method not in SAFE_METHODS and role < Role.EDITOR:
            assert path in VIEWERS_MAY_SEND
    for_editors = {path for method, path, role in routes if (method, role) == ("GET", Role.EDITOR)}
    assert for_editors >= ONLY_EDITORS_MAY_READ


@pytest.mark.parametrize(
    ("method", "path", "viewer", "stranger"),
    [
        ("GET", "/nothing", 404, 401),
        ("POST", "/nothing", 403, 401),
        ("GET", "/places/edit/nothing/nothing", 404, 401),
        ("HEAD", "/jobs/new", 403, 401),
        ("DELETE", "/photos", 403, 401),
        ("GET", "/sign-in/nothing", 404, 401),
        ("PUT", "/sign-in", 403, 401),
        ("GET", "/static/nothing", 404, 404),
        ("GET", "/static", 404, 401),
        ("GET", "//jobs/new", 404, 401),
        ("GET", "/Jobs/new", 404, 401),
    ],
)
def test_an_address_without_a_route_tells_strangers_nothing(
    client: TestClient, method: str, path: str, viewer: int, stranger: int
) -> None:
    for headers, status in (({"authorization": f"Bearer {VIEW_TOKEN}"}, viewer), ({}, stranger)):
        answer = client.request(method, f"{LOCAL_URL}{path}", headers=ORIGIN | headers)
        assert answer.status_code == status, headers


def test_an_application_with_a_route_that_declares_nothing_does_not_start(
    client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = APIRouter()

    @router.get("/trips/secret/{trip_id}")
    def show_secret(trip_id: int) -> int:
        return trip_id

    monkeypatch.setattr(trips.router, "routes", [*trips.router.routes, *router.routes])
    with pytest.raises(ValueError, match=r"the route GET /trips/secret/\{trip_id\} does not declare"):
        client_of()


def test_a_declaration_above_the_address_is_none_where_the_function_is_wrapped(client: TestClient) -> None:
    """Routes of the API wrap their functions: what is declared too late must not be lost silently."""
    router = APIRouter(route_class=DocumentRoute)

    @requires(Role.ADMIN)
    @router.delete("/api/secrets")
    def remove_secrets() -> list[str]:
        return []

    with pytest.raises(ValueError, match="DELETE /api/secrets"):
        RouteRoles(router.routes)
