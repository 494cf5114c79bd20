"""Where a request comes from: its client, by what reverse proxies say, and the page that caused it.

Origins are scheme, host and port of the page itself, as browsers tell sites apart.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Client:
    """`address` is empty if it is not known.

    A trusted proxy may say the rest: the `scheme`, `host` and `port` of the address in the browser, and the
    `user`, whom it has signed in.
    """

    address: str
    scheme: str | None = None
    user: str | None = None
    host: str | None = None
    port: str | None = None

    @property
    def network(self) -> str:
        """The address; of IPv6 the /64 network, since a client usually owns all of it."""
        parsed = _parse(self.address)
        if parsed is None or parsed.version == 4:
            return self.address
        return str(ip_network((parsed, 64), strict=False))


def client_of(
    scope: Scope, headers: Headers, trusted: Sequence[Network], user_header: str | None = None
) -> Client:
    """Return the client that sent the request: the last address in the chain of proxies that is not trusted.

    Everything to the left of it in X-Forwarded-For could be forged. `user_header`: the header in which the
    proxy names its user.
    """
    peer = scope["client"][0] if scope.get("client") else ""
    address = _parse(peer)
    if address is None:
        return Client(peer)
    if not _is_trusted(address, trusted):
        return Client(str(address))
    for part in reversed(_values(headers, "x-forwarded-for")):
        previous = _parse(_without_port(part))
        if previous is None:  # the proxy passed on what a client made up
            break
        address = previous
        if not _is_trusted(address, trusted):
            break
    # The first proxy in the chain is the browser's. Clients can forge what it says of themselves alone: no
    # page of another site can.
    scheme, host, port = (
        next(iter(_values(headers, f"x-forwarded-{name}")), "").lower() for name in ("proto", "host", "port")
    )
    # Two headers give no valid name: one of them could be the client's own.
    user = ", ".join(headers.getlist(user_header)) if user_header else None
    return Client(
        str(address),
        scheme if scheme in {"http", "https"} else None,
        user or None,
        host or None,
        port or None,
    )


def _values(headers: Headers, name: str) -> list[str]:
    return [part.strip() for line in headers.getlist(name) for part in line.split(",") if part.strip()]


def _without_port(text: str) -> str:
    """`192.0.2.1:5000` and `[2001:db8::1]:5000`: some proxies add the port."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _parse(text: str) -> _Address | None:
    """Return the address without a zone; an IPv4 address that is written as IPv6 becomes one of IPv4."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_trusted(address: _Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


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


def is_by_https(request: Request) -> bool:
    """Whether the browser uses https, as far as the request, which a form has sent, shows."""
    client: Client = request.state.client
    return client.scheme == "https" or request.headers.get("origin", "").startswith("https://")


def local_address(address: str) -> str:
    """Return the address if it is a page of this server, else the start page."""
    is_local = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_local else "/"
