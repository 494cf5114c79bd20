"""Cookies that are sent over https alone. Also behind a proxy that is not trusted, whose headers say nothing."""

from collections.abc import Mapping, Sequence

from fastapi import Request
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response

from tagger.people.sessions import SESSION_S
from tagger.web.http.forwarded import Client

HOST_PREFIX = "__Host-"
"""Of cookies that browsers take from this name over https alone: no neighbouring name, and nobody on the way, can set one."""


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
    """Return the sessions of a request, the one that counts first. Where a trusted proxy says that it came over https, none without the prefix."""
    sessions = sent_sessions(headers, name)
    return [session for each, session in sessions.items() if client.scheme != "https" or each != name]


def sent_sessions(headers: Headers, name: str) -> Mapping[str, str]:
    """Return all sessions of a request by the name of their cookie, the one that is sent over https alone first."""
    cookies = cookie_parser(headers.get("cookie", ""))
    # Some cookies have no name or no value.
    return {each: session for each in (HOST_PREFIX + name, name) if (session := cookies.get(each))}


def is_by_https(request: Request, web_url: str | None = None) -> bool:
    """Whether the browser uses https, as far as the request shows.

    A form has an Origin header. A link that is opened has none: then `web_url`, the address of the page in the settings, decides
    if the request names its host.
    """
    client: Client = request.state.client
    if client.scheme == "https":
        return True
    origin = request.headers.get("origin")
    if origin is not None:
        return origin.startswith("https://")
    return web_url is not None and web_url.rstrip("/").lower() == f"https://{_host(request)}"


def _host(request: Request) -> str:
    return request.headers.get("host", "").lower().removesuffix(":443")
