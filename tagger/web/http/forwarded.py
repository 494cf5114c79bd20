"""What a reverse proxy says of a request: its address and scheme, and cookies that follow the scheme."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
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


def local_address(address: str) -> str:
    """Return the address if it is a page of this server, else the start page."""
    is_local = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_local else "/"
