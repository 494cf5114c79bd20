"""Who may do what: the roles, which of them a route needs, and which one a request has.

A request comes from a client, by what reverse proxies say, and from a page, by its origin: scheme, host and
port, as browsers tell sites apart. What it may do follows from the token, the cookie or the proxy that it
comes with. Nothing of this is stored. A cookie carries its end and a signature, whose key follows from the
token: a new token ends all cookies of the old one. Wrong tokens are logged, and limited by the address of
their client.
"""

import hashlib
import hmac
import logging
import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from http import HTTPStatus
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, NamedTuple, TypeVar

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request, cookie_parser
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

from tagger.database.connection import Actor, Database
from tagger.texts.addresses import is_loopback
from tagger.texts.text_format import gettext

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
    scope: Scope,
    headers: Headers,
    trusted: Sequence[Network],
    user_header: str | None = None,
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
        next(iter(_values(headers, f"x-forwarded-{name}")), "").lower()
        for name in ("proto", "host", "port")
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
    return [
        part.strip()
        for line in headers.getlist(name)
        for part in line.split(",")
        if part.strip()
    ]


def _without_port(text: str) -> str:
    # `192.0.2.1:5000` and `[2001:db8::1]:5000`: some proxies add the port.
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _parse(text: str) -> _Address | None:
    # The address without a zone; an IPv4 address that is written as IPv6 becomes one of IPv4.
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
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?",
    re.IGNORECASE,
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
    return Origin(
        scheme, match["host"].lower(), int(match["port"] or _DEFAULT_PORTS[scheme])
    )


def own_origins(
    headers: Headers, client: Client, web_url: str | None
) -> Collection[Origin]:
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
    client: Client = request.state.client
    return client.scheme == "https" or request.headers.get("origin", "").startswith(
        "https://"
    )


def local_address(address: str) -> str:
    """Return the address if it is a page of this server, else the start page."""
    is_local = (
        address.startswith("/")
        and not address.startswith(("//", "/\\"))
        and address.isprintable()
    )
    return address if is_local else "/"


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Role(IntEnum):
    """What somebody may do. Each role may do what those before it may."""

    # Without authentication: the page to sign in and its files.
    ANYBODY = 0
    VIEWER = 1
    EDITOR = 2
    ADMIN = 3


@dataclass(frozen=True)
class Grant:
    """What a request may do. `name`: the token or person, as in the audit log; empty without one."""

    name: str
    role: Role

    @property
    def may_change(self) -> bool:
        return self.role >= Role.EDITOR


STRANGER = Grant("", Role.ANYBODY)

_DECLARED = "role"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def requires(role: Role) -> Callable[[Endpoint], Endpoint]:
    """Declare who may use the route of a function, below the decorator with its address."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _DECLARED, role)
        return endpoint

    return declare


class RouteRoles:
    """What the routes of an application declare.

    Raises:
        ValueError: a route declares nothing.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [(route, _declared(route)) for route in routes]

    def of(self, scope: Scope) -> Role:
        """Return what a request needs. One that no route answers tells strangers nothing."""
        request = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        for route, role in self._routes:
            if route.matches(request)[0] is Match.FULL:
                return role
        return Role.VIEWER if scope["method"] in SAFE_METHODS else Role.EDITOR


def _declared(route: BaseRoute) -> Role:
    target = route.app if isinstance(route, Mount) else getattr(route, "endpoint", None)
    role = getattr(target, _DECLARED, None)
    if not isinstance(role, Role):
        methods = ", ".join(sorted(getattr(route, "methods", None) or ()))
        raise ValueError(  # noqa: TRY004 - the mistake is in the code of the route
            f"the route {methods} {getattr(route, 'path', route)} does not declare who may use it: add "
            "@requires(Role.…) to its function"
        )
    return role


log = logging.getLogger(__name__)

