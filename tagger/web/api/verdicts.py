"""Verdicts on photos, as `tagger confirm` and `reject`, and stars. Photos are named by their numbers."""

import getpass
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

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
from tagger.web.http.auth import ANYBODY
from tagger.web.http.query_params import ONE_LINE, PhotoId, RequestModel
from tagger.web.state import AppState, State

router = api_router("verdicts")

MAX_PHOTOS = 500
"""Photos in one request: they are written in one transaction, which holds the writer's lock."""

PhotoIds = Annotated[list[PhotoId], Field(max_length=MAX_PHOTOS)]
Name = Annotated[str, Field(min_length=1, max_length=1000), ONE_LINE]
Person = Annotated[str, Field(max_length=200), ONE_LINE]
By = Annotated[
    Person | None, Field(description="The person. Default: the token; without tokens, the server's user.")
]


class _ChangeRequest(RequestModel):
    by: By = None
    dry_run: bool = False


class VerdictsRequest(_ChangeRequest):
    """A verdict on a landmark for the listed photos."""

    photos: PhotoIds
    landmark: Annotated[Name, Field(description="A landmark by slug or name, in any case.")]
    verdict: VerdictKind


@router.post("/verdicts")
def give(state: State, body: VerdictsRequest) -> VerdictsDocument:
    """Confirm or reject a landmark on photos. The verdict applies to every copy and survives new models."""
    by, roots = person_of(state, body.by), state.settings.roots
    change = body.photos, body.landmark, body.verdict, by, roots
    return give_verdicts(state.database, *change, dry_run=body.dry_run)


@router.delete("/verdicts")
def withdraw(state: State, body: VerdictsRequest) -> VerdictsDocument:
    """Withdraw exactly this verdict from photos; the prediction applies again."""
    change = body.photos, body.landmark, body.verdict, state.settings.roots
    return withdraw_verdicts(state.database, *change, dry_run=body.dry_run)


def person_of(state: AppState, by: str | None) -> str:
    """Return whose verdicts these are: `by`, unless somebody signed in by name, who cannot speak for others.

    Without `by`, it is `web` and the name of the person or token; without them, the server's user.
    """
    actor = state.database.actor
    if by is not None and not actor.is_person:
        return by
    if actor.name != ANYBODY:
        return actor.name
    try:
        return f"web {getpass.getuser()}"
    except (OSError, KeyError):  # a container's user may have no name
        return "web"


class StarRequest(RequestModel):
    """Photos by id."""

    photos: PhotoIds
    by: By = None


@router.post("/favourites")
def star(state: State, body: StarRequest) -> StarredPhotos:
    """Mark photos and their copies with a star."""
    return star_photos(state.database, body.photos, person_of(state, body.by), starred=True)


@router.delete("/favourites")
def remove_star(state: State, body: StarRequest) -> StarredPhotos:
    """Take the star from photos and their copies."""
    return star_photos(state.database, body.photos, person_of(state, body.by), starred=False)


class DismissalRequest(_ChangeRequest):
    """Photos by id."""

    photos: PhotoIds


@dataclass
class DismissedPhotosDocument(DismissedPhotos):
    """The photos that changed, those that are as requested already (`unchanged`), and those `left_out`.

    These have a confirmed landmark, or are not classified.
    """

    dry_run: bool


@router.post("/dismissals")
def dismiss(state: State, body: DismissalRequest) -> DismissedPhotosDocument:
    """Put photos and their copies away as not a landmark, until brought back or a landmark is confirmed."""
    by = person_of(state, body.by)
    result = dismiss_photos(state.database, body.photos, by, dry_run=body.dry_run)
    return DismissedPhotosDocument(**vars(result), dry_run=body.dry_run)


@router.delete("/dismissals")
def restore(state: State, body: DismissalRequest) -> DismissedPhotosDocument:
    """Bring back photos that were put away; the predictions of the model apply again."""
    result = restore_photos(state.database, body.photos, dry_run=body.dry_run)
    return DismissedPhotosDocument(**vars(result), dry_run=body.dry_run)
