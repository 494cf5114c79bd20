"""What a reverse proxy says of a request: its address and scheme, and cookies that follow the scheme."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import Scope

from tagger.web.http.grants import SESSION_S

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


HOST_PREFIX = "__Host-"
"""Browsers accept cookies with this prefix only over https from this host."""


def set_session_cookie(response: Response, name: str, session: str, *, by_https: bool) -> None:
    """Let the browser send the session with all requests."""
    response.set_cookie(
        HOST_PREFIX + name if by_https else name,
        session,
        max_age=SESSION_S,
        path="/",
        httponly=True,
        samesite="strict",
        secure=by_https,
    )


def delete_session_cookie(response: Response, name: str) -> None:
    """Let the browser forget the session, however it was set."""
    response.delete_cookie(name, httponly=True, samesite="strict")
    response.delete_cookie(HOST_PREFIX + name, httponly=True, samesite="strict", secure=True)


def session_cookies(headers: Headers, client: Client, name: str) -> Sequence[str]:
    """Return the sessions of a request, the preferred one first; over https only cookies with the prefix."""
    sessions = sent_sessions(headers, name)
    return [session for each, session in sessions.items() if client.scheme != "https" or each != name]


def sent_sessions(headers: Headers, name: str) -> Mapping[str, str]:
    """Return the sessions of a request by the name of their cookie, first the one for https alone."""
    cookies = cookie_parser(headers.get("cookie", ""))
    # Some cookies have no name or no value.
    return {each: session for each in (HOST_PREFIX + name, name) if (session := cookies.get(each))}


def local_address(address: str) -> str:
    """Return the address if it is a page of this server, else the start page."""
    is_local = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_local else "/"
