"""Verdicts on photos, as `tagger confirm` and `reject`, and stars.

A photo is named by its number, many photos by a list of numbers.
"""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from tagger.database.enums import VerdictKind
from tagger.library.query.tagged_photos import stored_photo
from tagger.library.verdicts.service import (
    VerdictResultDocument,
    WithdrawnVerdicts,
    give_verdict,
    give_verdict_to_photos,
    verdict_result_document,
    withdraw_verdict,
    withdraw_verdict_from_photos,
)
from tagger.library.verdicts.store import (
    DismissedPhotos,
    StarredPhotos,
    dismiss_photos,
    restore_photos,
    star_photos,
)
from tagger.web.api.photos import PhotoNumber
from tagger.web.api.routes import api_router
from tagger.web.http.auth import ANYBODY
from tagger.web.http.query_params import ONE_LINE, PhotoId, RequestModel
from tagger.web.state import AppState, State

router = api_router("verdicts")

MAX_PHOTOS = 500
"""Photos in one request: they are written in one transaction, which holds the writer's lock."""

Name = Annotated[str, Field(min_length=1, max_length=1000), ONE_LINE]
Person = Annotated[str, Field(max_length=200), ONE_LINE]
By = Annotated[
    Person | None, Field(description="The person. Default: the token; without tokens, the server's user.")
]


class _ChangeRequest(RequestModel):
    by: By = None
    dry_run: bool = False


class _VerdictRequest(_ChangeRequest):
    verdict: VerdictKind


class PhotoVerdictRequest(_VerdictRequest):
    """A verdict on one photo."""

    landmark: Annotated[Name, Field(description="A landmark by slug or name, in any case.")]


class VerdictsRequest(_VerdictRequest):
    """A verdict on `landmark` for the listed photos."""

    photos: Annotated[list[PhotoId], Field(max_length=MAX_PHOTOS)]
    landmark: Name


@router.post("/photos/{photo_id}/verdicts")
def give(state: State, photo_id: PhotoNumber, body: PhotoVerdictRequest) -> VerdictResultDocument:
    """Confirm or reject a landmark on a photo. The verdict applies to every copy and survives new models."""
    database, roots = state.database, state.settings.roots
    path = stored_photo(database, photo_id, roots).path
    by = person_of(state, body.by)
    result = give_verdict(database, photo_id, body.landmark, body.verdict, by, roots, dry_run=body.dry_run)
    _learn(state, body)
    return verdict_result_document(path, result, body.verdict, withdraw=False, dry_run=body.dry_run)


@router.delete("/photos/{photo_id}/verdicts")
def withdraw(state: State, photo_id: PhotoNumber, body: PhotoVerdictRequest) -> VerdictResultDocument:
    """Withdraw the verdict, if the photo has exactly this one on the landmark; the prediction applies again."""
    database, roots = state.database, state.settings.roots
    path = stored_photo(database, photo_id, roots).path
    result = withdraw_verdict(database, photo_id, body.landmark, body.verdict, roots, dry_run=body.dry_run)
    _learn(state, body)
    return verdict_result_document(path, result, body.verdict, withdraw=True, dry_run=body.dry_run)


@dataclass(frozen=True)
class ChangedVerdict:
    """A photo whose verdict changed, and the verdict before."""

    photo: int
    before: str | None


@dataclass(frozen=True)
class PhotosVerdictDocument:
    """A verdict on a list of photos; `replaced` is how many had the other verdict. Those in `left_out` are not classified."""

    verdict: str
    photos: int
    tags: int
    replaced: int
    dry_run: bool
    changed: Sequence[ChangedVerdict]
    left_out: Sequence[int]


@router.post("/verdicts")
def give_many(state: State, body: VerdictsRequest) -> PhotosVerdictDocument:
    """Confirm or reject on many photos. With `dry_run` they are only counted."""
    by = person_of(state, body.by)
    result = give_verdict_to_photos(
        state.database, body.photos, body.landmark, body.verdict, by, dry_run=body.dry_run
    )
    _learn(state, body)
    before = result.before
    return PhotosVerdictDocument(
        body.verdict,
        photos=len(before),
        tags=len(before),
        replaced=sum(verdict is not None for verdict in before.values()),
        dry_run=body.dry_run,
        changed=[ChangedVerdict(number, verdict) for number, verdict in before.items()],
        left_out=result.left_out,
    )


@router.delete("/verdicts")
def withdraw_many(state: State, body: VerdictsRequest) -> WithdrawnVerdicts:
    """Withdraw the verdict from those of many photos that have it."""
    count = withdraw_verdict_from_photos(
        state.database, body.photos, body.landmark, body.verdict, dry_run=body.dry_run
    )
    _learn(state, body)
    return WithdrawnVerdicts(body.verdict, count, body.dry_run)


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


def _learn(state: AppState, body: _ChangeRequest) -> None:
    """Request that taught landmarks and positions be updated from the verdicts."""
    if not body.dry_run:
        state.taught_updates.request()


class StarRequest(RequestModel):
    """Photos by id."""

    photos: Annotated[list[PhotoId], Field(max_length=MAX_PHOTOS)]
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

    photos: Annotated[list[PhotoId], Field(max_length=MAX_PHOTOS)]


@dataclass
class DismissedPhotosDocument(DismissedPhotos):
    """The photos that the request changed, and those that it did not: they are as requested already (`unchanged`), have a confirmed
    landmark, or are not classified (`left_out`).
    """

    dry_run: bool


@router.post("/dismissals")
def dismiss(state: State, body: DismissalRequest) -> DismissedPhotosDocument:
    """Put photos and their copies away as not a landmark. They stay away until they are brought back or a landmark is confirmed on them."""
    by = person_of(state, body.by)
    result = dismiss_photos(state.database, body.photos, by, dry_run=body.dry_run)
    _learn(state, body)
    return DismissedPhotosDocument(**vars(result), dry_run=body.dry_run)


@router.delete("/dismissals")
def restore(state: State, body: DismissalRequest) -> DismissedPhotosDocument:
    """Bring back photos that were put away; the predictions of the model apply again."""
    result = restore_photos(state.database, body.photos, dry_run=body.dry_run)
    _learn(state, body)
    return DismissedPhotosDocument(**vars(result), dry_run=body.dry_run)
