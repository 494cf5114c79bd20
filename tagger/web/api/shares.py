"""Shares, as `tagger people share`: links that show photos without signing in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Depends, Path, Query
from pydantic import Field

from tagger.errors import ShareInvalid
from tagger.query.options import PhotoQuery
from tagger.shares import (
    LONGEST_NAME,
    MOST_PHOTOS,
    NewShare,
    Share,
    add_share,
    known_tokens,
    link_key,
    list_shares,
    query_document,
    query_options,
    revoke_share,
    share_documents,
)
from tagger.shares import ShareDocument as StoredShareDocument
from tagger.web.api.routes import api_router
from tagger.web.http.access import Access, requires
from tagger.web.http.attempt_limiter import LINKS
from tagger.web.http.query_params import ONE_LINE, PhotoId, QueryParams, RequestModel, query_params
from tagger.web.state import AppState, State

router = api_router("shares")

LONGEST_DAYS = 3660

Params = Annotated[QueryParams, Depends(query_params)]
ShareNumber = Annotated[int, Path(ge=1, lt=2**63, description="The number of a share.")]


class ShareRequest(RequestModel):
    """`photos`: these by id, without a query. `expires_days` null: the link never expires.

    Without a `name`, the title for visitors is the landmarks, years and dates of the query, and with
    `with_positions` the place of its trip and its countries too.
    """

    photos: Annotated[list[PhotoId], Field(max_length=MOST_PHOTOS)] | None = None
    name: Annotated[str, Field(max_length=LONGEST_NAME), ONE_LINE] | None = None
    expires_days: Annotated[int, Field(ge=1, le=LONGEST_DAYS)] | None = 30
    with_positions: bool = False


@dataclass(frozen=True)
class NewShareDocument(StoredShareDocument):
    """A new share. `link`: its path, or its address if the server knows its own."""

    link: str


@dataclass(frozen=True)
class ShareDocument(StoredShareDocument):
    """A share. `link`: its path, or its address; null if this server did not make it."""

    link: str | None


@router.post("/shares", status_code=201)
@requires(Access.EDITOR)
def add(state: State, params: Params, body: ShareRequest) -> NewShareDocument:
    """Share the photos of a query, now and later, or photos by id. The answer has the link."""
    query = replace(params.query, sort=None, distinct=False)
    if (query == PhotoQuery()) == (body.photos is None):
        reason = "photos: name options of a query in the address, such as landmark, or photos by id, not both"
        raise ShareInvalid(reason=reason)
    photos = query if body.photos is None else body.photos
    days = body.expires_days
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with params.model_checked():
        new = NewShare(photos, (body.name or "").strip() or None, expires_at, body.with_positions)
        key = link_key(state.settings.data_folder)
        share, token = add_share(state.database, new, state.settings.roots, key)
    (document,) = share_documents(state.database, [share])
    return NewShareDocument(**vars(document), link=_link(state, token))


def _link(state: AppState, token: str) -> str:
    return f"{(state.settings.web_url or '').rstrip('/')}{LINKS}{token}"


def _listed(state: AppState, found: Sequence[Share]) -> list[ShareDocument]:
    key = link_key(state.settings.data_folder)
    tokens = known_tokens(state.database, found, key)
    return [
        ShareDocument(**vars(each), link=_link(state, tokens[each.id]) if each.id in tokens else None)
        for each in share_documents(state.database, found)
    ]


@router.get("/shares")
@requires(Access.EDITOR)
def shares(
    state: State,
    params: Params,
    selection: Annotated[bool, Query(description="Those of selected photos.")] = False,
) -> list[ShareDocument]:
    """List the shares of exactly this query, newest first; without options, all, ended ones for 90 days."""
    with state.database.read() as connection:
        query = PhotoQuery.of_document(query_options(query_document(connection, params.query)))

    def matches(share: Share) -> bool:
        if selection or query == PhotoQuery():
            return share.options is None or not selection
        return share.options is not None and PhotoQuery.of_document(share.options) == query

    return _listed(state, [share for share in list_shares(state.database) if matches(share)])


@router.delete("/shares/{share_id}")
@requires(Access.EDITOR)
def revoke(state: State, share_id: ShareNumber) -> ShareDocument:
    """End a share at once, for everybody who has its link."""
    return _listed(state, [revoke_share(state.database, share_id)])[0]
