"""The page that tries photos: a photo's predictions, and what the model can recognise."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from tagger.errors import PhotoFailed, PhotoFailure
from tagger.library.catalog.landmarks import Landmark
from tagger.library.catalog.registration import landmarks_of_labels
from tagger.library.query.predictions import NamedPrediction, named_predictions
from tagger.library.query.tagged_photos import DAMAGED, has_photos, is_guess
from tagger.system.text_format import N_, country_name, gettext
from tagger.web.api.photos import headline
from tagger.web.api.predict import classify
from tagger.web.http.templates import render
from tagger.web.http.uploads import UploadedFile
from tagger.web.state import AppState, State


@dataclass(frozen=True)
class UploadResult:
    """The best landmarks of a photo and the chance that it shows `none_of_them`, or why it was not classified. `file` is the sender's name of the file.

    `is_damaged`: a part of the image is missing, so that no landmark is accepted.
    """

    file: str
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


def _countries(landmarks: Iterable[Landmark]) -> list[tuple[str, list[str]]]:
    """Return the names of landmarks by country."""
    names: dict[str, list[str]] = {}
    for landmark in landmarks:
        country = country_name(landmark.country) if landmark.country else gettext(NO_COUNTRY)
        names.setdefault(country, []).append(landmark.display_name)
    by_name = sorted(names.items(), key=lambda item: (item[0] == gettext(NO_COUNTRY), item[0]))
    return [(name, sorted(in_country)) for name, in_country in by_name]


ALL_LABELS = 10_000
"""A top-k with all scores that are not nearly 0."""
NO_COUNTRY = N_("Elsewhere")
MOST_LISTED = 2000
"""Landmarks that are listed if no country is known of them."""

router = APIRouter(include_in_schema=False)


@router.get("/")
def show_first_view(request: Request, state: State) -> Response:
    """Lead to the photos once there are some; show the upload form until then."""
    return RedirectResponse("/photos?any_rank=1") if has_photos(state.database) else show_form(request, state)


@router.get("/try")
def show_form(request: Request, state: State) -> HTMLResponse:
    """Show the upload form and what the model can recognise."""
    return _render(request, state, _summary(state), None)


@router.post("/")
async def try_photo(request: Request, state: State) -> HTMLResponse:
    """Classify one photo."""
    async with state.uploads.read(request, max_upload_bytes(state)) as (photo,):
        result = await _result(state, photo)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if result.failure else HTTPStatus.OK
    if "hx-request" in request.headers:
        return render(request, "try_result.html", status, result=result)
    summary = await run_in_threadpool(_summary, state)
    return _render(request, state, summary, result, status)


def max_upload_bytes(state: AppState) -> int:
    """Return the largest size of a photo."""
    return min(state.settings.web_upload_bytes, state.settings.max_bytes)


def _summary(state: AppState) -> dict[str, object]:
    """What the models can recognise. Several labels may have the same landmark name. Of many that are known by name alone, only the number is shown."""
    models, threshold = state.models_in_use(), state.settings.threshold
    labels = {label.slug: label for model in models for label in model.manifest.labels}
    listed = [each for each in labels.values() if each.country or len(labels) <= MOST_LISTED]
    with state.database.read() as connection:
        landmarks = landmarks_of_labels(connection, listed)
    return {
        "models": [
            (each.name, each.manifest.threshold if threshold is None else threshold) for each in models
        ],
        "landmark_count": len(labels),
        "countries": _countries(landmarks),
    }


async def _result(state: AppState, photo: UploadedFile) -> UploadResult:
    try:
        # The chance of none of the landmarks is 1 minus the sum of all scores.
        classification = await classify(state, photo.data, top_k=ALL_LABELS)
    except PhotoFailed as error:
        return UploadResult(photo.name, failure=error.failure)
    best = named_predictions(state.database, classification.found, state.settings.top_k)
    # No landmark: what the surest model says.
    none_of_them = min(each.none_of_them for each in classification.found)
    return UploadResult(photo.name, best, none_of_them, classification.is_damaged)


def _render(
    request: Request,
    state: AppState,
    summary: dict[str, object],
    result: UploadResult | None,
    status: HTTPStatus = HTTPStatus.OK,
) -> HTMLResponse:
    return render(
        request,
        "try.html",
        status,
        result=result,
        summary=summary,
        max_bytes=max_upload_bytes(state),
    )
