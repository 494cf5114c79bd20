"""The page that tries one photo: its landmarks with their scores. Nothing is stored."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tagger.errors import PhotoFailed, PhotoFailure
from tagger.query.predictions import NamedPrediction, named_predictions
from tagger.query.tagged_photos import DAMAGED, is_guess
from tagger.texts.text_format import gettext
from tagger.web.api.photos import headline
from tagger.web.api.predict import classify
from tagger.web.http.access import Role, requires
from tagger.web.http.templates import render
from tagger.web.http.uploads import UploadedFile
from tagger.web.state import AppState, State

# A top-k with all scores that are not nearly 0.
ALL_LABELS = 10_000

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


@dataclass(frozen=True)
class UploadResult:
    """The best landmarks of a photo and the chance of `none_of_them`, or why it was not classified.

    `is_damaged`: a part of the image is missing, so that no landmark is accepted.
    """

    predictions: Sequence[NamedPrediction] = ()
    none_of_them: float = 1.0
    is_damaged: bool = False
    failure: PhotoFailure | None = None

    @property
    def accepted(self) -> NamedPrediction | None:
        return next((each for each in self.predictions if each.accepted), None)

    @property
    def guess(self) -> NamedPrediction | None:
        """The best landmark if none is accepted, and if it is worth a guess."""
        is_open = self.accepted is None and is_guess([each.score for each in self.predictions])
        return self.predictions[0] if is_open else None

    @property
    def headline(self) -> str:
        """What the photo shows, or that a part of it is missing."""
        if self.is_damaged:
            return gettext(DAMAGED).capitalize()
        accepted, guess = self.accepted, self.guess
        names = [accepted.landmark.display_name] if accepted else []
        return headline(names, guess.landmark.display_name if guess else None)


@router.get("/try")
@requires(Role.VIEWER)
def show_form(request: Request, state: State) -> HTMLResponse:
    """Show the field for a photo."""
    return render(request, "try.html", max_bytes=_max_upload_bytes(state))


@router.post("/try")
@requires(Role.VIEWER)
async def try_photo(request: Request, state: State) -> HTMLResponse:
    """Classify one photo, and return the part of the page that says what it shows."""
    async with state.uploads.read(request, _max_upload_bytes(state)) as photo:
        result = await _result(state, photo)
    return render(request, "try_result.html", result=result)


def _max_upload_bytes(state: AppState) -> int:
    """Return the largest size of a photo."""
    return min(state.settings.web_upload_bytes, state.settings.max_bytes)


async def _result(state: AppState, photo: UploadedFile) -> UploadResult:
    try:
        # The chance of none of the landmarks is 1 minus the sum of all scores.
        classification = await classify(state, photo.data, top_k=ALL_LABELS)
    except PhotoFailed as error:
        return UploadResult(failure=error.failure)
    best = named_predictions(state.database, classification.found, state.settings.top_k)
    # No landmark: what the surest model says.
    none_of_them = min(each.none_of_them for each in classification.found)
    return UploadResult(best, none_of_them, classification.is_damaged)
