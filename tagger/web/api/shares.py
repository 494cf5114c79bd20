"""Shares, as `tagger share`: links that show photos without signing in."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tagger.query import PhotoQuery
from tagger.shares.documents import share_document
from tagger.shares.links import (
    LONGEST_NAME,
    MOST_PHOTOS,
    NewShare,
    Share,
    add_share,
    list_shares,
    revoke_share,
)
from tagger.shares.names import share_name
from tagger.web.api import schemas
from tagger.web.api.routes import api_router
from tagger.web.http.form_fields import ONE_LINE
from tagger.web.http.visitors import LINKS
from tagger.web.state import State

router = api_router("shares")

LONGEST_DAYS = 3660

_Slug = Annotated[str, Field(max_length=1000), ONE_LINE]


class ShareRequest(BaseModel):
    """One of a landmark, a trip, and photos by id. `expires_days` null: the link never expires."""

    model_config = ConfigDict(extra="forbid")

    landmark: _Slug | None = None
    trip: _Slug | None = None
    photos: Annotated[list[Annotated[int, Field(ge=1, lt=2**63)]], Field(max_length=MOST_PHOTOS)] | None = (
        None
    )
    name: Annotated[str, Field(max_length=LONGEST_NAME), ONE_LINE] | None = None
    expires_days: Annotated[int, Field(ge=1, le=LONGEST_DAYS)] | None = 30
    with_positions: bool = False

    @model_validator(mode="after")
    def _check(self) -> "ShareRequest":
        if sum(value is not None for value in (self.landmark, self.trip, self.photos)) != 1:
            raise ValueError("name one of landmark, trip and photos")
        return self


@router.post("/shares", status_code=201, response_model=schemas.NewShare)
def add(state: State, body: ShareRequest) -> dict[str, Any]:
    """Share photos. The answer has the link, which cannot be read again."""
    landmark = () if body.landmark is None else (body.landmark,)
    photos = PhotoQuery(landmark=landmark, trip=body.trip) if body.photos is None else body.photos
    name = (body.name or "").strip() or share_name(state.database, photos)
    days = body.expires_days
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    new = NewShare(photos, name, expires_at, body.with_positions)
    share, token = add_share(state.database, new, state.settings.roots)
    address = (state.settings.web_url or "").rstrip("/")
    return {"link": f"{address}{LINKS}{token}"} | share_document(share)


@router.get("/shares", response_model=list[schemas.Share])
def shares(
    state: State,
    landmark: Annotated[str | None, Query(description="Those of this landmark, by its slug.")] = None,
    trip: Annotated[str | None, Query(description="Those of this trip, by its id.")] = None,
    selection: Annotated[bool, Query(description="Those of selected photos.")] = False,
) -> list[dict[str, Any]]:
    """List the shares, the newest first; without options, all. Those that ended are listed for 90 days."""

    def matches(share: Share) -> bool:
        if selection:
            return share.options is None
        options = {"landmark": landmark} if landmark else {"trip": trip} if trip else None
        return options is None or share.options == options

    return [share_document(share) for share in list_shares(state.database) if matches(share)]


@router.delete("/shares/{share_id}", response_model=schemas.Share)
def revoke(
    state: State, share_id: Annotated[int, Path(ge=1, lt=2**63, description="The number of a share.")]
) -> dict[str, Any]:
    """End a share at once, for everybody who has its link."""
    return share_document(revoke_share(state.database, share_id))