# The actor of requests without a token, where none is required.
UNNAMED = "web"
_COOKIE = re.compile(r"(\d{10})\.([0-9a-f]{64})")
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")


@dataclass(frozen=True)
class AccessPolicy:
    """A server's address, token and proxies. Without a token, only this machine has access.

    Raises:
        ValueError: other machines reach the address, and there is no token.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = field(default=None, repr=False)
    # Who has it may look, and change nothing.
    view_token: str | None = field(default=None, repr=False)
    # Reverse proxies whose X-Forwarded headers are believed.
    trusted_proxies: tuple[Network, ...] = ()
    # The header in which these proxies name the person that they have signed in.
    user_header: str | None = None
    # The role of people whom the header names.
    user_role: Role = Role.VIEWER
    # Those of them who are editors, in lower case.
    editors: tuple[str, ...] = ()
    # The page's public address, whose pages may change something too.
    web_url: str | None = None

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(
                f"other machines reach {self.host}, so a token is required"
            )

    @property
    def hosts(self) -> frozenset[str]:
        """The Host headers accepted without a token. Any other is a DNS rebinding attack or a mistake."""
        names = {
            "127.0.0.1",
            "localhost",
            "[::1]",
            f"[{self.host}]" if ":" in self.host else self.host,
        }
        with_port = {f"{name}:{self.port}" for name in names}
        return frozenset(with_port | names if self.port == 80 else with_port)

    @property
    def local_grant(self) -> Grant:
        """What this machine may do without a token. A proxy may pass on others, who choose no folders."""
        return Grant("", Role.EDITOR if self.trusted_proxies else Role.ADMIN)

    def grant_of_user(self, name: str) -> Grant:
        """What somebody may do whom a proxy has signed in. Case does not matter in names."""
        name = name.strip().lower()
        if not _NAME.fullmatch(name):
            return STRANGER
        return Grant(name, Role.EDITOR if name in self.editors else self.user_role)


# Wrong tokens from one address within `ATTEMPT_WINDOW_S`; further attempts are refused for that
# time.
MAX_ATTEMPTS = 5
ATTEMPT_WINDOW_S = 60
MAX_ADDRESSES = 10_000


class TooManyAttempts(HTTPException):
    def __init__(self) -> None:
        text = gettext(
            "Too many wrong tokens came from this address. Try again in a minute."
        )
        super().__init__(
            HTTPStatus.TOO_MANY_REQUESTS, text, {"retry-after": str(ATTEMPT_WINDOW_S)}
        )


class AttemptLimiter:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises:
        TooManyAttempts: the address has used up its attempts.
        """
        times = self._times.get(address, deque())
        if len(times) == MAX_ATTEMPTS and times[0] >= self._clock() - ATTEMPT_WINDOW_S:
            raise TooManyAttempts

    def record(self, address: str) -> None:
        self._times.setdefault(address, deque(maxlen=MAX_ATTEMPTS)).append(
            self._clock()
        )
        self._times.move_to_end(address)
        if len(self._times) > MAX_ADDRESSES:
            self._times.popitem(last=False)


SESSION_S = 7 * 24 * 3600
# Browsers accept cookies with this prefix only over https from this host.
HOST_PREFIX = "__Host-"


