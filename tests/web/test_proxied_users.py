"""People whom a reverse proxy signs in: its header is believed from trusted addresses, and from no others."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from ipaddress import ip_network

import pytest
from starlette.testclient import TestClient
from support.page_server import LOCAL_URL, TOKEN, served
from support.page_server import client_at as client_of_app

from tagger.cli.commands.serve import access_policy
from tagger.database.audit_log import AuditAction, AuditFilter, list_entries
from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.errors import SettingsInvalid
from tagger.people.tokens import add_token
from tagger.people.users import add_user, list_users, remove_user, set_role
from tagger.settings import Settings, load_settings
from tagger.web.app import create_app
from tagger.web.http.auth import AccessPolicy

HEADER = "X-Remote-User"
PROXY, STRANGER = "10.0.0.1", "203.0.113.7"
ORIGIN = {"origin": LOCAL_URL}
PLACE = {"name": "Old Tower"}
ClientAt = Callable[..., TestClient]


@pytest.fixture
def client_at(web_settings: Settings, web_database: Database) -> Iterator[ClientAt]:
    """Creates clients with an address, of a server where 10.0.0.1 is the proxy."""
    opened: list[TestClient] = []

    def make(address: str, role: Role | None = Role.VIEWER) -> TestClient:
        policy = AccessPolicy(
            "0.0.0.0",
            8080,
            TOKEN,
            trusted_proxies=(ip_network(PROXY),),
            user_header=HEADER,
            new_user_role=role,
        )
        app = create_app(web_settings, web_database, policy)
        client = client_of_app(app, address)
        opened.append(client.__enter__())
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


def status(client: TestClient, *values: str, **headers: str) -> int:
    named = [(HEADER.encode(), value.encode()) for value in values]
    others = [(name.encode(), value.encode()) for name, value in headers.items()]
    return client.get("/api/openapi.json", headers=[*named, *others]).status_code


def test_the_proxy_names_a_person_who_is_added(client_at: ClientAt, web_database: Database) -> None:
    client = client_at(PROXY)
    assert status(client, "Ada@Example.org") == 200
    assert status(client, "ada@example.org") == 200
    (user,) = list_users(web_database)
    assert (user.name, user.role, user.has_password) == ("ada@example.org", Role.VIEWER, False)
    page = client.get("/account", headers={HEADER: "ada@example.org"}).text
    assert "by the proxy in front of this page" in page
    assert 'name="current"' not in page
    assert "/sign-out" not in page
    (added,) = list_entries(web_database, AuditFilter((AuditAction.USER_ADD,)), 10)
    assert added.actor == "web ada@example.org"


@pytest.mark.parametrize("address", [STRANGER, "127.0.0.1"])
def test_nobody_else_is_believed(client_at: ClientAt, web_database: Database, address: str) -> None:
    add_user(web_database, "ada", Role.ADMIN, None)
    client = client_at(address)
    for forwarded in ({}, {"x-forwarded-for": PROXY}, {"forwarded": f"for={PROXY}"}):
        assert status(client, "ada", **forwarded) == 401
        assert status(client, "eve", **forwarded) == 401
    assert [user.name for user in list_users(web_database)] == ["ada"]


def test_two_names_and_odd_ones_are_refused(client_at: ClientAt, web_database: Database) -> None:
    add_user(web_database, "ada", Role.ADMIN, None)
    add_token(web_database, "phone")
    client = client_at(PROXY)
    assert status(client, "eve", "ada") == 403
    for name in ("eve, ada", "a b", "phone", "é", "x" * 200, "<script>", "TAGGER_WEB_TOKEN"):
        assert status(client, name) == 403, name
    assert status(client, "") == 401
    assert status(client) == 401
    assert [user.name for user in list_users(web_database)] == ["ada"]


def test_the_header_goes_before_sessions_and_tokens(client_at: ClientAt, web_database: Database) -> None:
    add_user(web_database, "ada", Role.VIEWER, None)
    client = client_at(PROXY)
    client.post("/sign-in", data={"token": TOKEN}, headers=ORIGIN)
    bearer = {"authorization": f"Bearer {TOKEN}"}
    for headers in (ORIGIN, ORIGIN | bearer):
        answer = client.post("/api/landmarks", json=PLACE, headers=headers | {HEADER: "ada"})
        assert answer.status_code == 403
    assert client.post("/api/landmarks", json=PLACE, headers=ORIGIN).status_code == 201


def test_only_added_people_have_access_if_the_setting_says_so(
    client_at: ClientAt, web_database: Database
) -> None:
    add_user(web_database, "ada", Role.EDITOR, None)
    client = client_at(PROXY, None)
    assert status(client, "ada") == 200
    refused = client.get("/places", headers={HEADER: "eve", "accept": "text/html"})
    assert refused.status_code == 403
    assert "eve" in refused.text
    assert [user.name for user in list_users(web_database)] == ["ada"]
    remove_user(web_database, "ada")
    assert status(client, "ada") == 403


def test_a_role_holds_at_once_and_the_name_is_recorded(client_at: ClientAt, web_database: Database) -> None:
    client = client_at(PROXY)
    headers = ORIGIN | {HEADER: "ada"}
    assert client.post("/api/landmarks", json=PLACE, headers=headers).status_code == 403
    set_role(web_database, "ada", Role.EDITOR)
    elsewhere = headers | {"origin": "https://evil.example"}
    assert client.post("/api/landmarks", json=PLACE, headers=elsewhere).status_code == 403
    assert client.post("/api/landmarks", json=PLACE, headers=headers).status_code == 201
    (added,) = list_entries(web_database, AuditFilter((AuditAction.LANDMARK_ADD,)), 10)
    assert added.actor == "web ada"
    assert client.get("/admin/users", headers=headers).status_code == 403
    client.app.state.authenticator.recorder.close()  # type: ignore[attr-defined]
    assert list_users(web_database)[0].last_used_at is not None


def test_a_real_server_tells_addresses_apart(web_settings: Settings, web_database: Database) -> None:
    trusted = {"web_trusted_proxies": [ip_network("127.0.0.2")], "web_user_header": HEADER}
    with served(web_settings.model_copy(update=trusted), web_database, TOKEN) as port:
        for address, expected in (("127.0.0.2", 200), ("127.0.0.1", 401), ("127.0.0.3", 401)):
            connection = HTTPConnection("127.0.0.1", port, timeout=60, source_address=(address, 0))
            with closing(connection):
                connection.request("GET", "/api/landmarks", headers={HEADER: "ada"})
                with connection.getresponse() as answer:
                    assert answer.status == expected, address


@pytest.mark.parametrize(
    ("header", "proxies", "problem"),
    [
        (HEADER, None, "web_trusted_proxies"),
        ("Cookie", '["10.0.0.1"]', "header of its own"),
        ("X_User", '["10.0.0.1"]', "header of its own"),
    ],
)
def test_settings_that_would_open_the_page_are_refused(
    monkeypatch: pytest.MonkeyPatch, header: str, proxies: str | None, problem: str
) -> None:
    monkeypatch.setenv("TAGGER_WEB_USER_HEADER", header)
    if proxies:
        monkeypatch.setenv("TAGGER_WEB_TRUSTED_PROXIES", proxies)
    with pytest.raises(SettingsInvalid, match=problem):
        load_settings()


def test_the_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGGER_WEB_TRUSTED_PROXIES", json.dumps([PROXY]))
    monkeypatch.setenv("TAGGER_WEB_USER_HEADER", HEADER)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        by_default = access_policy(listener, load_settings())
        monkeypatch.setenv("TAGGER_WEB_USER_ROLE", "none")
        refusing = access_policy(listener, load_settings())
    assert (by_default.user_header, by_default.new_user_role) == (HEADER, Role.VIEWER)
    assert refusing.new_user_role is None
