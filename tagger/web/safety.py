"""What every request passes before anything else sees it: who asks, from where, how much, and what browsers may do with the answer.

A pure ASGI middleware, so that streams stream. Who may ask is decided in `admission`; here, whether the request itself is sound.
"""

import asyncio
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import quote

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagger.web import admission
from tagger.web.answers import error_answer

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
SMALL_BYTES = 2**20
"""The most of a body that is no upload: JSON, and what forms send."""
FRAMING_BYTES = 64 * 2**10
"""What multipart adds to a photo."""
LONGEST_ADDRESS = 8 * 2**10
SILENT_S = 60
"""How long an upload may stop coming, and all of a small body may take."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-robots-tag": "noindex",
}
# What forms of any page in the world can send without asking; a program says what it sends.
_SENT_BY_FORMS = frozenset({"", "text/plain", "application/x-www-form-urlencoded"})
_UPLOADED_TO = frozenset({"/", "/api/look"})
_UPLOADS = ("multipart/form-data", "image/", "application/octet-stream")
_HANG_UP = {"connection": "close"}
_HOST = re.compile(r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Safety:
    """Where the page is served, and who may ask: without a token, whoever reaches it on this machine's own address.

    Raises:
        ValueError: an address that other machines reach, and no token.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = field(default=None, repr=False)
    upload_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(f"{self.host} is reached from other machines, so a token is needed")

    @property
    def hosts(self) -> frozenset[str]:
        """What a browser on this machine may call it; another name was made to lead here by somebody else."""
        names = {"127.0.0.1", "localhost", "[::1]", f"[{self.host}]" if ":" in self.host else self.host}
        with_port = {f"{name}:{self.port}" for name in names}
        return frozenset(with_port | names if self.port == 80 else with_port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def guard(app: FastAPI, safety: Safety) -> None:
    """Let nothing through that `safety` does not allow. To be called last: what is added later would stand outside."""
    if safety.token is not None:
        app.include_router(admission.router)
        app.state.admission = admission.Admission(safety.token, cookie=f"tagger_session_{safety.port}")
    app.add_middleware(Guard, safety=safety)


class Refused(Exception):
    """The request goes no further; the text says why, and what to do."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Guard:
    """Stands in front of the application."""

    def __init__(self, app: ASGIApp, safety: Safety) -> None:
        self._app = app
        self._safety = safety

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the server speaks no web sockets; what is left is its start and its end
            await self._app(scope, receive, send)
            return
        send = _with_headers(scope, send)
        headers = Headers(scope=scope)
        try:
            limit = self._checked(scope, headers)
        except Refused as refused:
            # Without its headers: a page that says so must not trip over what is wrong with them.
            answer = error_answer({**scope, "headers": []}, refused.status, refused.text)
            # What is left of a body that nobody read must not be taken for the next request.
            answer.headers.update(_HANG_UP)
            await answer(scope, receive, send)
            return
        if self._safety.token is not None and not _is_open(scope["path"]):
            turned_away = self._turned_away(scope, headers)
            if turned_away is not None:
                await turned_away(scope, receive, send)
                return
        await self._app(scope, _limited(receive, limit), send)

    def _checked(self, scope: Scope, headers: Headers) -> int:
        """The most bytes the body may have.

        Raises:
            Refused: nothing of the request is to be acted upon.
        """
        _check_address(scope)
        self._check_host(headers)
        _check_origin(scope["method"], headers)
        _check_kind(scope, headers)
        return self._body_limit(scope, headers)

    def _check_host(self, headers: Headers) -> None:
        named = headers.getlist("host")
        if len(named) != 1 or not _HOST.fullmatch(named[0]):
            raise Refused(
                HTTPStatus.BAD_REQUEST, "The request does not say, in one Host header, whom it is for."
            )
        if self._safety.token is None and named[0].lower() not in self._safety.hosts:
            raise Refused(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"This is not {named[0]}. Open http://127.0.0.1:{self._safety.port}/ instead; to be reached by "
                "another name, start `tagger serve` with TAGGER_WEB_TOKEN set.",
            )

    def _turned_away(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        """The answer for somebody who did not say who they are; None: they did."""
        admitted: admission.Admission = scope["app"].state.admission
        try:
            if admitted.admits(headers, admission.client_of(scope)):
                return None
        except admission.TooManyFailures as failures:
            return error_answer(
                scope, HTTPStatus.TOO_MANY_REQUESTS, str(failures), {"retry-after": str(failures.wait_s)}
            )
        wants_page = scope["method"] == "GET" and not scope["path"].startswith("/api/")
        if wants_page and "text/html" in headers.get("accept", ""):
            return RedirectResponse(
                f"/sign-in?next={quote(_asked_for(scope), safe='/')}", HTTPStatus.SEE_OTHER
            )
        return error_answer(
            scope,
            HTTPStatus.UNAUTHORIZED,
            "This needs the token: send it as `Authorization: Bearer TOKEN`, or sign in at /sign-in.",
            {"www-authenticate": "Bearer"},
        )

    def _body_limit(self, scope: Scope, headers: Headers) -> int:
        is_upload = scope["method"] == "POST" and scope["path"] in _UPLOADED_TO
        is_photo = is_upload and _content_type(headers).startswith(_UPLOADS)
        limit = self._safety.upload_bytes + FRAMING_BYTES if is_photo else SMALL_BYTES
        length = headers.get("content-length")
        if length is not None and "transfer-encoding" in headers:
            # A proxy in front may go by the one and the server by the other, and each read another request.
            raise Refused(
                HTTPStatus.BAD_REQUEST, "The request says its length in two ways. Send one of them."
            )
        if length is not None and (not length.isascii() or not length.isdigit()):
            raise Refused(HTTPStatus.BAD_REQUEST, "The request's Content-Length is no number.")
        if length is not None and int(length[:20]) > limit:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(limit))
        return limit


def _check_address(scope: Scope) -> None:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if len(raw) + len(scope["query_string"]) > LONGEST_ADDRESS:
        raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, "The address is too long. Ask for less at once.")
    # Neither a file nor a database has a name with control characters; some of them would rather fail than say so.
    odd = any(ord(character) < 32 or ord(character) == 127 for character in scope["path"])
    if odd or "\ufffd" in scope["path"] or b"%00" in scope["query_string"]:
        raise Refused(
            HTTPStatus.BAD_REQUEST, "The address holds bytes that are no text. Check how it was put together."
        )


def _check_origin(method: str, headers: Headers) -> None:
    """Whether another site's page sent this through the browser of somebody who may ask."""
    site = headers.get("sec-fetch-site", "none")
    if method in SAFE_METHODS:
        # Other pages may lead here; they may not load what is here into themselves.
        foreign = site in {"cross-site", "same-site"} and headers.get("sec-fetch-mode") != "navigate"
    else:
        foreign = site not in {"same-origin", "none"} or not _is_ours(headers)
    if foreign:
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "The request came from a page of another site. Open this page itself, and try it there.",
        )


