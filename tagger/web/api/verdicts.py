"""Verdicts on photos, as `tagger confirm` and `reject`, and stars. Photos are named by their numbers."""

from typing import Annotated

from pydantic import Field

from tagger.database.actors import login_name
from tagger.database.enums import VerdictKind
from tagger.verdicts.service import VerdictsDocument, give_verdicts, withdraw_verdicts
from tagger.verdicts.store import (
    DismissedPhotos,
    StarredPhotos,
    dismiss_photos,
    restore_photos,
    star_photos,
)
from tagger.web.api.routes import api_router
from tagger.web.http.access import Role, requires
from tagger.web.http.auth import UNNAMED
from tagger.web.http.query_params import ONE_LINE, PhotoId, RequestModel
from tagger.web.state import AppState, State

router = api_router("verdicts")

# Photos in one request: they are written in one transaction, which holds the writer's lock.
MAX_PHOTOS = 500

PhotoIds = Annotated[list[PhotoId], Field(max_length=MAX_PHOTOS)]
Name = Annotated[str, Field(min_length=1, max_length=1000), ONE_LINE]


class VerdictsRequest(RequestModel):
    """A verdict on a landmark for the listed photos."""

    photos: PhotoIds
    landmark: Annotated[Name, Field(description="A landmark by slug or name, in any case.")]
    verdict: VerdictKind


@router.post("/verdicts")
@requires(Role.EDITOR)
def give(state: State, body: VerdictsRequest) -> VerdictsDocument:
    """Confirm or reject a landmark on photos. The verdict applies to every copy and survives new models."""
    change = body.photos, body.landmark, body.verdict, person_of(state), state.settings.roots
    return give_verdicts(state.database, *change)


@router.delete("/verdicts")
@requires(Role.EDITOR)
def withdraw(state: State, body: VerdictsRequest) -> VerdictsDocument:
    """Withdraw exactly this verdict from photos; the prediction applies again."""
    change = body.photos, body.landmark, body.verdict, state.settings.roots
    return withdraw_verdicts(state.database, *change)


def person_of(state: AppState) -> str:
    """Return whose verdicts these are: `web` and the name of the person or token, else the server's user."""
    actor = state.database.actor
    if actor.name != UNNAMED:
        return actor.name
    return f"web {login_name() or ''}".rstrip()


class PhotosRequest(RequestModel):
    """Photos by id."""

    photos: PhotoIds


@router.post("/favourites")
@requires(Role.EDITOR)
def star(state: State, body: PhotosRequest) -> StarredPhotos:
    """Mark photos and their copies with a star."""
    return star_photos(state.database, body.photos, person_of(state), starred=True)


@router.delete("/favourites")
@requires(Role.EDITOR)
def remove_star(state: State, body: PhotosRequest) -> StarredPhotos:
    """Take the star from photos and their copies."""
    return star_photos(state.database, body.photos, person_of(state), starred=False)


@router.post("/dismissals")
@requires(Role.EDITOR)
def dismiss(state: State, body: PhotosRequest) -> DismissedPhotos:
    """Put photos and their copies away as not a landmark, until brought back or a landmark is confirmed."""
    return dismiss_photos(state.database, body.photos, person_of(state))


@router.delete("/dismissals")
@requires(Role.EDITOR)
def restore(state: State, body: PhotosRequest) -> DismissedPhotos:
    """Bring back photos that were put away; the predictions of the model apply again."""
    return restore_photos(state.database, body.photos)
