"""Headers of every response: what browsers may do with it, and how long it may be cached."""

from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope, Send

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def policy_with_tiles(url: str) -> str:
    """Return the policy of a page whose map loads tiles from another server."""
    origin = "/".join(url.split("/", 3)[:3])
    return CONTENT_SECURITY_POLICY.replace("connect-src 'self'", f"connect-src 'self' {origin}")


SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-robots-tag": "noindex",
}


def add_headers(scope: Scope, send: Send) -> Send:
    """Return a `send` that adds the headers which a response does not set itself."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", _cache_control(scope, message["status"]))
        await send(message)

    return send_with_headers


def _cache_control(scope: Scope, status: int) -> str:
    if not scope["path"].startswith("/static/") or status >= HTTPStatus.BAD_REQUEST:
        return "private, no-store"
    # An address with a digest in it (see `templates.asset`) always means the same content.
    return "public, max-age=31536000, immutable" if scope["query_string"].startswith(b"v=") else "no-cache"