class Authenticator:
    """Checks tokens, cookies and the names that a proxy sends, all in the server's event loop."""

    def __init__(self, database: Database, policy: AccessPolicy, token: str) -> None:
        # All processes of the page share it, and no other library.
        self._cookie = f"tagger_session_{database.ledger_id[:8]}"
        self._policy = policy
        grants = {token: Grant("TAGGER_WEB_TOKEN", Role.ADMIN)}
        if policy.view_token is not None:
            grants.setdefault(
                policy.view_token, Grant("TAGGER_WEB_VIEW_TOKEN", Role.VIEWER)
            )
        self._grants = {secret.encode(): grant for secret, grant in grants.items()}
        # Slow on purpose (50 ms, once for each start): a token may be short, and who has a cookie could
        # guess it.
        salt = database.ledger_id.encode()
        self._keys = {
            grant: hashlib.scrypt(secret, salt=salt, n=2**14, r=8, p=1, dklen=32)
            for secret, grant in self._grants.items()
        }
        self._limiter = AttemptLimiter()

    def authenticate(self, headers: Headers, client: Client) -> Grant:
        """Return what the token, the cookie or the proxy of the request allows.

        Raises:
            HTTPException: a trusted proxy names a person without access.
            TooManyAttempts: it has a token, and the client has used up its attempts.
        """
        if client.user is not None:
            grant = self._policy.grant_of_user(client.user)
            if grant.role is Role.ANYBODY:
                text = gettext(
                    "The proxy in front of this page has signed you in as %(name)s, who has no access here. "
                    "Ask the owner to add this name to TAGGER_WEB_EDITORS, or to set TAGGER_WEB_USER_ROLE.",
                    name=repr(client.user[:100]),
                )
                raise HTTPException(HTTPStatus.FORBIDDEN, text)
            return grant
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.grant_of_token(secret.strip(), client)
        return self._grant_of_cookie(headers, client)

    def grant_of_token(self, secret: str, client: Client) -> Grant:
        """Return what a token allows. A wrong one is logged, for fail2ban and the like.

        Raises:
            TooManyAttempts: the client has used up its attempts.
        """
        self._limiter.check(client.network)
        for token, grant in self._grants.items():
            if hmac.compare_digest(secret.encode(errors="replace"), token):
                return grant
        self._limiter.record(client.network)
        log.warning("wrong token from %s", client.address or "an unknown address")
        return STRANGER

    def _grant_of_cookie(self, headers: Headers, client: Client) -> Grant:
        cookies = cookie_parser(headers.get("cookie", ""))
        value = cookies.get(HOST_PREFIX + self._cookie)
        if not value and client.scheme != "https":
            value = cookies.get(self._cookie)
        match = _COOKIE.fullmatch(value or "")
        if match is None or int(match[1]) <= time.time():
            return STRANGER
        for grant, key in self._keys.items():
            if hmac.compare_digest(match[2], _signature(key, match[1])):
                return grant
        return STRANGER

    def set_cookie(self, response: Response, grant: Grant, *, by_https: bool) -> None:
        end = str(int(time.time()) + SESSION_S)
        response.set_cookie(
            HOST_PREFIX + self._cookie if by_https else self._cookie,
            f"{end}.{_signature(self._keys[grant], end)}",
            max_age=SESSION_S,
            path="/",
            httponly=True,
            # A link in a mail leads to the page, and not to the form for signing in. Origins are checked.
            samesite="lax",
            secure=by_https,
        )

    def delete_cookie(self, response: Response) -> None:
        response.delete_cookie(self._cookie, httponly=True, samesite="lax")
        response.delete_cookie(
            HOST_PREFIX + self._cookie, httponly=True, samesite="lax", secure=True
        )


def _signature(key: bytes, end: str) -> str:
    return hmac.new(key, end.encode(), hashlib.sha256).hexdigest()


def actor_of(grant: Grant, client: Client) -> Actor:
    name = f"web {grant.name}" if grant.name else UNNAMED
    return Actor(name, client.address or None)


def may_allow_folder(request: Request) -> bool:
    """Whether the page may be given any folder: no setting names them, and an admin or this computer asks."""
    grant: Grant = request.state.grant
    return (
        grant.role is Role.ADMIN
        and request.app.state.app_state.settings.web_folders is None
    )


def may_send_photos(request: Request) -> bool:
    """Whether photos may be sent: by editors, into the folder that a setting names, else by admins."""
    is_named = request.app.state.app_state.settings.web_upload_folder is not None
    return (is_named and request.state.grant.may_change) or may_allow_folder(request)
