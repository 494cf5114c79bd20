"""Who a proxy says that a request is from, and for whom."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from ipaddress import ip_network

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient
from starlette.types import Scope
from support.databases import audit_entries
from support.page_server import LOCAL_URL, TOKEN, client_at as client_of_app, served

from tagger.cli.commands.services import access_policy
from tagger.database.connection import AuditAction
from tagger.errors import SettingsInvalid
from tagger.settings import load_settings
from tagger.web.access import AccessPolicy, Client, Role, client_of
from tagger.web.app import create_app

HEADER = "X-Remote-User"
PROXY, STRANGER = "10.0.0.1", "203.0.113.7"
ORIGIN = {"origin": LOCAL_URL}
EDITOR = "ada"
PLACE = {"name": "Old Tower"}


@pytest.fixture
def client_at(web_settings, web_database) -> Iterator[Callable[..., TestClient]]:
    """Creates clients with an address, of a server where 10.0.0.1 is the proxy."""

    def make(address: str, role: Role = Role.VIEWER) -> TestClient:
        policy = AccessPolicy(
            "0.0.0.0",
            8080,
            TOKEN,
            trusted_proxies=(ip_network(PROXY),),
            user_header=HEADER,
            user_role=role,
            editors=(EDITOR,),
        )
        app = create_app(web_settings, web_database, policy)
        return opened.enter_context(client_of_app(app, address))

    with ExitStack() as opened:
        yield make


def status(client: TestClient, *values: str, **headers: str) -> int:
    named = [(HEADER.encode(), value.encode()) for value in values]
    others = [(name.encode(), value.encode()) for name, value in headers.items()]
    return client.get("/api/openapi.json", headers=[*named, *others]).status_code


def test_the_proxy_names_people_before_cookies_and_odd_names_are_refused(client_at):
    client = client_at(PROXY)
    assert status(client, "Ada@Example.org") == 200
    page = client.get("/places", headers={HEADER: "ada@example.org"}).text
    assert "/sign-out" not in page
    assert status(client, "eve", EDITOR) == 403
    for name in ("eve, ada", "a b", "é", "x" * 200, "<script>", "TAGGER_WEB TOKEN"):
        assert status(client, name) == 403, name
    assert status(client, "") == 401
    assert status(client) == 401
    client.post("/sign-in", data={"token": TOKEN}, headers=ORIGIN)
    bearer = {"authorization": f"Bearer {TOKEN}"}
    for headers in (ORIGIN, ORIGIN | bearer):
        answer = client.post("/api/landmarks", json=PLACE, headers=headers | {HEADER: "eve"})
        assert answer.status_code == 403
    assert client.post("/api/landmarks", json=PLACE, headers=ORIGIN).status_code == 201


@pytest.mark.parametrize("address", [STRANGER, "127.0.0.1"])
def test_nobody_else_is_believed(client_at, address):
    client = client_at(address)
    for forwarded in ({}, {"x-forwarded-for": PROXY}, {"forwarded": f"for={PROXY}"}):
        assert status(client, EDITOR, **forwarded) == 401
        assert status(client, "eve", **forwarded) == 401


def test_only_editors_have_access_if_the_setting_says_so(client_at):
    client = client_at(PROXY, Role.ANYBODY)
    assert status(client, EDITOR) == 200
    refused = client.get("/places", headers={HEADER: "eve", "accept": "text/html"})
    assert refused.status_code == 403
    assert "eve" in refused.text


def test_editors_change_and_their_name_is_recorded(client_at, web_database):
    client = client_at(PROXY)
    headers = ORIGIN | {HEADER: EDITOR.upper()}
    elsewhere = headers | {"origin": "https://evil.example"}
    assert client.post("/api/landmarks", json=PLACE, headers=elsewhere).status_code == 403
    assert client.post("/api/landmarks", json=PLACE, headers=headers).status_code == 201
    (added,) = audit_entries(web_database, AuditAction.LANDMARK_ADD)
    assert added.actor == f"web {EDITOR}"
    elsewhere_on_disk = {"address": "/", "consent": "true"}
    assert client.post("/jobs/new", data=elsewhere_on_disk, headers=headers).status_code == 403


def test_a_real_server_tells_addresses_apart(web_settings, web_database):
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
def test_settings_that_would_open_the_page_are_refused(monkeypatch, header, proxies, problem):
    monkeypatch.setenv("TAGGER_WEB_USER_HEADER", header)
    if proxies:
        monkeypatch.setenv("TAGGER_WEB_TRUSTED_PROXIES", proxies)
    with pytest.raises(SettingsInvalid, match=problem):
        load_settings()


def test_settings_of_proxies_are_read_as_addresses_or_networks(monkeypatch):
    monkeypatch.setenv("TAGGER_WEB_TRUSTED_PROXIES", json.dumps([PROXY]))
    monkeypatch.setenv("TAGGER_WEB_USER_HEADER", HEADER)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        by_default = access_policy(listener, load_settings())
        monkeypatch.setenv("TAGGER_WEB_USER_ROLE", "none")
        monkeypatch.setenv("TAGGER_WEB_EDITORS", '["ada", "Bob"]')
        refusing = access_policy(listener, load_settings())
    assert (by_default.user_header, by_default.user_role) == (HEADER, Role.VIEWER)
    assert (refusing.user_role, refusing.editors) == (Role.ANYBODY, ("ada", "bob"))
    assert list(map(str, trusted(monkeypatch, '["127.0.0.1", "10.0.0.0/8", "::1"]'))) == [
        "127.0.0.1/32",
        "10.0.0.0/8",
        "::1/128",
    ]
    for text in ('["proxy.example"]', '["10.0.0.1/8"]', "127.0.0.1", "[5]"):
        with pytest.raises(SettingsInvalid):
            trusted(monkeypatch, text)


PROXIES = ("127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48")


def trusted(monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[object, ...]:
    monkeypatch.setenv("TAGGER_WEB_TRUSTED_PROXIES", text)
    return tuple(load_settings().web_trusted_proxies)


def client(peer: str | None, *headers: tuple[str, str], proxies: tuple[str, ...] = PROXIES) -> Client:
    scope: Scope = {"type": "http", "client": None if peer is None else (peer, 5000)}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return client_of(scope, Headers(raw=raw), [ip_network(proxy) for proxy in proxies])


def forwarded(*values: str) -> list[tuple[str, str]]:
    return [("x-forwarded-for", value) for value in values]


@pytest.mark.parametrize(("peer", "proxies"), [("203.0.113.7", PROXIES), ("::1", PROXIES), ("127.0.0.1", ())])
def test_headers_of_others_are_ignored(peer, proxies):
    said = {"proto": "https", "host": "a.example", "port": "1"}
    headers = [*forwarded("192.0.2.1"), *((f"x-forwarded-{name}", value) for name, value in said.items())]
    assert client(peer, *headers, proxies=proxies) == Client(peer)


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ([], "127.0.0.1"),
        (["192.0.2.1"], "192.0.2.1"),
        (["198.51.100.9", "192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1, 10.1.2.3, 2001:db8:1::5"], "192.0.2.1"),
        (["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
        (["192.0.2.1:4711, 10.1.2.3:80"], "192.0.2.1"),
        (["[2001:db8::7]:443"], "2001:db8::7"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1, made-up"], "127.0.0.1"),
        (["made-up, 10.1.2.3"], "10.1.2.3"),
        (["\xff"], "127.0.0.1"),
        ([" , ,"], "127.0.0.1"),
    ],
)
def test_the_last_address_that_is_not_trusted_counts(values, address):
    assert client("127.0.0.1", *forwarded(*values)).address == address


def test_the_first_proxy_says_the_scheme_and_a_network_is_a_client():
    for value, scheme in {
        "https": "https",
        "HTTP": "http",
        "https,http": "https",
        "wss": None,
        "": None,
    }.items():
        assert client("127.0.0.1", ("x-forwarded-proto", value)).scheme == scheme
    for address, network in (
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("testclient", "testclient"),
    ):
        assert client(address, proxies=()).network == network
    assert client(None, *forwarded("192.0.2.1")) == Client("")
