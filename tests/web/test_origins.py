"""Which pages may change something: those of the page's own origins, however a proxy names them."""

from ipaddress import ip_network

import pytest
from starlette.testclient import TestClient
from support.page_server import TOKEN

from tagger.database.connection import Database
from tagger.errors import SettingsInvalid
from tagger.settings import Settings, load_settings
from tagger.web.access import AccessPolicy
from tagger.web.app import create_app

PROXY, STRANGER = "10.0.0.5", "203.0.113.7"


def status(
    settings: Settings,
    database: Database,
    headers: dict[str, str],
    *,
    peer: str = PROXY,
    web_url: str | None = None,
) -> int:
    """The status of a sign-in with these headers, behind a trusted proxy."""
    policy = AccessPolicy("0.0.0.0", 8080, TOKEN, trusted_proxies=(ip_network(PROXY),), web_url=web_url)
    with TestClient(
        create_app(settings, database, policy),
        base_url="http://photos.example",
        client=(peer, 5000),
        follow_redirects=False,
    ) as client:
        return client.post("/sign-in", data={"token": TOKEN}, headers=headers).status_code


def sent(to: str, origin: str, **forwarded: str) -> dict[str, str]:
    """The headers of a request to this host from a page of this origin, and what a proxy adds."""
    return {"host": to, "origin": origin} | {f"x-forwarded-{name}": each for name, each in forwarded.items()}


@pytest.mark.parametrize(
    "headers",
    [
        sent("photos.example:443", "https://photos.example", proto="https"),
        sent("photos.example", "https://photos.example:443", proto="https"),
        sent("PHOTOS.example:80", "http://photos.example"),
        sent("photos.example:443", "https://photos.example"),
        sent("photos.example:8443", "https://photos.example:8443", proto="https"),
        sent("[2001:db8::1]:443", "https://[2001:db8::1]", proto="https"),
        sent("photos.example", "https://photos.example", proto="https,http"),
        sent(
            "127.0.0.1:8080",
            "https://photos.example:8443",
            proto="https",
            host="photos.example:8443, cache.example",
        ),
        sent(
            "127.0.0.1:8080",
            "https://photos.example:8443",
            proto="https",
            host="photos.example",
            port="8443, 80",
        ),
        sent("photos.example", "https://photos.example:8443", port="8443", proto="https"),
        # A wrong port of a proxy, such as that of a container, does no harm.
        sent("photos.example", "https://photos.example", port="8080", proto="https"),
        sent("photos.example", "https://photos.example:8443", proto="https")
        | {"sec-fetch-site": "same-origin"},
    ],
)
def test_the_own_page_may(web_settings, web_database, headers):
    assert status(web_settings, web_database, headers) == 303


def test_the_page_at_the_address_of_the_settings_may(web_settings, web_database):
    web_url = "https://photos.example:8443/"
    for headers in (
        sent("127.0.0.1:8080", "https://photos.example:8443"),
        {"host": "photos.example", "referer": "https://photos.example:8443/a?b"},
    ):
        assert status(web_settings, web_database, headers, web_url=web_url) == 303


OWN = {"host": "photos.example", "x-forwarded-proto": "https"}


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        *(
            (OWN | {"origin": origin}, PROXY)
            for origin in (
                *("https://photos.example:8443", "https://photos.example:80", "http://photos.example"),
                *("https://photos.example.evil", "https://evil.example", "https://sub.photos.example"),
                *(
                    "null",
                    "https://photos.example/",
                    "https://photos.example:0443x",
                    "ftp://photos.example:443",
                ),
                *("https://user@photos.example", "file://photos.example", "https://[::1", ""),
            )
        ),
        (OWN | {"referer": "https://evil.example/https://photos.example/"}, PROXY),
        (OWN | {"referer": "https://photos.example.evil.example/"}, PROXY),
        (OWN | {"sec-fetch-site": "made-up"}, PROXY),
        # Without a trusted proxy, headers of proxies say nothing.
        (sent("photos.example", "https://evil.example", host="evil.example"), STRANGER),
        (sent("photos.example", "https://photos.example:8443", port="8443"), STRANGER),
        # What a proxy adds behind the first value is not the browser's.
        (OWN | {"origin": "https://evil.example", "x-forwarded-host": "photos.example, evil.example"}, PROXY),
        # The proxy has replaced Host, which names another page of this machine.
        (sent("127.0.0.1:8080", "http://127.0.0.1:8080", host="photos.example"), PROXY),
        (OWN | {"origin": "https://evil.example", "sec-fetch-site": "same-origin"}, PROXY),
        (OWN | {"origin": "https://photos.example:8443", "sec-fetch-site": "same-site"}, PROXY),
        (OWN | {"origin": "https://photos.example", "sec-fetch-site": "cross-site"}, PROXY),
    ],
)
def test_no_other_page_may(web_settings, web_database, headers, peer):
    assert status(web_settings, web_database, headers, peer=peer) == 403


@pytest.mark.parametrize("path", ["/photos", "/a/b/"])
def test_an_address_of_the_page_below_another_site_is_refused(monkeypatch, path):
    monkeypatch.setenv("TAGGER_WEB_URL", f"https://nas.example{path}")
    with pytest.raises(SettingsInvalid, match=f"without {path}: the page needs a host name of its own"):
        load_settings()
