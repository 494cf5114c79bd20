"""The page that tries photos: it classifies them without storing anything.

The server renders each result as a fragment, which a script inserts; without a script it is part of the whole page.
"""

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from tagger.errors import PhotoFailed
from tagger.library.catalog.registration import landmarks_of_labels
from tagger.library.query.stored_photos import has_photos
from tagger.web.api.predict import classify
from tagger.web.http.templates import render
from tagger.web.http.uploads import UploadedPhoto, read_upload
from tagger.web.pages import world_map
from tagger.web.pages.presenters import ModelSummary, UploadResult, model_summary, upload_prediction
from tagger.web.state import AppState, State

ALL_LABELS = 10_000
"""A top-k larger than any model's number of labels."""

router = APIRouter(include_in_schema=False)


@router.get("/")
def show_first_view(request: Request, state: State) -> Response:
    """Lead to the library once there are photos; show the upload form until then."""
    return RedirectResponse("/library") if has_photos(state.database) else show_form(request, state)


@router.get("/try")
def show_form(request: Request, state: State) -> HTMLResponse:
    """Show the upload form and what the model can recognise."""
    return _render(request, state, _summary(state), None)


@router.post("/")
async def try_photo(request: Request, state: State) -> HTMLResponse:
    """Classify one photo."""
    async with read_upload(
        request, state.upload_memory, state.upload_space, max_upload_bytes(state)
    ) as photo:
        result = await _result(state, photo)
    status = HTTPStatus.OK if result.prediction else HTTPStatus.UNPROCESSABLE_ENTITY
    if "hx-request" in request.headers:
        return render(request, "try_result.html", status, result=result, view_box=world_map.VIEW_BOX)
    summary = await run_in_threadpool(_summary, state)
    return _render(request, state, summary, result, status)


def max_upload_bytes(state: AppState) -> int:
    """Return the largest size of a photo."""
    return min(state.settings.web_upload_bytes, state.settings.max_bytes)


def _summary(state: AppState) -> ModelSummary:
    model, threshold = state.model(), state.settings.threshold
    with state.database.read() as connection:
        landmarks = landmarks_of_labels(connection, model.manifest.labels)
    return model_summary(model, landmarks, model.manifest.threshold if threshold is None else threshold)


async def _result(state: AppState, photo: UploadedPhoto) -> UploadResult:
    try:
        # The chance of none of the landmarks is 1 minus the sum of all scores.
        classification = await classify(state, photo.data, top_k=ALL_LABELS)
    except PhotoFailed as error:
        return UploadResult(photo.name, None, error.failure.text)
    return UploadResult(photo.name, upload_prediction(classification, state.settings.top_k))


def _render(
    request: Request,
    state: AppState,
    summary: ModelSummary,
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
        view_box=world_map.VIEW_BOX,
    )
