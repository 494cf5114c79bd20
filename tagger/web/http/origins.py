"""The origins of the page: scheme, host and port; and whether a request comes from one of them."""

import re
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from fastapi import Request
from starlette.datastructures import Headers

from tagger.web.http.forwarded import Client

_DEFAULT_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?", re.IGNORECASE
)


class Origin(NamedTuple):
    """A site as browsers tell sites apart. The port is that of the scheme where none is named."""

    scheme: str
    host: str
    port: int


def parse_origin(text: str) -> Origin | None:
    """The origin that a header or a setting names; None if it is none, like `null`."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme = match["scheme"].lower()
    return Origin(scheme, match["host"].lower(), int(match["port"] or _DEFAULT_PORTS[scheme]))


def own_origins(headers: Headers, client: Client, web_url: str | None) -> Collection[Origin]:
    """The origins at which a browser can have opened this page, by the settings, the request and its proxy.

    A trusted proxy may have replaced the Host header, and says the scheme. Without one, either scheme is
    possible: another proxy may terminate TLS.
    """
    host = client.host or headers.get("host", "")
    schemes = (client.scheme,) if client.scheme else ("http", "https")
    texts = [f"{scheme}://{host}" for scheme in schemes]
    if client.port:
        texts += [f"{text}:{client.port}" for text in texts]
    if web_url is not None:
        texts.append(web_url.rstrip("/"))
    return {origin for text in texts if (origin := parse_origin(text)) is not None}


def is_from(headers: Headers, own: Collection[Origin]) -> bool:
    """Whether Origin, or else Referer, names one of these origins, or nothing does: programs send neither.

    If the browser itself says that the request stays in its origin, the name of the host suffices: a proxy
    may drop the port.
    """
    texts = headers.getlist("origin") or [
        "/".join(page.split("/")[:3]) for page in headers.getlist("referer")
    ]
    stated = [parse_origin(text) for text in texts]
    if headers.get("sec-fetch-site") == "same-origin":
        hosts = {origin.host for origin in own}
        return all(origin is not None and origin.host in hosts for origin in stated)
    return all(origin in own for origin in stated)


def is_by_https(request: Request, web_url: str | None = None) -> bool:
    """Whether the browser uses https, as far as the request shows.

    A form has an Origin header. A link that is opened has none: then `web_url`, the address of the page in
    the settings, decides if the request names its host.
    """
    client: Client = request.state.client
    if client.scheme == "https":
        return True
    origin = request.headers.get("origin")
    if origin is not None:
        return origin.startswith("https://")
    page = parse_origin((web_url or "").rstrip("/"))
    named = own_origins(request.headers, replace(client, scheme=None), None)
    return page is not None and page.scheme == "https" and page in named
