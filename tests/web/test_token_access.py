"""Who may ask for what: tokens, origins, and each route."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import ip_network
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import Row, update
from starlette.testclient import TestClient
from support.databases import audit_entries, execute
from support.job_runs import process_job
from support.library_photos import EIFFEL
from support.page_server import LOCAL_URL, TOKEN, VIEW_TOKEN, client_at as client_of_app, photo, with_numbers

from tagger.database import Priority
from tagger.database.connection import AuditAction, Database
from tagger.database.tables import models
from tagger.jobs.enqueue.schedules import add_schedule
from tagger.jobs.enqueue.submission import Backfill, BackfillScope
from tagger.web import access
from tagger.web.access import MAX_ATTEMPTS, SAFE_METHODS, AccessPolicy, Role, RouteRoles, requires
from tagger.web.app import create_app
from tagger.web.pages import library
from tagger.web.routes import DocumentRoute

WRONG = "a-wrong-token-of-16"
ORIGIN = {"origin": LOCAL_URL}
READ_ONLY_MAY_POST = {
    "/try", "/api/predict", "/language", "/sign-in", "/sign-out", "/photos/download",
}  # fmt: skip


@pytest.fixture
def client_at(web_settings, web_database) -> Iterator[Callable[..., TestClient]]:
    """Creates clients of one server, with an address. The server is created with the first one."""
    policy = AccessPolicy("0.0.0.0", 8080, TOKEN, VIEW_TOKEN, trusted_proxies=(ip_network("10.0.0.1"),))
    opened: list[TestClient] = []

    @cache
    def server() -> FastAPI:
        return create_app(web_settings, web_database, policy)

    def make(address: str = "203.0.113.7") -> TestClient:
        opened.append(client_of_app(server(), address))
        return opened[-1]

    yield make
    for client in opened:
        client.close()
    server().state.app_state.close()


def sign_in(client: TestClient, token: str = TOKEN, **headers: str) -> httpx.Response:
    return client.post("/sign-in", data={"token": token}, headers=ORIGIN | headers)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def status(client: TestClient, token: str | None = None) -> int:
    headers = {} if token is None else bearer(token)
    return client.get("/api/openapi.json", headers=headers).status_code


def entries(database: Database, action: AuditAction) -> list[Row[Any]]:
    return list(audit_entries(database, action))


def test_trusted_proxies_have_budgets_and_safe_sessions(client_at):
    def answer(client: TestClient, token: str, chain: str) -> int:
        headers = bearer(token) | {"x-forwarded-for": chain}
        return client.get("/api/openapi.json", headers=headers).status_code

    proxy, attacker = client_at("10.0.0.1"), client_at("198.51.100.9")
    for number in range(MAX_ATTEMPTS):
        answer(proxy, WRONG, "198.51.100.8")
        assert answer(attacker, WRONG, f"192.0.2.{number}") == 401
    assert answer(proxy, TOKEN, "198.51.100.8") == 429
    assert answer(proxy, TOKEN, "198.51.100.8, 203.0.113.7") == 200
    assert answer(attacker, TOKEN, "192.0.2.200") == 429
    proxy, direct = client_at("10.0.0.1"), client_at()
    sign_in(direct)
    ((name, value),) = direct.cookies.items()
    https = {"x-forwarded-proto": "https"}
    for cookie, status_code in ((f"{name}={value}", 401), (f"__Host-{name}={value}", 200)):
        answer = proxy.get("/api/openapi.json", headers=https | {"cookie": cookie})
        assert answer.status_code == status_code, cookie


def test_a_proxy_that_is_not_trusted_is_reported_once(client_of, caplog):
    client = client_of("127.0.0.1", TOKEN)
    for _ in range(2):
        client.get("/places", headers={"x-forwarded-for": "192.0.2.1"})
    assert caplog.text.count("TAGGER_WEB_TRUSTED_PROXIES") == 1


def test_wrong_tokens_are_logged_with_their_address(client_at, caplog):
    with caplog.at_level(logging.WARNING):
        sign_in(client_at("198.51.100.9"), WRONG)
        status(client_at("2001:db8:0:1::7"), WRONG)
    lines = [record.getMessage() for record in caplog.records if record.name == access.__name__]
    assert lines == ["wrong token from 198.51.100.9", "wrong token from 2001:db8:0:1::7"]
    assert WRONG not in caplog.text


def test_signing_in_and_out_and_changes_are_recorded_with_the_token_and_the_address(client_at, web_database):
    client = client_at()
    new = {"name": "Old Tower"}
    assert client.post("/api/landmarks", json=new, headers=bearer(TOKEN)).status_code == 201
    sign_in(client)
    client.post("/sign-out", headers=ORIGIN)
    for action, subject in (
        (AuditAction.LANDMARK_ADD, "old-tower"),
        (AuditAction.SIGN_IN, "TAGGER_WEB_TOKEN"),
        (AuditAction.SIGN_OUT, "TAGGER_WEB_TOKEN"),
    ):
        (entry,) = entries(web_database, action)
        assert (entry.actor, entry.subject) == ("web TAGGER_WEB_TOKEN", subject)
        assert entry.details["address"] == "203.0.113.7"


def test_without_a_token_the_actor_is_the_page(client, web_database):
    assert client.post("/api/landmarks", json={"name": "Old Tower"}).status_code == 201
    assert entries(web_database, AuditAction.LANDMARK_ADD)[0].actor == "web"


def test_jobs_are_recorded_with_the_token(client_at, web_database, library):
    library.file("tower.jpg")
    client = client_at()
    started = client.post("/api/backfills", json={"what": "all"}, headers=bearer(TOKEN))
    assert started.status_code == 202
    add_schedule(web_database, "nightly", "0 3 * * *", Backfill(BackfillScope.ALL), Priority.BULK)
    form = {"name": "nightly"}
    run = client.post("/jobs/schedules/run", data=form, headers=bearer(TOKEN) | ORIGIN)
    assert run.status_code == 303
    of_schedule, of_request = entries(web_database, AuditAction.JOB_CREATE)
    assert {of_schedule.actor, of_request.actor} == {"web TAGGER_WEB_TOKEN"}
    assert of_request.subject == str(started.json()["job"])
    assert (of_request.details["kind"], of_schedule.details["schedule"]) == ("backfill", "nightly")
    job = of_request.subject
    assert client.get(f"/api/jobs/{job}", headers=bearer(TOKEN)).json()["author"] == "web TAGGER_WEB_TOKEN"
    page = client.get(f"/jobs/{job}", headers=bearer(TOKEN)).text
    assert "<dt>Started by</dt><dd>TAGGER_WEB_TOKEN</dd>" in page
    assert client.get("/jobs", headers=bearer(TOKEN)).text.count(", by TAGGER_WEB_TOKEN") == 2


def test_a_cookie_ends_with_its_token_and_its_time(web_settings, web_database, monkeypatch):
    def client_with(token: str, view_token: str | None = None) -> TestClient:
        policy = AccessPolicy("0.0.0.0", 8080, token, view_token)
        return client_of_app(create_app(web_settings, web_database, policy))

    client = client_with(TOKEN, VIEW_TOKEN)
    sign_in(client, VIEW_TOKEN)
    cookies = dict(client.cookies)
    for token, view_token, expected in (
        (TOKEN, VIEW_TOKEN, 200),
        ("another-token-of-16", VIEW_TOKEN, 200),
        (TOKEN, "another-token-of-16", 401),
        (TOKEN, None, 401),
    ):
        other = client_with(token, view_token)
        other.cookies.update(cookies)
        assert status(other) == expected, (token, view_token)
    later = time.time() + access.SESSION_S
    monkeypatch.setattr(access.time, "time", lambda: later + 1)
    assert status(client) == 401


def test_errors_tell_strangers_nothing_of_the_library(client_at, library):
    execute(library.database, update(models).values(suggestion_threshold=0.3))
    library.file("perhaps.jpg", (EIFFEL, 0.4, False))
    client = client_at()
    page = client.get("/static/nothing")
    assert (page.status_code, "nav-count" in page.text) == (404, False)
    sign_in(client)
    page = client.get("/nothing")
    assert (page.status_code, "nav-count" in page.text) == (404, True)


def test_pages_offer_only_what_a_session_may_do(client_at, web_database, web_settings, library):
    number = library.file("tower.jpg", (EIFFEL, 0.8, True))
    (library.root / "broken.jpg").write_text("no photo")
    admin, guest = client_at(), client_at()
    sign_in(admin)
    sign_in(guest, VIEW_TOKEN)
    add_schedule(web_database, "nightly", "0 3 * * *", Backfill(BackfillScope.ALL), Priority.BULK)
    failed = admin.post("/api/jobs", json={"paths": [str(library.root)]}, headers=ORIGIN).json()["job"]
    process_job(web_database, web_settings, failed)
    assert admin.post("/api/backfills", json={"what": "all"}, headers=ORIGIN).status_code == 202
    offered = {
        "/jobs": {"/jobs/new", "/jobs/schedules/pause", "/jobs/schedules/run"},
        f"/jobs/{failed}": {f"/jobs/{failed}/retry"},
        f"/photos/{number}/details": {"data-verdict", "data-name-another", "Write tags"},
        f"/landmarks/{EIFFEL}": {"select.js", "/places/edit/"},
        "/photos": {"select.js", 'id="naming"'},
    }
    for path, actions in offered.items():
        page, read_only = admin.get(path).text, guest.get(path).text
        assert {action for action in actions if action in page} == actions, path
        assert {action for action in actions if action in read_only} == set(), path
        forms = set(re.findall(r'<form[^>]*method="post" action="([^"]*)"', read_only))
        assert forms <= READ_ONLY_MAY_POST, path
        assert "read-only" in read_only or path.endswith("/details")  # a part of a page


def test_a_read_only_token_classifies(client_at):
    client = client_at()
    sign_in(client, VIEW_TOKEN)
    png = bearer(VIEW_TOKEN) | {"content-type": "image/png"}
    assert client.post("/api/predict", content=photo(0), headers=png).status_code == 200
    assert client.post("/try", files={"file": photo(0)}, headers=ORIGIN).status_code == 200
    assert client.post("/sign-out", headers=ORIGIN).status_code == 303
    assert status(client) == 401


EVENTS = "/api/events"  # It never ends for somebody who may read it
VIEWERS_MAY_SEND = {"/api/predict", "/language", "/photos/download", "/sign-in", "/sign-out", "/try"}
ONLY_EDITORS_MAY_READ = {
    "/jobs/new", "/places/edit/{slug}", "/review",
    "/trips/edit/{trip_id}",
}  # fmt: skip


@pytest.fixture
def guest(client_of) -> TestClient:
    return client_of("0.0.0.0", TOKEN)


def declared(client: TestClient) -> list[tuple[str, str, Role]]:
    """Method, path and declaration of all routes. Signing out comes last."""
    routes = [route for route in client.app.routes if isinstance(route, APIRoute)]
    found = [
        (method, route.path, route.endpoint.role)
        for route in routes
        for method in sorted(route.methods or ())
    ]
    return sorted(found, key=lambda each: each[1] == "/sign-out")


def is_refused(client: TestClient, method: str, path: str, headers: dict[str, str]) -> bool:
    """Whether the answer is that somebody who has signed in may not do this."""
    answer = client.request(method, with_numbers(path), headers=ORIGIN | headers)
    assert answer.status_code != 401, (method, path)
    return answer.status_code == 403 and "Your access is read-only" in answer.text


def test_routes_declare_who_reaches_them(guest):
    for method, path, role in declared(guest):
        answer = guest.request(method, with_numbers(path), headers=ORIGIN)
        is_open = role is Role.ANYBODY
        assert (method, path, answer.status_code != 401) == (method, path, is_open)
        assert (path == "/sign-in") == is_open
    headers = {"authorization": f"Bearer {TOKEN}"}
    for method, path, _ in declared(guest):
        if path not in {"/sign-in", EVENTS}:
            assert not is_refused(guest, method, path, headers), (method, path)
    routes = declared(guest)
    for method, path, role in routes:
        if method not in SAFE_METHODS and role < Role.EDITOR:
            assert path in VIEWERS_MAY_SEND
    for_editors = {path for method, path, role in routes if (method, role) == ("GET", Role.EDITOR)}
    assert for_editors >= ONLY_EDITORS_MAY_READ


@pytest.mark.parametrize("by_cookie", [False, True], ids=["token", "cookie"])
def test_who_may_look_reaches_the_routes_that_declare_it(guest, by_cookie):
    headers = {"authorization": f"Bearer {VIEW_TOKEN}"}
    if by_cookie:
        headers = {}
        assert guest.post("/sign-in", data={"token": VIEW_TOKEN}, headers=ORIGIN).status_code == 303
    for method, path, role in declared(guest):
        may_not = role >= Role.EDITOR
        if path != "/sign-in" and (path != EVENTS or may_not):
            assert (path, is_refused(guest, method, path, headers)) == (path, may_not), method


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
def test_an_address_without_a_route_tells_strangers_nothing(guest, method, path, viewer, stranger):
    for headers, status in (({"authorization": f"Bearer {VIEW_TOKEN}"}, viewer), ({}, stranger)):
        answer = guest.request(method, f"{LOCAL_URL}{path}", headers=ORIGIN | headers)
        assert answer.status_code == status, headers


def test_an_application_with_a_route_that_declares_nothing_does_not_start(client_of, monkeypatch):
    router = APIRouter()

    @router.get("/trips/secret/{trip_id}")
    def show_secret(trip_id: int) -> int:
        return trip_id

    monkeypatch.setattr(library.router, "routes", [*library.router.routes, *router.routes])
    with pytest.raises(ValueError, match=r"the route GET /trips/secret/\{trip_id\} does not declare"):
        client_of()


def test_a_declaration_above_the_address_is_none_where_the_function_is_wrapped(guest):
    """Routes of the API wrap their functions: what is declared too late must not be lost silently."""
    router = APIRouter(route_class=DocumentRoute)

    @requires(Role.ADMIN)
    @router.delete("/api/secrets")
    def remove_secrets() -> list[str]:
        return []

    with pytest.raises(ValueError, match="DELETE /api/secrets"):
        RouteRoles(router.routes)
