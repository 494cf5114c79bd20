"""Photos that are not of a landmark, as `tagger dismiss`: they are put away from the unknown ones, and can be brought back."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tagger.library.verdicts import DismissedPhotos, dismiss_photos, restore_photos
from tagger.web.api.routes import api_router
from tagger.web.api.verdicts import MAX_PHOTOS, By, person_of
from tagger.web.state import AppState, State

router = api_router("verdicts")


class DismissalRequest(BaseModel):
    """Photos by id."""

    model_config = ConfigDict(extra="forbid")

    photos: Annotated[list[Annotated[int, Field(ge=1, lt=2**63)]], Field(max_length=MAX_PHOTOS)]
    by: By = None
    dry_run: bool = False


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
    _update(state, body)
    return DismissedPhotosDocument(**vars(result), dry_run=body.dry_run)


@router.delete("/dismissals")
def restore(state: State, body: DismissalRequest) -> DismissedPhotosDocument:
    """Bring back photos that were put away; the predictions of the model apply again."""
    result = restore_photos(state.database, body.photos, dry_run=body.dry_run)
    _update(state, body)
    return DismissedPhotosDocument(**vars(result), dry_run=body.dry_run)


def _update(state: AppState, body: DismissalRequest) -> None:
    """Let positions follow the tags."""
    if not body.dry_run:
        state.taught_updates.request()
