"""Who may see a share: its cookie, which its link sets, and what visitors without one get."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from tagger.errors import (
    CursorInvalid,
    DatabaseConnectionLost,
    DatabaseRemoved,
    DatabaseUnavailable,
    DiskFull,
    TaggerError,
)
from tagger.library.shares.documents import SharedPhotos
from tagger.library.shares.links import Share, ShareState, find_share
from tagger.web.http.attempt_limiter import (
    RETRY_AFTER_S,
    SHARES,
    AttemptLimiter,
    TooManyAttempts,
    TooManyVisitors,
    VisitorLimiter,
)
from tagger.web.http.forwarded import is_by_https
from tagger.web.state import AppState, State

COOKIE_S = 7 * 24 * 3600
NO_LINK = (
    "There is nothing to see here without the link. Open it again, or ask the person who shared it for a new one. "
    "Your browser has to accept cookies."
)
WRONG_LINK = "This link is incomplete, or was removed. Ask the person who shared it for a new one."
ENDED = "This link is no longer valid. Ask the person who shared it for a new one."
NO_PHOTO = "This photo is not among those that are shared with you."
TOO_MANY = "Too many people are looking at shared photos. Try again in some seconds."
UNAVAILABLE = "The photos cannot be shown now. Try again later."
_PASSED_ON = (CursorInvalid, DatabaseConnectionLost)
"""Errors whose texts name nothing of the library."""


class SharedRoute(APIRoute):
    """A route of a share, which leaves threads and connections to people who signed in.

    If its query cannot be answered any more, the share has ended, and visitors learn no names.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            limiter: VisitorLimiter = request.app.state.visitor_limiter
            try:
                async with limiter.turn():
                    return await handler(request)
            except TooManyVisitors:
                headers = {"retry-after": str(RETRY_AFTER_S)}
                raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, TOO_MANY, headers) from None
            except _PASSED_ON:
                raise
            except (DatabaseRemoved, DatabaseUnavailable, DiskFull) as error:
                raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, UNAVAILABLE) from error
            except TaggerError as error:
                raise HTTPException(HTTPStatus.GONE, ENDED) from error

        return handle


def share_address(share: Share) -> str:
    """Return the address of the share, which has no token in it."""
    return f"{SHARES}{share.id}"


def valid_share(request: Request, state: AppState, token: str) -> Share:
    """The share with this token.

    Raises:
        HTTPException: there is none, it has ended, or the client sent too many wrong tokens.
    """
    share = find_share(state.database, token)
    if share is None:
        _count_wrong_token(request)
        raise HTTPException(HTTPStatus.NOT_FOUND, WRONG_LINK)
    if share.state is not ShareState.ACTIVE:
        raise HTTPException(HTTPStatus.GONE, ENDED)
    return share


def set_share_cookie(request: Request, state: AppState, response: Response, share: Share, token: str) -> None:
    """Let the browser send the token with requests for this share, and with no others."""
    remaining_s = COOKIE_S
    if share.expires_at is not None:
        remaining_s = min(remaining_s, int((share.expires_at - datetime.now(UTC)).total_seconds()) + 1)
    response.set_cookie(
        _cookie(state),
        token,
        max_age=remaining_s,
        path=share_address(share),
        httponly=True,
        # Not strict: links are opened from mails and other sites, and the share right after them.
        samesite="lax",
        secure=is_by_https(request, state.settings.web_url),
    )


def visited_share(request: Request, state: State, share_id: Annotated[int, Path(ge=1, lt=2**63)]) -> Share:
    """The share of the address.

    Raises:
        HTTPException: the request has no valid cookie of it.
    """
    token = request.cookies.get(_cookie(state))
    if not token:
        raise HTTPException(HTTPStatus.NOT_FOUND, NO_LINK)
    share = valid_share(request, state, token)
    if share.id != share_id:
        raise HTTPException(HTTPStatus.NOT_FOUND, NO_LINK)
    return share


VisitedShare = Annotated[Share, Depends(visited_share)]


def visited_photo(
    request: Request, share: VisitedShare, photo_id: Annotated[int, Path(ge=1, lt=2**63)]
) -> int:
    """The number of a photo of the share.

    Raises:
        HTTPException: it is not one.
    """
    shared_photos: SharedPhotos = request.app.state.shared_photos
    if not shared_photos.contains(share, photo_id):
        raise HTTPException(HTTPStatus.NOT_FOUND, NO_PHOTO)
    return photo_id


VisitedPhoto = Annotated[int, Depends(visited_photo)]


def _count_wrong_token(request: Request) -> None:
    """Raise HTTPException if the client sent too many of them. Others at its address are not locked out."""
    limiter: AttemptLimiter = request.app.state.share_attempts
    network = request.state.client.network
    try:
        limiter.check(network)
    except TooManyAttempts as error:
        headers = {"retry-after": str(error.retry_after_s)}
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, str(error), headers) from None
    limiter.record(network)


def _cookie(state: AppState) -> str:
    """The name of the cookie: other servers may run on this host at other ports."""
    return f"tagger_share_{state.database.ledger_id[:8]}"
