"""Whose address counts behind reverse proxies: the last one in the chain that is not trusted."""

import pytest
from starlette.datastructures import Headers
from starlette.types import Scope

from tagger.errors import SettingsInvalid
from tagger.settings import load_settings
from tagger.web.http.access import Client, client_of

PROXIES = ("127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48")


def trusted(monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[object, ...]:
    monkeypatch.setenv("TAGGER_WEB_TRUSTED_PROXIES", text)
    return tuple(load_settings().web_trusted_proxies)


def client(peer: str | None, *headers: tuple[str, str], proxies: tuple[str, ...] = PROXIES) -> Client:
    from ipaddress import ip_network

    scope: Scope = {"type": "http", "client": None if peer is None else (peer, 5000)}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return client_of(scope, Headers(raw=raw), [ip_network(proxy) for proxy in proxies])


def forwarded(*values: str) -> list[tuple[str, str]]:
    return [("x-forwarded-for", value) for value in values]


@pytest.mark.parametrize(("peer", "proxies"), [("203.0.113.7", PROXIES), ("::1", PROXIES), ("127.0.0.1", ())])
def test_headers_of_others_are_ignored(peer: str, proxies: tuple[str, ...]) -> None:
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
def test_the_last_address_that_is_not_trusted_counts(values: list[str], address: str) -> None:
    assert client("127.0.0.1", *forwarded(*values)).address == address


def test_the_scheme_is_that_of_the_first_proxy_and_an_ipv6_client_is_its_network() -> None:
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


def test_a_connection_without_an_address_has_none() -> None:
    assert client(None, *forwarded("192.0.2.1")) == Client("")


def test_proxies_are_addresses_or_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(map(str, trusted(monkeypatch, '["127.0.0.1", "10.0.0.0/8", "::1"]'))) == [
        "127.0.0.1/32",
        "10.0.0.0/8",
        "::1/128",
    ]
    for text in ('["proxy.example"]', '["10.0.0.1/8"]', "127.0.0.1", "[5]"):
        with pytest.raises(SettingsInvalid):
            trusted(monkeypatch, text)