def _is_ours(headers: Headers) -> bool:
    """Whether the page that sent this is of the host that was asked; a proxy may speak TLS for it, so the scheme does not count."""
    host = headers.get("host", "").lower()
    pages = headers.getlist("origin") or [
        "/".join(page.split("/")[:3]) for page in headers.getlist("referer")
    ]
    return all(page.lower() in {f"http://{host}", f"https://{host}"} for page in pages)


def _check_kind(scope: Scope, headers: Headers) -> None:
    if scope["method"] in SAFE_METHODS or not scope["path"].startswith("/api/") or not _has_body(headers):
        return
    if _content_type(headers) in _SENT_BY_FORMS:
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Say what is sent: `Content-Type: application/json`, or for a photo its own, like image/jpeg.",
        )


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""


def _content_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_open(path: str) -> bool:
    """What is shown to whoever comes: the page to sign in, and what makes it look as it does."""
    return path == "/sign-in" or path.startswith("/static/")


def _asked_for(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return quote(scope["path"]) + (f"?{query}" if query else "")


class BodyRefused(HTTPException):
    """Met while a body is read: more than it said, or nothing for too long."""


def _limited(receive: Receive, limit: int) -> Receive:
    """Reading that ends where too much has come or nothing comes, before anything is made of it."""
    come, whole = 0, False
    clock = asyncio.get_running_loop().time
    since = clock()

    async def receive_within() -> Message:
        nonlocal come, whole
        if whole:  # what is waited for from now on is that the client goes away, which may take hours
            return await receive()
        try:
            async with asyncio.timeout_at(SILENT_S + (clock() if limit > SMALL_BYTES else since)):
                message = await receive()
        except TimeoutError:
            text = f"The request did not come within {SILENT_S} s. Check the connection and send it again."
            raise BodyRefused(HTTPStatus.REQUEST_TIMEOUT, text, _HANG_UP) from None
        come += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if come > limit:
            raise BodyRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(limit), _HANG_UP)
        return message

    return receive_within


def _too_large(limit: int) -> str:
    return f"More was sent than the {limit} bytes this takes. Send less; TAGGER_WEB_UPLOAD_BYTES allows larger photos."


def _with_headers(scope: Scope, send: Send) -> Send:
    """Sending that says what browsers may do with the answer. Who gives an answer may say itself how long it is kept."""

    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", _kept(scope, message["status"]))
        await send(message)

    return send_with


def _kept(scope: Scope, status: int) -> str:
    if not scope["path"].startswith("/static/") or status >= HTTPStatus.BAD_REQUEST:
        return "private, no-store"
    # An address with a digest in it (see `asset` in rendering) never means another file.
    return "public, max-age=31536000, immutable" if scope["query_string"].startswith(b"v=") else "no-cache"
